"""Initial sequence numbers (ISN) towards real servers. LVS behaviour 3.5; RFC 6528.

Many clients share a local address and port. A real server that still remembers the last of them (TIME_WAIT) accepts a new SYN
only when its number lies beyond all it has seen, so the client's own number cannot be used. Instead, the numbers shown on one
pair of local endpoint and real server only grow. While a worker lives, the pool of local ports keeps where the last connection on
a port ended, and the next one starts beyond it. The first time a port is used, the number is a keyed hash of the pair plus a
clock, which goes on when the appliance is started again on the same boot.

Who can foresee a number? Clients never see one: in all that goes back to them, numbers are the client's own, also in SACK blocks
and in what ICMP errors quote. A client knows how many bytes it sent, and so how far its own connection moved the numbers, but not
from where. Without the key, a first number tells nothing about that of another pair. And because the step to the next connection
has a part that depends on the key, even somebody who came to know all earlier numbers of a pair has to guess one of 67 million.
"""

from array import array
from hashlib import blake2s

from appliance.wire.seq import MASK as SEQ_MASK
from appliance.wire.seq import add

_TICKS_PER_S = 15_625_000
"""A tick is 64 ns, as in LVS. That is faster than most connections send, and all numbers take 274 s, longer than a TIME_WAIT."""

LEAST_STEP = 1 << 26
"""Least distance, in bytes, from the end of one connection to the start of the next on the same pair. 64 MiB is more than a
receive window. To a SYN inside the window, a socket in FIN_WAIT_2 would answer with a RST, which the client would take for a
refusal. To a SYN beyond the window it answers with an ACK, which the shard can handle (see `nat.opening`)."""

STEP_RANGE = 1 << 26
"""The distance is less than LEAST_STEP + STEP_RANGE. That is a small part of the circle, so that the number still lies ahead."""


STEP_BYTES = 4

CHOICE_SHIFT = 30
"""Where in a step the two bits are that have nothing to do with the distance."""

_DRAWN_BITS = 3 << CHOICE_SHIFT | (STEP_RANGE - 1)


def drawn_steps(drawn: bytes) -> "array[int]":
    """Distances in the range of that of `IsnSource.following`, by random bytes, STEP_BYTES for each: that costs much less than a
    hash for each; and two bits of them above it, for whoever has to choose at random."""
    number = len(drawn) // STEP_BYTES
    mask, least = (int.from_bytes(word.to_bytes(STEP_BYTES, "little") * number, "little") for word in (_DRAWN_BITS, LEAST_STEP))
    return array("I", (int.from_bytes(drawn, "little") & mask | least).to_bytes(STEP_BYTES * number, "little"))


class IsnSource:
    """Numbers for pairs of endpoints. `secret` is 1..32 bytes, the same for all workers and restarts.

    `server_key` is the flow key from local endpoint to real server.
    """

    def __init__(self, secret: bytes) -> None:
        self._keyed = blake2s(digest_size=4, key=secret)
        """The hash with the key in it: a copy costs less than a new one."""

    def first(self, server_key: bytes, now: float) -> int:
        """The number for a pair that was not used before, at `now` (seconds, monotonic)."""
        return add(self._hashed(server_key), int(now * _TICKS_PER_S))

    def following(self, server_key: bytes, last_seq: int) -> int:
        """The number for the next connection on a pair whose real server last acknowledged `last_seq`."""
        drawn = self._hashed(server_key + (last_seq & SEQ_MASK).to_bytes(4, "big")) % STEP_RANGE
        return add(last_seq, LEAST_STEP + drawn)

    def _hashed(self, message: bytes) -> int:
        hashed = self._keyed.copy()
        hashed.update(message)
        return int.from_bytes(hashed.digest(), "big")
