"""How many sessions each client of a service may have at the same time, in all shards together.

Only the sessions of proven clients count: those whose client has acknowledged what only the one who has its address could see.
Otherwise a stranger who sends SYNs in the name of a client would keep that client out. So a SYN does not count, and a client may
have more connections under way than it may have in the end. Those that are established beyond the limit are reset, a few
milliseconds later: `sessions.limits`.

Each session knows what it is counted as. It is taken off exactly that, whatever the service has been told meanwhile.
"""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from appliance.ipc.client_table import ClientTable, counted_as
from appliance.ipc.persistence_table import service_number
from appliance.ipc.plan import ServicePlan
from appliance.model.counters import CLIENTS_UNCOUNTED
from appliance.model.tcp_state import STATE_NAMES, TcpState

_PROVEN = (TcpState.ESTABLISHED, TcpState.FIN_WAIT, TcpState.CLOSE_WAIT, TcpState.LAST_ACK)
IS_COUNTED = bytes(state in _PROVEN for state in range(len(STATE_NAMES)))
"""By state: 1 when a session in it counts for its client. In TIME_WAIT and CLOSE its connection is over."""


class _Counted(Protocol):
    @property
    def counted_as(self) -> int | None: ...


CountedT = TypeVar("CountedT", bound=_Counted)


class ClientCounts(Generic[CountedT]):
    """What one shard counts, and what it sees of all others. `CountedT` is the type of its sessions."""

    def __init__(self, tables: Sequence[ClientTable], shard: int, secret: bytes, queue_counts: memoryview) -> None:
        """`tables` are those of all shards, by number; that of this one is emptied. All shards have the same `secret`."""
        self._tables, self._own = tables, tables[shard]
        self._own.forget_all()
        self.secret = secret
        self._queue_counts = queue_counts
        self.beyond: list[CountedT] = []
        """Sessions that have become established beyond their client's limit, and are to end."""

    def add(self, client: int) -> bool:
        """Count a session of this client; False when there is no place for it, and it is not counted."""
        is_counted = self._own.add(client)
        self._queue_counts[CLIENTS_UNCOUNTED] += not is_counted
        return is_counted

    def remove(self, client: int) -> None:
        """Count a session no longer, which was counted as this client's."""
        self._own.remove(client)

    def of(self, client: int) -> int:
        """How many sessions this client has in all shards."""
        return sum(table.count(client) for table in self._tables)


class ClientLimit:
    """The limit of one service in one shard."""

    __slots__ = ("_counts", "_prefix_bits", "counts_by", "most")

    def __init__(self, plan: ServicePlan, counts: ClientCounts[CountedT]) -> None:
        self.most = plan.max_conn_per_client
        """How many sessions a client may have."""
        self._counts = counts
        self._prefix_bits = plan.client_mask
        self.counts_by = service_number(plan.protocol, plan.vip, plan.port, plan.client_mask)
        """What stands for the service in what clients are counted as; another one with another mask."""

    def client(self, address: bytes) -> int:
        """What the sessions of the client with this address, four bytes, are counted as."""
        return counted_as(self.counts_by, address, self._prefix_bits, self._counts.secret)

    def is_reached(self, address: bytes) -> bool:
        """Whether the client with this address has as many sessions as it may."""
        return self._counts.of(self.client(address)) >= self.most

    def is_passed(self, client: int) -> bool:
        """Whether a client has more than that."""
        return self._counts.of(client) > self.most
