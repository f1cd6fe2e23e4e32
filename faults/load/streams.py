"""Streams that are held, and that notice when nothing comes."""

import asyncio
import errno
import time
from typing import NamedTuple, cast

from faults.pattern import WELCOME_BYTES, Checked, Hello, Pattern, PatternError, Welcome, answers_to
from faults.records import CORRUPTED, Gap, Stream

LEAST_GAP_S = 0.1
"""Shorter times without a byte are not noted."""

OPEN_S = 10.0
"""How long a stream may take to begin."""


class Pace(NamedTuple):
    """How a stream sends: a block every `every_s`, unless `most_unanswered` of them wait for their answers."""

    block_bytes: int
    every_s: float
    most_unanswered: int


class StreamClient(asyncio.Protocol):
    """One stream. It sends from the time it is connected until it ends, or until `close`."""

    _transport: asyncio.Transport

    def __init__(self, seed: int, pace: Pace) -> None:
        self._pace = pace
        self._hello = Hello(pace.block_bytes, seed)
        self._own, self._sent_bytes = Pattern(seed), 0
        self._checked = Checked(answers_to(seed))
        self._welcome: Welcome | None = None
        self._greeting = b""
        self._gaps: list[Gap] = []
        self._timer: asyncio.TimerHandle | None = None
        self.is_open = True
        self.is_closing = False
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the first answer has come."""
        self.last_progress = time.monotonic()
        self.how_it_ended, self.ended_at = "", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._hello.encode())
        self._send()

    def _send(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._pace.every_s, self._send)
        if self._sent_bytes - self._checked.right_bytes >= self._pace.most_unanswered * self._pace.block_bytes:
            return
        self._transport.write(self._own.at(self._sent_bytes, self._pace.block_bytes))
        self._sent_bytes += self._pace.block_bytes

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if now - self.last_progress >= LEAST_GAP_S:
            self._gaps.append(Gap(self.last_progress, now))
        self.last_progress = now
        try:
            if self._welcome is None:
                data = self._take_welcome(data)
            self._checked.take(data)
        except PatternError:
            self._end(CORRUPTED)
            self._transport.abort()
            return
        if self._checked.right_bytes and not self.begun.done():
            self.begun.set_result(None)

    def _take_welcome(self, data: bytes) -> bytes:
        self._greeting += data
        if len(self._greeting) < WELCOME_BYTES:
            return b""
        self._welcome = Welcome.decode(self._greeting[:WELCOME_BYTES])
        return self._greeting[WELCOME_BYTES:]

    def eof_received(self) -> None:
        self._end("closed")

    def connection_lost(self, error: Exception | None) -> None:
        self._end(in_words(error) if error else "closed")

    def _end(self, how: str) -> None:
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        if not (self.is_closing or self.how_it_ended):
            self.how_it_ended, self.ended_at = how, time.monotonic()
        if not self.begun.done():
            self.begun.set_exception(ConnectionError(how))

    def close(self) -> None:
        """Close from this side."""
        self.is_closing = True
        if self.is_open:
            self._transport.abort()

    def as_record(self) -> Stream:
        """What was noted."""
        server, local_port = self._welcome or ("", 0)
        right, last = self._checked.right_bytes, self.last_progress
        return Stream(server, local_port, right, last, tuple(self._gaps), self.how_it_ended, self.ended_at)


def in_words(error: BaseException) -> str:
    """The outcome that an error of the network means."""
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "reset"
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "unreachable"
    return "closed"
