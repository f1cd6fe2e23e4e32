"""How many sessions of a shard are in each state, and the order in which some of them came there."""

from collections.abc import Iterator
from typing import Generic, Protocol, Self, TypeVar

from appliance.model.tcp_state import STATE_NAMES, TcpState

UNORDERED, HALF_OPEN, TIME_WAIT = range(3)

_ORDERS: dict[int, int] = {
    TcpState.SYN_RECV: HALF_OPEN,
    TcpState.SYN_SENT: HALF_OPEN,
    TcpState.TIME_WAIT: TIME_WAIT,
}

ORDER_OF_STATE = bytes(_ORDERS.get(state, UNORDERED) for state in range(len(STATE_NAMES)))
"""By state: the order that its sessions are kept in, because the oldest may have to go before its time."""

NOT_IN_ORDER = 0.0
"""In the place of a moment: one float for all sessions that are in no order."""


class Ordered(Protocol):
    """What `OldestFirst` needs of a session."""

    ahead: Self | None
    behind: Self | None
    since: float


OrderedT = TypeVar("OrderedT", bound=Ordered)


class OldestFirst(Generic[OrderedT]):
    """Sessions in the order in which they came. Each knows its neighbours, so one in the middle leaves as easily as the first.

    An `OrderedDict` would do the same, but one of ninety thousand sessions stops everything for 24 ms when it grows.
    """

    __slots__ = ("_count", "_newest", "oldest")

    def __init__(self) -> None:
        self.oldest: OrderedT | None = None
        self._newest: OrderedT | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[OrderedT]:
        """From the oldest to the newest."""
        session = self.oldest
        while session is not None:
            yield session
            session = session.behind

    def join(self, session: OrderedT, now: float) -> None:
        """Add a session that is in no order, as the newest."""
        newest = self._newest
        session.ahead, session.since = newest, now
        if newest is None:
            self.oldest = session
        else:
            newest.behind = session
        self._newest = session
        self._count += 1

    def leave(self, session: OrderedT) -> None:
        """Take out a session that is in this order."""
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
        session.since = NOT_IN_ORDER
        self._count -= 1


class ByState(Generic[OrderedT]):
    """The sessions of one shard, TCP and UDP together."""

    __slots__ = ("counts", "now", "time_wait")

    def __init__(self, now: float) -> None:
        self.counts = [0] * len(STATE_NAMES)
        """How many sessions are in each state."""
        self.time_wait: OldestFirst[OrderedT] = OldestFirst()
        """Those in TIME_WAIT."""
        self.now = now
        """When a session that joins an order does so, in seconds of the monotonic clock; old by one tick at most."""
