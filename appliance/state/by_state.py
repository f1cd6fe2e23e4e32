"""How many sessions of a shard are in each state, and the order in which some of them came there."""

from collections.abc import Hashable, Iterator
from itertools import chain
from typing import Generic, Protocol, Self, TypeVar

from appliance.model.tcp_state import STATE_NAMES, TcpState

UNORDERED, HALF_OPEN, YIELDING = range(3)
"""The orders. A session that is YIELDING has no connection that could be disturbed: one of TCP in TIME_WAIT, or one of UDP that
is not confirmed, because its client has not sent again after an answer. A client that is only a forged source never does."""

_ORDERS: dict[int, int] = {
    TcpState.SYN_RECV: HALF_OPEN,
    TcpState.SYN_SENT: HALF_OPEN,
    TcpState.TIME_WAIT: YIELDING,
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


class Orders(Generic[OrderedT]):
    """Several orders that are one whole: the sessions of one protocol, by what they share local ports with."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[Hashable, OldestFirst[OrderedT]] = {}

    def of(self, key: Hashable) -> OldestFirst[OrderedT]:
        """The order of this key."""
        return self._by_key.setdefault(key, OldestFirst())

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))

    def __iter__(self) -> Iterator[OrderedT]:
        """All sessions, the oldest of each order first."""
        return chain.from_iterable(self._by_key.values())

    @property
    def oldest(self) -> OrderedT | None:
        """The oldest session of all. There is an order for each real server, and each is looked at."""
        firsts = [order.oldest for order in self._by_key.values() if order.oldest is not None]
        return min(firsts, key=lambda session: session.since, default=None)


class ByState(Generic[OrderedT]):
    """The sessions of one shard, TCP and UDP together."""

    __slots__ = ("counts", "now", "time_wait", "unconfirmed")

    def __init__(self, now: float) -> None:
        self.counts = [0] * len(STATE_NAMES)
        """How many sessions are in each state."""
        self.time_wait: Orders[OrderedT] = Orders()
        """Those in TIME_WAIT."""
        self.unconfirmed: Orders[OrderedT] = Orders()
        """Those of UDP that are not confirmed."""
        self.now = now
        """When a session that joins an order does so, in seconds of the monotonic clock; old by one tick at most."""

    def yielding(self, protocol: str, local_addresses: tuple[bytes, ...], real_server: bytes) -> OldestFirst[OrderedT]:
        """The yielding sessions of a protocol, "tcp" or "udp", between a pool of local addresses and a real server. Services that
        share both share the local ports as well."""
        return (self.time_wait if protocol == "tcp" else self.unconfirmed).of((local_addresses, real_server))
