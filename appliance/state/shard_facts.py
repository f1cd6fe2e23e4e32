"""What the services of a shard have to know of it."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from appliance.ipc.persistence_table import PersistenceTable
from appliance.ipc.plan import Plan
from appliance.ipc.shared_layout import SharedState
from appliance.policy.schedulers.maglev_table import MaglevTables
from appliance.state.persistence import Remembered


class ShardFacts(NamedTuple):
    """What a service has to know of its shard."""

    shard: int
    tables: MaglevTables
    conns_elsewhere: Callable[[int], tuple[int, int, int]]
    """By slot: see `SharedState.conns_elsewhere`."""
    remembered: Remembered
    open_elsewhere: Callable[[int], int] = lambda _: 0
    """By slot: see `SharedState.open_elsewhere`."""

    @classmethod
    def of(cls, plan: Plan, shared: SharedState) -> "ShardFacts":
        """Those of the shard of a plan."""
        table = PersistenceTable(shared.persistence, bytes.fromhex(plan.isn_secret))
        remembered = Remembered(table, shared.locks, shared.table(plan.shard, "queue"))
        open_elsewhere = partial(shared.open_elsewhere, plan.shard)
        return cls(plan.shard, MaglevTables(), partial(shared.conns_elsewhere, plan.shard), remembered, open_elsewhere)
