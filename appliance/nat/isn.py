"""Initial sequence numbers towards real servers. LVS behaviour 3.5; RFC 6528.

Many clients share a local address and port. A real server that still remembers the last of them (TIME_WAIT) takes a new SYN
only when its number lies beyond all it has seen, so the client's own number will not do: each tuple of local and real server
endpoint gets numbers that only grow. While a worker lives, a port remembers where its last connection ended. The first time
a port is used, the number is a keyed hash of the tuple plus a clock, which goes on over restarts on the same boot.
"""

from hashlib import blake2s

from appliance.wire.seq import add

_TICKS_PER_S = 15_625_000
"""64 ns a tick, as in LVS: faster than most connections send, and once round the numbers in 274 s, longer than a TIME_WAIT."""

STEP = 1 << 26
"""From the end of one connection to the start of the next on the same tuple: 64 MiB is more than a receive window. Inside the
window a socket in FIN_WAIT_2 would answer the SYN with a RST, which the client would take for a refusal; beyond it, it
answers with an ACK, which can be dealt with."""


class IsnSource:
    """Numbers for tuples that were not used before. `secret` is 1..32 bytes, the same for all workers and restarts."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def first(self, server_key: bytes, now: float) -> int:
        """For the 12 address bytes of local address to real server, at `now` seconds of the monotonic clock."""
        digest = blake2s(server_key, digest_size=4, key=self._secret).digest()
        return add(int.from_bytes(digest, "big"), int(now * _TICKS_PER_S))


def following(last_seq: int) -> int:
    """The number for the next connection of a tuple whose real server last acknowledged `last_seq`."""
    return add(last_seq, STEP)
