"""Which services answer with SYN cookies at this moment: they have begun to more often than they have stopped. Pure.

Both are counted in the slot of any real server of the service (see `SharedState.cookie_edges`).
"""

from collections.abc import Iterable

from appliance.ipc.shared_layout import SharedState


def has_engaged(shared: SharedState, slots: Iterable[int]) -> bool:
    """Whether a shard answers with cookies because its backlog of the service is full whose real servers have these slots."""
    slots = tuple(slots)
    cells = ([shared.cookie_edges(shard, slot) for slot in slots] for shard in range(shared.shards))
    return any(sum(began for began, _ in edges) > sum(stopped for _, stopped in edges) for edges in cells)


def end_engagements(shared: SharedState, shard: int) -> None:
    """Count as stopped what a worker had begun that is gone: the one that starts answers with no cookies yet."""
    for slot in range(shared.destinations):
        edges = shared.cookie_edges(shard, slot)
        edges[1] = max(edges)
