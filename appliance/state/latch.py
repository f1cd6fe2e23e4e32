"""The latch of a service's front door in one shard: open while the kernel is to answer with cookies in the shard's place.

A shard sees nothing of a SYN that the kernel answers. So it estimates how many half-open sessions it would have of such
clients: each cookie takes a place in the backlog until it is returned, and places become free at the rate at which the half-open
sessions of a full backlog would end. So it stays full while that many clients, or more, do not return their cookies; and when
they stop to come, it is empty after the time for which a session may be half-open.

A latch that is kept also says until when a client may have a cookie of the shard, by which the kernel judges packets of no
session.
"""

from math import ceil, isfinite

from appliance.ipc.lane_layout import LATCH, LATCH_OFFSETS

_COOKIES, _COOKIES_UNTIL_NS = LATCH_OFFSETS["cookies"] // 8, LATCH_OFFSETS["cookies_until_ns"] // 8
_IS_OPEN, _IS_KEPT = LATCH_OFFSETS["is_open"] // 4, LATCH_OFFSETS["is_kept"] // 4
_NS_PER_S = 1_000_000_000


class Latch:
    """One latch, as its shard uses it."""

    __slots__ = ("_at_s", "_cells", "_longs", "_seen", "proven", "unproven")

    def __init__(self, memory: memoryview) -> None:
        """`memory` is that of a LATCH. It is closed then and not kept, whatever an earlier worker has left."""
        assert len(memory) == LATCH.size
        self._longs, self._cells = memory.cast("q"), memory.cast("I")
        self.proven = 0
        """How many clients have returned a cookie since the last look."""
        self.unproven = 0.0
        """How many half-open sessions there would be of clients that the kernel has answered; as of the last look."""
        self._seen, self._at_s = 0, 0.0
        self.give_up()

    def open(self, now: float, unproven: float = 0.0) -> None:
        """Have the kernel answer. `now` is in seconds; `unproven` is what there is of another latch of the service."""
        self._seen, self._at_s = self._longs[_COOKIES], now
        self.proven, self.unproven = 0, unproven
        self._cells[_IS_OPEN] = 1

    def close(self) -> None:
        """Have SYNs come up."""
        self._cells[_IS_OPEN] = 0
        self.unproven = 0.0

    def keep(self, cookies_until: float) -> None:
        """From now on the latch says until when a client may have a cookie, see `expect_cookies`."""
        self.expect_cookies(cookies_until)
        self._cells[_IS_KEPT] = 1

    def expect_cookies(self, until: float) -> None:
        """A client may have a cookie of the shard until this time, in seconds of the monotonic clock; `-inf` when none may."""
        self._longs[_COOKIES_UNTIL_NS] = ceil(until * _NS_PER_S) if isfinite(until) else 0

    def give_up(self) -> None:
        """Close it, and have it say nothing any more."""
        self._cells[_IS_KEPT] = 0
        self.close()

    def look(self, backlog: int, life_s: float, now: float) -> None:
        """Take over what the kernel has answered since the last look, less the clients that it has seen return a cookie; some of
        them got theirs of the shard. `backlog` is how many half-open sessions there may be, and `life_s` how long each lasts
        whose client does not answer."""
        cookies = self._longs[_COOKIES]
        new, over = cookies - self._seen - self.proven, backlog * (now - self._at_s) / life_s
        self.unproven = min(max(max(self.unproven - over, 0.0) + new, 0.0), float(backlog))
        self._seen, self._at_s, self.proven = cookies, now, 0
