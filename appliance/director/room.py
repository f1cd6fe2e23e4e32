"""Room for new real servers: those that were removed longest ago, and have no session any more, give up their places.

The shared counters cannot grow, because workers have them mapped, and the lane's maps have the same places. So when there are
more new real servers than free places, the shards are asked to forget some that were removed. What they have counted stays in the
totals. One that comes back after that counts from nothing.
"""

import asyncio
from collections.abc import Sequence

from appliance.config.changes import ReloadRefusedError
from appliance.config.loading import Config
from appliance.director.lane import Lane
from appliance.director.plans import Key, Slots
from appliance.director.supervisor import ShardProcess
from appliance.ipc.queries import ShardFailedError
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import ACTIVE_CONNS, INACTIVE_CONNS


async def make_room(
    slots: Slots, configs: tuple[Config, Config], shards: Sequence[ShardProcess], lane: Lane, shared: SharedState
) -> None:
    """Make room for the real servers of the second of these configurations; the first one is in force. Nothing is done while
    there is room, and nothing when there cannot be enough: then `Slots.plan` refuses.

    Raises ReloadRefusedError when a shard does not forget what it should, and EdgeError when the kernel does not.
    """
    missing = slots.missing(configs[1])
    idle = [key for key, slot in slots.removed_from_all(*configs).items() if not _sessions(shared, slot)] if missing else []
    if not missing or len(idle) < missing:
        return
    leaving = idle[:missing]
    try:
        for outcome in await asyncio.gather(*(shard.forget(leaving) for shard in shards), return_exceptions=True):
            if outcome is not None:
                raise outcome
    except ShardFailedError as error:
        raise ReloadRefusedError(f"there is no room for new real servers at this moment: {error}") from error
    _give_up(slots, leaving, lane, shared)


def _sessions(shared: SharedState, slot: int) -> int:
    """How many sessions the real server in a slot has, as far as it was published."""
    rows = (shared.destination(shard, slot) for shard in range(shared.shards))
    return sum(row[ACTIVE_CONNS] + row[INACTIVE_CONNS] for row in rows)


def _give_up(slots: Slots, keys: Sequence[Key], lane: Lane, shared: SharedState) -> None:
    """In one go, so that nobody counts or looks in between."""
    taken = slots.taken
    with lane.counting(shared) as counts:
        if counts is not None:
            counts.look([taken[key] for key in keys])
        for slot in map(taken.__getitem__, keys):
            shared.give_up(slot, slots.given_up)
            if counts is not None:
                counts.start_anew(slot)
    slots.give_up(keys)
