"""A client that asks one small question after the other, and how long it waits for each answer."""

import socket
import time
from typing import NamedTuple

from bench.rig.results import Spread, spread
from bench.rig.servers import PEER_PATH
from bench.rig.topology import HTTP_PORT, BenchError

QUESTION_BYTES = 100

_SILENCE_TIMEOUT_S = 20.0
_ANSWER_BYTES = 1 << 16
_GOOD_ANSWER = b"HTTP/1.1 200 "


class Waits(NamedTuple):
    """How long the answers of one measurement took."""

    answers: int
    median_ms: float
    p99_ms: float
    longest_ms: float

    @classmethod
    def of(cls, seconds: list[float]) -> "Waits":
        """Of at least one wait."""
        ordered = sorted(1e3 * each for each in seconds)
        middle: Spread | None = spread(ordered)
        assert middle is not None
        return cls(len(ordered), middle.median, ordered[int(0.99 * (len(ordered) - 1))], middle.high)


def question(target: str) -> bytes:
    """A request of QUESTION_BYTES; the answer is about as long."""
    bare = f"GET {PEER_PATH} HTTP/1.1\r\nHost: {target}\r\nX-Padding: \r\n\r\n"
    return bare.replace("X-Padding: ", f"X-Padding: {'x' * (QUESTION_BYTES - len(bare))}").encode()


def ask(target: str, seconds: float) -> Waits:
    """Ask for so long on one connection, the next question when the answer to the last has come. Raises BenchError."""
    waits = []
    asked = question(target)
    try:
        with socket.create_connection((target, HTTP_PORT), timeout=_SILENCE_TIMEOUT_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ends = time.perf_counter() + seconds
            while (begun := time.perf_counter()) < ends:
                connection.sendall(asked)
                answer = connection.recv(_ANSWER_BYTES)
                if not answer.startswith(_GOOD_ANSWER):
                    raise BenchError(f"a small request to {target} was answered with {answer[:100]!r}")
                waits.append(time.perf_counter() - begun)
    except OSError as error:
        raise BenchError(f"small requests to {target}: {error}") from error
    return Waits.of(waits)
