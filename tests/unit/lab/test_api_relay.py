"""The relay to the admin API, with sockets of this process."""

import asyncio
import os
import signal
import socket
from pathlib import Path

from appliance.lab.api_relay import serve
from appliance.lab.plan import Endpoint


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    question = await reader.read()  # up to the end of what the other side says
    writer.write(question.upper())
    writer.close()


async def _end(relay: "asyncio.Task[None]") -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    await relay


async def _asked(path: Path, question: bytes) -> bytes:
    while True:
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except FileNotFoundError:  # the relay is about to start
            await asyncio.sleep(0)
        else:
            break
    writer.write(question)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_both_ways_and_both_ends_are_passed_on(tmp_path: Path) -> None:
    async with await asyncio.start_server(_answer, "127.0.0.1") as api:
        relay = asyncio.ensure_future(serve(tmp_path / "api.sock", Endpoint(*api.sockets[0].getsockname()), socket.socket))
        question = b"piece " * 100_000
        assert await asyncio.gather(*(_asked(tmp_path / "api.sock", question) for _ in range(3))) == [question.upper()] * 3
        await _end(relay)


async def test_without_an_api_a_connection_is_closed_and_the_next_one_may_find_it(tmp_path: Path) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1")
    endpoint = Endpoint(*server.sockets[0].getsockname())
    server.close()
    await server.wait_closed()
    relay = asyncio.ensure_future(serve(tmp_path / "api.sock", endpoint, socket.socket))
    assert await _asked(tmp_path / "api.sock", b"anybody") == b""
    async with await asyncio.start_server(_answer, *endpoint):
        assert await _asked(tmp_path / "api.sock", b"now") == b"NOW"
    await _end(relay)
