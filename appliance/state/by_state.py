"""How many sessions of a shard are in which state, and in which order some of them came there."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from appliance.model.tcp_state import STATE_NAMES, TcpState

if TYPE_CHECKING:  # entries know their service, which knows this
    from appliance.state.session import Session

NO_LINE, HALF_OPEN_LINE, TIME_WAIT_LINE = range(3)

_LINES: dict[int, int] = {
    TcpState.SYN_RECV: HALF_OPEN_LINE,
    TcpState.SYN_SENT: HALF_OPEN_LINE,
    TcpState.TIME_WAIT: TIME_WAIT_LINE,
}

LINE_OF_STATE = bytes(_LINES.get(state, NO_LINE) for state in range(len(STATE_NAMES)))
"""By state: the line in which its sessions stand, because the oldest may have to go before their time."""


NOT_IN_LINE = 0.0
"""In the place of a moment: one float for all, instead of one that each keeps for nothing."""


class OldestFirst:
    """Sessions in the order they came. Each knows its neighbours, so one in the middle leaves as easily as the first.

    An `OrderedDict` would do the same, but one of ninety thousand holds up everything for 24 ms when it grows.
    """

    __slots__ = ("_count", "_newest", "oldest")

    def __init__(self) -> None:
        self.oldest: Session | None = None
        """Who stands at the front."""
        self._newest: Session | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator["Session"]:
        """From the front to the end."""
        session = self.oldest
        while session is not None:
            yield session
            session = session.behind

    def join(self, session: "Session", now: float) -> None:
        """Stand at the end from now on; one that stands in no line."""
        newest = self._newest
        session.ahead, session.since = newest, now
        if newest is None:
            self.oldest = session
        else:
            newest.behind = session
        self._newest = session
        self._count += 1

    def leave(self, session: "Session") -> None:
        """Go, from wherever in this line."""
        ahead, behind = session.ahead, session.behind
        if ahead is None:
            self.oldest = behind
        else:
            ahead.behind = behind
        if behind is None:
            self._newest = ahead
        else:
            behind.ahead = ahead
        session.ahead = session.behind = None
        session.since = NOT_IN_LINE
        self._count -= 1


class ByState:
    """Of one shard, TCP and UDP together."""

    __slots__ = ("counts", "now", "time_wait")

    def __init__(self, now: float) -> None:
        self.counts = [0] * len(STATE_NAMES)
        """How many sessions are in each state."""
        self.time_wait = OldestFirst()
        self.now = now
        """When somebody who joins a line does so, in seconds of the monotonic clock; at most a look at the timers ago."""
