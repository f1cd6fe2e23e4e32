"""Many requests to the kernel's tables of addresses and routes at once (rtnetlink), and of the answers only what is asked for.

pyroute2, which is asked everywhere else, takes a third of a millisecond for each request, nearly all of it to read every field
of the answer. For the addresses of thousands of services and real servers that is seconds, in which little else gets done.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Sequence

from appliance.edge.errors import EdgeError

REQUEST, ACK = 0x01, 0x04
"""Flags of a request (linux/netlink.h)."""
CREATE, EXCLUSIVE = 0x400, 0x200
_DUMP = 0x300
_DUMP_INTERRUPTED = 0x10
_ERROR, _DONE = 2, 3
_LEAST_OF_TABLES = 16
"""Kinds below this one are about the conversation, and not about a table."""

_SOL_NETLINK = 270
_CAP_ACK = 10
"""Answers without the request that they are for."""

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, kind, flags, number, port."""
_CODE = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")

_AT_ONCE = 64
"""Requests in one message: the answers to all of them have room in the buffer of the socket."""
_BUFFER_BYTES = 1 << 20
_MESSAGE_BYTES = 1 << 17
_TRIES = 5
"""How often a table is read that changes meanwhile."""
_PATIENCE_S = 10.0
"""The kernel answers while it takes the requests. This only keeps a thread from waiting for ever."""


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute, filled up to a multiple of four bytes."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(message: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Kind and value of each attribute of a message, behind its first `start` bytes."""
    end = len(message)
    while start + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(message, start)
        if length < _ATTRIBUTE.size:
            return
        yield kind, message[start + _ATTRIBUTE.size : start + length]
        start += (length + 3) & ~3


def exchange(kind: int, flags: int, bodies: Sequence[bytes]) -> list[bytes | int]:
    """Send a request for each of `bodies`. Returns what the kernel answers to each, in their order: the body of its message,
    or an error number, which is 0 for a request that was done and needs no other answer. Blocks; raises EdgeError."""
    answers: list[bytes | int] = []
    with _asking() as kernel:
        for start in range(0, len(bodies), _AT_ONCE):
            batch = bodies[start : start + _AT_ONCE]
            kernel.send(b"".join(_request(kind, flags, start + place, body) for place, body in enumerate(batch)))
            answers += _answers(kernel, start, len(batch))
    return answers


def _answers(kernel: socket.socket, first: int, count: int) -> list[bytes | int]:
    answers: dict[int, bytes | int] = {}
    while len(answers) < count:
        for kind, _, number, body in _received(kernel):
            if first <= number < first + count:
                answers[number] = -_CODE.unpack_from(body)[0] if kind == _ERROR else body
    return [answers[number] for number in range(first, first + count)]


def listed(kind: int, body: bytes) -> list[bytes]:
    """The bodies of all entries of a table. Blocks; raises EdgeError, also when the table changes whenever it is read."""
    with _asking() as kernel:
        for number in range(_TRIES):
            kernel.send(_request(kind, REQUEST | _DUMP, number, body))
            if (found := _table(kernel, number)) is not None:
                return found
    raise EdgeError("a table of the kernel has changed whenever it was read")


def _table(kernel: socket.socket, wanted: int) -> list[bytes] | None:
    """All entries of the table that was asked for; None when it has changed meanwhile."""
    found: list[bytes] = []
    has_changed = False
    while True:
        for kind, flags, number, body in _received(kernel):
            has_changed |= bool(flags & _DUMP_INTERRUPTED)
            if kind == _ERROR:
                raise EdgeError(f"the kernel does not list its table: {os.strerror(-_CODE.unpack_from(body)[0])}")
            if kind == _DONE and number == wanted:
                return None if has_changed else found
            if kind >= _LEAST_OF_TABLES:
                found.append(body)


@contextlib.contextmanager
def _asking() -> Iterator[socket.socket]:
    """A socket to ask with. Errors of it are raised as EdgeError."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
            kernel.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
            kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            kernel.settimeout(_PATIENCE_S)
            yield kernel
    except OSError as error:
        raise EdgeError(f"cannot ask the kernel (rtnetlink): {error.strerror or error}") from error


def _request(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, flags, number, 0) + body


def _received(kernel: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
    return messages(kernel.recv(_MESSAGE_BYTES))


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, number and body of each message that has come."""
    start = 0
    while start + HEADER.size <= len(data):
        length, kind, flags, number, _ = HEADER.unpack_from(data, start)
        if length < HEADER.size:
            return
        yield kind, flags, number, data[start + HEADER.size : start + length]
        start += (length + 3) & ~3
