"""The TCP server of a real server: it checks what clients send, and answers each block (see `pattern`).

It says what it saw to whoever connects to its Unix socket: one line of JSON with `streams` (since the start), `open`,
`right_bytes` and `corrupted`, the streams in which a byte was wrong.
"""

import argparse
import asyncio
import json
from pathlib import Path
from typing import cast

import uvloop

from appliance.lab.server import stop_event
from faults.pattern import HELLO_BYTES, Checked, Hello, Pattern, PatternError, Welcome, answers_to

_BACKLOG = 4096


class Seen:
    """What the server saw since its start."""

    def __init__(self) -> None:
        self.streams = self.open = self.right_bytes = self.corrupted = 0

    def as_line(self) -> bytes:
        """One line of JSON."""
        return f"{json.dumps(vars(self))}\n".encode()


class Stream(asyncio.Protocol):
    """One stream."""

    _transport: asyncio.Transport

    def __init__(self, name: str, seen: Seen) -> None:
        self._name = name
        self._seen = seen
        self._hello: Hello | None = None
        self._greeting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._seen.streams += 1
        self._seen.open += 1

    def connection_lost(self, _: Exception | None) -> None:
        self._seen.open -= 1

    def data_received(self, data: bytes) -> None:
        try:
            if self._hello is None:
                data = self._greet(data)
            if self._hello is not None and data:
                self._answer(self._hello, data)
        except PatternError:
            self._seen.corrupted += 1
            self._transport.abort()

    def _greet(self, data: bytes) -> bytes:
        """Take the greeting; returns what follows it."""
        self._greeting += data
        if len(self._greeting) < HELLO_BYTES:
            return b""
        self._hello = Hello.decode(self._greeting[:HELLO_BYTES])
        self._checked = Checked(Pattern(self._hello.seed))
        self._answers, self._answered = answers_to(self._hello.seed), 0
        _, port = self._transport.get_extra_info("peername")
        self._transport.write(Welcome(self._name, port).encode())
        return self._greeting[HELLO_BYTES:]

    def _answer(self, hello: Hello, data: bytes) -> None:
        self._checked.take(data)
        self._seen.right_bytes += len(data)
        while self._checked.right_bytes - self._answered >= hello.block_bytes:
            self._transport.write(self._answers.at(self._answered, hello.block_bytes))
            self._answered += hello.block_bytes


async def serve(name: str, host: str, port: int, told_at: Path) -> None:
    """Serve until SIGTERM or SIGINT; what was seen is told on the Unix socket `told_at`."""
    stopped, seen, loop = stop_event(), Seen(), asyncio.get_running_loop()

    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(seen.as_line())
        await writer.drain()
        writer.close()

    server = await loop.create_server(lambda: Stream(name, seen), host, port, backlog=_BACKLOG)
    teller = await asyncio.start_unix_server(tell, told_at)
    async with server, teller:
        await stopped.wait()


def main() -> None:
    """Entry point of ``python -m faults.stream_server``."""
    parser = argparse.ArgumentParser(description="TCP server that checks every byte")
    parser.add_argument("name")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("told_at", type=Path)
    options = parser.parse_args()
    uvloop.run(serve(options.name, options.host, options.port, options.told_at))


if __name__ == "__main__":
    main()
