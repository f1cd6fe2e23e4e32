"""Initial sequence numbers (ISN) towards real servers. LVS behaviour 3.5; RFC 6528.

Many clients share a local address and port. A real server that still remembers the last of them (TIME_WAIT) accepts a new SYN
only when its number lies beyond all it has seen, so the client's own number cannot be used. Instead, the numbers shown on one
pair of local endpoint and real server only grow. While a worker lives, the pool of local ports keeps where the last connection on
a port ended, and the next one starts beyond it. The first time a port is used, the number is a keyed hash of the pair plus a
clock, which goes on when the appliance is started again on the same boot.
"""

from hashlib import blake2s

from appliance.wire.seq import add

_TICKS_PER_S = 15_625_000
"""A tick is 64 ns, as in LVS. That is faster than most connections send, and all numbers take 274 s, longer than a TIME_WAIT."""

STEP = 1 << 26
"""Distance, in bytes, from the end of one connection to the start of the next on the same pair. 64 MiB is more than a receive
window. To a SYN inside the window, a socket in FIN_WAIT_2 would answer with a RST, which the client would take for a refusal. To
a SYN beyond the window it answers with an ACK, which the shard can handle (see `nat.opening`)."""


class IsnSource:
    """Numbers for pairs of endpoints not used before. `secret` is 1..32 bytes, the same for all workers and restarts."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def first(self, server_key: bytes, now: float) -> int:
        """The number at `now` (seconds, monotonic). `server_key` is the flow key from local endpoint to real server."""
        digest = blake2s(server_key, digest_size=4, key=self._secret).digest()
        return add(int.from_bytes(digest, "big"), int(now * _TICKS_PER_S))


def following(last_seq: int) -> int:
    """The number for the next connection on a pair of endpoints whose real server last acknowledged `last_seq`."""
    return add(last_seq, STEP)
