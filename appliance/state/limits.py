"""The limits of one service in one shard: how many sessions it has, and whether its real servers have room for one more.

Sessions of all shards count, but for those whose connection is over. A shard says at once that it has opened one, and within a
fiftieth of a second that one is over. Shards look at each other's numbers without a lock. So with one shard a limit is exact; all
shards together may exceed it by their number less one, and for a moment may refuse a session for which there would be room.

An admission that is ready counts as a session, here and in other shards; `sessions.readiness` has how few there are near a limit.
"""

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Optional, Protocol, TypeVar

from appliance.ipc.plan import ServicePlan
from appliance.policy.limits import DROP, next_best
from appliance.policy.schedulers.contract import Candidate


class Counted(Candidate, Protocol):
    """A real server, as far as its sessions are counted."""

    @property
    def slot(self) -> int:
        """Its place in the shared counters."""

    @property
    def max_conn(self) -> int:
        """How many sessions it may have; 0 for as many as come."""

    @property
    def open_here(self) -> int:
        """How many it has in this shard."""

    @property
    def ready(self) -> int:
        """How many are ready for it in this shard, whose clients have not come yet."""


CountedT = TypeVar("CountedT", bound=Counted)


class Limits:
    """The limits of a service that has any."""

    __slots__ = ("_elsewhere", "_max_conn", "drops")

    def __init__(self, plan: ServicePlan, elsewhere: Callable[[int], int]) -> None:
        """`elsewhere` says by slot how many sessions a real server has in other shards."""
        self._max_conn = plan.max_conn
        self.drops = plan.when_full == DROP
        """Whether what is beyond a limit is dropped without an answer."""
        self._elsewhere = elsewhere

    @classmethod
    def of(cls, plan: ServicePlan, elsewhere: Callable[[int], int]) -> Optional["Limits"]:
        """Those of a plan; None when it has none."""
        is_limited = plan.max_conn or plan.max_conn_per_client or any(server.max_conn for server in plan.real_servers)
        return cls(plan, elsewhere) if is_limited else None

    def _has_room(self, real_server: Counted) -> bool:
        return not real_server.max_conn or self._sessions(real_server) < real_server.max_conn

    def _sessions(self, real_server: Counted) -> int:
        return real_server.open_here + real_server.ready + self._elsewhere(real_server.slot)

    def with_room(self, picked: CountedT, candidates: Sequence[CountedT], client_key: bytes) -> CountedT | None:
        """The real server that was picked if it has room for a session of this client, else another one; None when none has."""
        if self._has_room(picked):
            return picked
        return next_best([candidate for candidate in candidates if self._has_room(candidate)], client_key)

    def have_room(self, candidates: Iterable[Counted]) -> bool:
        """Whether one of these that gets new sessions may have one more."""
        return any(candidate.weight and self._has_room(candidate) for candidate in candidates)

    def is_reached(self, real_servers: Iterable[Counted]) -> bool:
        """Whether the service, which has these real servers, has as many sessions as it may. O(n)."""
        if not self._max_conn:
            return False
        return sum(map(self._sessions, real_servers)) >= self._max_conn

    def room(self, real_servers: Iterable[Counted], candidates: Iterable[Counted]) -> float:
        """How many more sessions there may be whichever candidate they go to, beside those that are ready in other shards: the
        least of what the service and each of its candidates may have. Negative when there are too many; infinite without a
        limit. O(n)."""
        rooms = [each.max_conn - self._sessions(each) + each.ready for each in candidates if each.max_conn and each.weight]
        if self._max_conn:
            rooms.append(self._max_conn - sum(self._sessions(each) - each.ready for each in real_servers))
        return min(rooms, default=inf)

    def backlog(self, usual: int, candidates: Sequence[Counted]) -> int:
        """From how many half-open sessions on clients have to prove themselves; `usual` are those that any service may have.

        It is half of what the service may have, if that is less: otherwise a few forged SYNs would fill the service.
        """
        each = [candidate.max_conn for candidate in candidates]
        limits = [self._max_conn] * bool(self._max_conn) + [sum(each)] * (bool(each) and all(each))
        return max(1, min(usual, *(limit // 2 for limit in limits))) if limits else usual
