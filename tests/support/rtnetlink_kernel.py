"""A kernel that is played by a test, as far as `edge.rtnetlink` talks to it."""

import socket
import struct
from collections.abc import Callable, Iterator

import pytest

Answer = Callable[[int, int, bytes], list[bytes]]
"""Kind, number and body of a request; returns messages."""
ERROR, DONE, INTERRUPTED = 2, 3, 0x10

_REQUEST = struct.Struct("=IHHII")


def told(kind: int, number: int, body: bytes, flags: int = 0) -> bytes:
    """A message of the kernel."""
    return _REQUEST.pack(_REQUEST.size + len(body), kind, flags, number, 0) + body


def code(number: int, error: int = 0) -> bytes:
    """The answer to a request that was done, or that has failed with this error."""
    return told(ERROR, number, struct.pack("=i", -error))


class Kernel:
    """A netlink socket. `answer` has the kind, number and body of a request, and gives messages."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._waiting: list[bytes] = []
        self.sent: list[int] = []
        """How many requests each message had."""

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def setsockopt(self, *_: int) -> None:
        """There is no buffer."""

    def settimeout(self, _: float) -> None:
        """Nothing is waited for."""

    def send(self, message: bytes) -> None:
        requests = list(_parts(message))
        self.sent.append(len(requests))
        for request in requests:
            self._waiting += self._answer(*request)

    def recv(self, _: int) -> bytes:
        if not self._waiting:
            raise TimeoutError("timed out")
        return self._waiting.pop(0)


def _parts(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    start = 0
    while start < len(message):
        length, kind, _, number, _ = _REQUEST.unpack_from(message, start)
        yield kind, number, message[start + _REQUEST.size : start + length]
        start += length


def play(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> Kernel:
    """A kernel that answers so takes the place of the real one. It has the interfaces client0 and server0, numbers 3 and 4."""
    kernel = Kernel(answer)
    monkeypatch.setattr(socket, "socket", lambda *_: kernel)
    monkeypatch.setattr(socket, "if_nametoindex", _index_of)
    return kernel


def _index_of(name: str) -> int:
    if name not in ("client0", "server0"):
        raise OSError("no interface with this name")
    return 3 + (name == "server0")
