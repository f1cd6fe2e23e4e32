"""What the services of a shard have to know of it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from appliance.ipc.client_table import tables_of
from appliance.ipc.persistence_table import PersistenceTable
from appliance.ipc.plan import Plan
from appliance.ipc.shared_layout import SharedState
from appliance.policy.schedulers.maglev_table import MaglevTables
from appliance.state.client_limit import ClientCounts
from appliance.state.persistence import Remembered


class ShardFacts(NamedTuple):
    """What a service has to know of its shard."""

    shard: int
    tables: MaglevTables
    conns_elsewhere: Callable[[int], tuple[int, int, int]]
    """By slot: see `SharedState.conns_elsewhere`."""
    remembered: Remembered
    open_elsewhere: Callable[[int], int]
    """By slot: see `SharedState.open_elsewhere`."""
    clients: ClientCounts[Any]

    @classmethod
    def of(cls, plan: Plan, shared: SharedState, remembered_words: memoryview) -> "ShardFacts":
        """Those of the shard of a plan. `remembered_words` are those of the kernel; without a lane there are none, and clients
        are remembered in the shared memory."""
        secret, queue_counts = bytes.fromhex(plan.isn_secret), shared.table(plan.shard, "queue")
        table = PersistenceTable(remembered_words or shared.persistence, secret)
        remembered = Remembered(table, shared.locks, queue_counts)
        clients = ClientCounts[Any](tables_of(shared.clients), plan.shard, secret, queue_counts)
        conns_elsewhere, open_elsewhere = partial(shared.conns_elsewhere, plan.shard), partial(shared.open_elsewhere, plan.shard)
        return cls(plan.shard, MaglevTables(), conns_elsewhere, remembered, open_elsewhere, clients)
