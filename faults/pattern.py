"""The bytes of a stream: each place in each stream has its own byte, so nothing can be lost, doubled or mixed up unseen. Pure.

A stream begins with a greeting of the client (HELLO) and of the server (WELCOME). Then the client sends blocks of the pattern of
its seed, and the server answers each whole block with a block of the other pattern.
"""

import hashlib
import struct
from typing import NamedTuple, Self

_PERIOD_BYTES = 16_381
"""A prime, so that no length of a block or a segment is a multiple of it."""

LONGEST_BLOCK_BYTES = 16_000

_MAGIC = b"FLT1"
_HELLO = struct.Struct("!4sIQ")
_WELCOME = struct.Struct("!8sH")
HELLO_BYTES, WELCOME_BYTES = _HELLO.size, _WELCOME.size

_ALL_BITS = 0xFFFF_FFFF_FFFF_FFFF


class PatternError(ValueError):
    """Bytes that are not those of a stream."""


class Pattern:
    """The bytes that one side of one stream sends."""

    def __init__(self, seed: int) -> None:
        """`seed` has 64 bits."""
        self._bytes = hashlib.shake_128(seed.to_bytes(8, "big")).digest(_PERIOD_BYTES) * 2

    def at(self, offset: int, length: int) -> bytes:
        """`length` bytes (at most LONGEST_BLOCK_BYTES) from the place `offset` on."""
        start = offset % _PERIOD_BYTES
        return self._bytes[start : start + length]


def answers_to(seed: int) -> Pattern:
    """What the server sends on a stream with this seed."""
    return Pattern(seed ^ _ALL_BITS)


class Checked:
    """The receiving side of a pattern: it counts bytes that are right, and notices the first that is wrong."""

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self.right_bytes = 0

    def take(self, data: bytes) -> None:
        """Check what came. Raises PatternError when any of it is not what was to come."""
        for start in range(0, len(data), LONGEST_BLOCK_BYTES):
            part = data[start : start + LONGEST_BLOCK_BYTES]
            if part != self._pattern.at(self.right_bytes, len(part)):
                raise PatternError(f"wrong bytes behind the first {self.right_bytes}")
            self.right_bytes += len(part)


class Hello(NamedTuple):
    """How a client begins: the size of its blocks, and its seed."""

    block_bytes: int
    seed: int

    def encode(self) -> bytes:
        """HELLO_BYTES bytes."""
        return _HELLO.pack(_MAGIC, self.block_bytes, self.seed)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The reverse. Raises PatternError when these are not bytes of a greeting, or the block has 0 bytes or too many."""
        magic, block_bytes, seed = _HELLO.unpack(data)
        if magic != _MAGIC or not 1 <= block_bytes <= LONGEST_BLOCK_BYTES:
            raise PatternError("not the greeting of a client")
        return cls(block_bytes, seed)


class Welcome(NamedTuple):
    """How a server begins: its name, of at most 8 bytes, and the port that it sees, which is the local port of the gateway."""

    server: str
    local_port: int

    def encode(self) -> bytes:
        """WELCOME_BYTES bytes."""
        return _WELCOME.pack(self.server.encode(), self.local_port)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The reverse. Raises PatternError when the name is not text."""
        name, local_port = _WELCOME.unpack(data)
        try:
            return cls(name.rstrip(b"\0").decode("ascii"), local_port)
        except UnicodeDecodeError as error:
            raise PatternError("not the greeting of a server") from error
