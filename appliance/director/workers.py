"""What concerns all workers of a run together."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence

from appliance.director.supervisor import ShardProcess
from appliance.director.watchdog import Watchdog
from appliance.edge import queue_stats
from appliance.edge.process import cpu_s
from appliance.ipc.queries import ShardFailedError
from appliance.ipc.rows import ShardState
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import WORKER_STARTS

log = logging.getLogger("appliance.director")


async def ready(workers: Sequence[ShardProcess]) -> None:
    """Wait for all workers, so that the first failure is raised and the error of no other is lost."""
    for outcome in await asyncio.gather(*(worker.first_start for worker in workers), return_exceptions=True):
        if outcome is not None:
            raise outcome


async def tell(changes: Sequence[Awaitable[None]]) -> None:
    """Returns when all workers have a change in force. A worker that does not is logged, and the others go on."""
    for outcome in await asyncio.gather(*changes, return_exceptions=True):
        if isinstance(outcome, ShardFailedError):
            log.error("a change is not in force everywhere: %s", outcome)
        elif outcome is not None:
            raise outcome


def states(workers: Sequence[ShardProcess], shared: SharedState, watchdog: Watchdog) -> list[ShardState]:
    """The state of each worker, in the order of shards."""
    queues = queue_stats.read()
    return [
        ShardState(
            worker.shard,
            worker.up and not worker.is_silent,
            worker.pid,
            shared.table(worker.shard, "queue")[WORKER_STARTS],
            watchdog.silent_s(worker.shard),
            None if worker.pid is None else cpu_s(worker.pid),
            queues[worker.queue_num].waiting if worker.queue_num in queues else None,
        )
        for worker in workers
    ]


def counted(workers: Sequence[ShardProcess]) -> str:
    """Their number in words."""
    return "1 shard" if len(workers) == 1 else f"{len(workers)} shards"
