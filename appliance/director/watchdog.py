"""Notices a worker that is there and does nothing, and has it started anew.

A process can stop without an end: somebody sends it SIGSTOP, a debugger holds it, it waits for a disk for ever. Its channel stays
open then, and its packets wait in a queue that nobody empties. So each worker moves a word of the shared memory on with every
turn of its loop, dozens of times a second also when there is nothing to do, and the director looks at these words.

Silence is counted in looks and not by the clock: when the whole host was paused, or the director itself was late, that is one
look, and no worker is blamed for it.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger("appliance.watchdog")

LOOK_INTERVAL_S = 0.5

NOTICED_LOOKS = 4
"""After so many looks without a turn, two seconds, the shard counts as silent. A turn takes a few hundredths of a second."""

RESTART_LOOKS = 20
"""After so many, ten seconds, the worker is killed, and the supervisor starts the next one. A restart ends all sessions of the
shard. Those of a worker that goes on have lost nothing, because TCP sends again for much longer; but meanwhile nobody can use
them, and new clients of the shard wait. Most pauses that end by themselves, such as memory that is read back from a disk, are
shorter."""

START_LOOKS = 120
"""A worker that is starting makes no turns yet. After so many looks, a minute, it is killed as well: the slowest machine that was
tried needs a quarter of that."""


class Watched(Protocol):
    """What the watchdog needs of the supervision of one worker; `ShardProcess` has it."""

    shard: int
    pid: int | None
    up: bool
    is_silent: bool
    """The watchdog writes this: whether the worker, though it is up, does nothing."""

    def kill(self) -> None:
        """Kill the worker; the next one is started."""


@dataclass(slots=True)
class _Silence:
    """What was seen of one worker: which process it is, its word at the last look, and how often that has not moved."""

    pid: int | None = None
    was_up: bool = False
    heartbeat: int = -1
    looks: int = 0


class Watchdog:
    """The silence of all workers."""

    def __init__(self, heartbeats: Sequence[int], workers: Sequence[Watched]) -> None:
        """`heartbeats` has a word for each shard, which its worker moves on; `workers` are in the order of shards."""
        self._heartbeats = heartbeats
        self._workers = workers
        self._silences = [_Silence() for _ in workers]

    def look(self) -> None:
        """One look at all workers; call it every LOOK_INTERVAL_S."""
        for worker, silence in zip(self._workers, self._silences, strict=True):
            self._look_at(worker, silence)

    def silent_s(self, shard: int) -> float:
        """For how many seconds the worker of this shard has made no turn, though it is up; 0.0 while it makes turns."""
        silence = self._silences[shard]
        return silence.looks * LOOK_INTERVAL_S if self._workers[shard].is_silent else 0.0

    def _look_at(self, worker: Watched, silence: _Silence) -> None:
        heartbeat = self._heartbeats[worker.shard]
        before = silence.pid, silence.was_up, silence.heartbeat
        if worker.pid is None or before != (worker.pid, worker.up, heartbeat):
            if worker.is_silent and worker.pid == silence.pid:
                log.warning("shard %d: worker (pid %s) goes on", worker.shard, worker.pid)
            silence.pid, silence.was_up, silence.heartbeat, silence.looks = worker.pid, worker.up, heartbeat, 0
            worker.is_silent = False
            return
        silence.looks += 1
        if worker.up and silence.looks == NOTICED_LOOKS:
            worker.is_silent = True
            log.error("shard %d: worker (pid %s) does nothing, its packets wait", worker.shard, worker.pid)
        if silence.looks >= (RESTART_LOOKS if worker.up else START_LOOKS):
            seconds = silence.looks * LOOK_INTERVAL_S
            log.error("shard %d: worker (pid %s) did nothing for %.0f s and is killed", worker.shard, worker.pid, seconds)
            worker.kill()


async def watch_workers(watchdog: Watchdog) -> None:
    """Look every LOOK_INTERVAL_S."""
    while True:
        await asyncio.sleep(LOOK_INTERVAL_S)
        watchdog.look()
