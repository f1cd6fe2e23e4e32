"""`streams.py COUNT`: COUNT clients download and upload again and again, each on one connection, and check every byte.

It prints "streaming" when each has got its first answer. At the end of its standard input they stop, and it prints as JSON how
many bytes came back, and what became of those that did not go well to the end, by the text of the error.
"""

import asyncio
import collections
import hashlib
import json
import os
import sys

import uvloop

from appliance.lab.http_server import PATTERN

DOWN, UP = PATTERN[:40_000], PATTERN[:3_000]
PATIENCE_S = 300.0
"""For both answers of a turn, which take a busy machine a minute with thousands of clients. It only ends a test that failed."""
STARTING_AT_ONCE = 100
"""Clients that wait for their first answer at the same time. With all of them at once, a handshake with a real server may take a
busy machine longer than a gateway waits."""
SPREAD_S = 0.2


class Streams:
    """All clients."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._started = 0
        self._stop = asyncio.Event()
        self._all_started = asyncio.Event()
        self._room = asyncio.Semaphore(STARTING_AT_ONCE)
        self.received = 0
        self.errors: collections.Counter[str] = collections.Counter()

    async def run(self) -> None:
        """Stream until standard input ends."""
        clients = [asyncio.ensure_future(self._client()) for _ in range(self._count)]
        await self._all_started.wait()
        print(f"failed: {self.errors}" if self.errors else "streaming", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        self._stop.set()
        await asyncio.gather(*clients)

    async def _client(self) -> None:
        try:
            async with self._room:
                reader, writer = await self._started_stream()
            while not self._stop.is_set():
                await asyncio.sleep(SPREAD_S)
                await self._turn(reader, writer)
            writer.close()
        except (OSError, EOFError, ValueError) as error:
            self.errors[f"{type(error).__name__}: {error}"] += 1

    async def _started_stream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which everything went well once."""
        try:
            reader, writer = await asyncio.open_connection(os.environ["LAB_VIP"], int(os.environ["LAB_PORT"]))
            await self._turn(reader, writer)
        finally:
            self._has_started()
        return reader, writer

    def _has_started(self) -> None:
        self._started += 1
        if self._started == self._count:
            self._all_started.set()

    async def _turn(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(PATIENCE_S):
            writer.write(f"GET /bytes/{len(DOWN)} HTTP/1.1\r\nHost: lab\r\n\r\n".encode())
            if await self._answer(reader) != DOWN:
                raise ValueError("wrong bytes came back")
            writer.write(f"POST /sha256 HTTP/1.1\r\nHost: lab\r\nContent-Length: {len(UP)}\r\n\r\n".encode() + UP)
            if json.loads(await self._answer(reader))["sha256"] != hashlib.sha256(UP).hexdigest():
                raise ValueError("wrong bytes arrived")

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200 "):
            raise ValueError(f"answer {head[:60]!r}")
        body = await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r")[0]))
        self.received += len(body)
        return body


async def main(count: int) -> dict[str, object]:
    """Run all clients."""
    streams = Streams(count)
    await streams.run()
    return {"received": streams.received, "errors": streams.errors}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(int(sys.argv[1])))))
