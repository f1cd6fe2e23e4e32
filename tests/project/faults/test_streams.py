"""streams.py and stream_server.py, talking to each other on loopback: both ends notice a wrong byte."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from faults.load import exchanges
from faults.load.streams import Pace, StreamClient, in_words
from faults.pattern import Hello, Pattern, Welcome, answers_to
from faults.records import ANSWERED, CORRUPTED
from faults.stream_server import Seen, Stream

HOST = "127.0.0.1"
PACE = Pace(block_bytes=500, every_s=0.001, most_unanswered=4)


@asynccontextmanager
async def listening(protocol: Callable[[], asyncio.Protocol]) -> AsyncIterator[int]:
    """A server on loopback; its port."""
    server = await asyncio.get_running_loop().create_server(protocol, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await turns()


async def turns() -> None:
    """A few turns of the loop, in which transports that were closed are forgotten."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


_TURNS = 5


async def client_of(port: int) -> StreamClient:
    _, client = await asyncio.get_running_loop().create_connection(partial(StreamClient, 5, PACE), HOST, port)
    return client


class Forger(asyncio.Protocol):
    """A server that answers with one wrong byte."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        right = answers_to(5).at(0, 500)
        transport.write(Welcome("rs1", 1).encode() + right[:-1] + bytes([right[-1] ^ 1]))


async def test_a_stream_goes_on_and_both_ends_find_it_right() -> None:
    seen = Seen()
    async with listening(partial(Stream, "rs1", seen)) as port:
        client = await client_of(port)
        await client.begun
        client.close()
        noted = client.as_record()
        assert (noted.server, noted.how_it_ended) == ("rs1", "")
        assert noted.right_bytes >= 1
        assert seen.corrupted == 0
        assert json.loads(seen.as_line())["streams"] == 1


async def test_the_client_notices_a_wrong_byte() -> None:
    async with listening(partial(Forger)) as port:
        client = await client_of(port)
        with pytest.raises(ConnectionError, match=CORRUPTED):
            await client.begun
        assert client.as_record().how_it_ended == CORRUPTED


async def test_the_server_notices_a_wrong_byte_and_a_wrong_greeting() -> None:
    seen = Seen()
    async with listening(partial(Stream, "rs1", seen)) as port:
        for sent in (Hello(100, 5).encode() + Pattern(6).at(0, 100), bytes(16)):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(sent)
            await reader.read()
            writer.close()
    assert (seen.corrupted, seen.right_bytes) == (2, 0)


async def test_a_stream_that_is_refused_or_reset_says_so() -> None:
    seen = Seen()
    async with listening(partial(Stream, "rs1", seen)) as port:
        assert (await exchanges.timed(exchanges.by_connection(HOST, port), 1)).outcome == ANSWERED
    assert (await exchanges.timed(exchanges.by_connection(HOST, port), 1)).outcome == "refused"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "no answer"),
        (ConnectionRefusedError(), "refused"),
        (ConnectionResetError(), "reset"),
        (BrokenPipeError(), "reset"),
        (OSError(113, ""), "unreachable"),
        (asyncio.IncompleteReadError(b"", 1), "closed"),
    ],
)
def test_errors_have_words(error: Exception, words: str) -> None:
    assert in_words(error) == words
