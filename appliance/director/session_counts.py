"""How many sessions services and real servers have at one moment, for the plan of a change."""

from collections import Counter
from collections.abc import Mapping

from appliance.config.planned import CountSessions
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import ACTIVE_CONNS, INACTIVE_CONNS


def session_counts(shared: SharedState, slots: Mapping[tuple[str, str, int], int]) -> CountSessions:
    """A function of what the shards have published; `slots` are by service name, address and port."""
    counts = Counter[tuple[str, str]]()
    for (service, address, port), slot in slots.items():
        rows = (shared.destination(row, slot) for row in range(shared.shards + 1))
        number = sum(row[ACTIVE_CONNS] + row[INACTIVE_CONNS] for row in rows)
        counts[service, ""] += number
        counts[service, f"{address}:{port}"] += number
    return lambda service, endpoint: max(counts[service, endpoint], 0)
