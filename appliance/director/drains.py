"""Real servers that are drained: all shards know it, the sessions that are left end at a deadline, and the last one is an event.

A drain stands beside the configuration: a reload changes nothing about it, unless the real server is removed. It ends when it is
taken back, and a stop for good forgets it. When the change that removed the real server is taken back, the drain goes on.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from appliance.config.loading import Config, Service
from appliance.director import workers
from appliance.director.checks import target_of
from appliance.director.confirmation import Occasion
from appliance.director.events import Events
from appliance.director.health import Health
from appliance.director.in_force import InForce
from appliance.director.kept import keep_drains
from appliance.director.session_queries import SessionQueries
from appliance.director.supervisor import ShardProcess
from appliance.edge.errors import EdgeError
from appliance.health.check import Target
from appliance.health.drain import ASK_AGAIN_S, SLICE_S, SPREAD_S, Drain
from appliance.ipc.queries import SessionFilter, ShardDownError, ShardFailedError
from appliance.ipc.rows import DrainState
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import ACTIVE_CONNS, INACTIVE_CONNS

log = logging.getLogger("appliance.drain")

_Slots = Mapping[tuple[str, str, int], int]


class Sessions(Protocol):
    """The sessions of all shards. Both raise ShardDownError and ShardFailedError when a worker cannot answer."""

    async def tally(self, by: str, wanted: SessionFilter) -> Mapping[str, int]:
        """How many each has, see `SessionQueries.tally`."""

    async def cut_some(self, shard: int, wanted: SessionFilter, most: int, after: str) -> str:
        """End some of one shard, see `SessionQueries.cut_some`."""


class Around(NamedTuple):
    """What drains have around them."""

    shared: SharedState
    sessions: Sessions
    events: Events
    put_in_force: Callable[[tuple[int, ...]], Awaitable[None]]
    """Tells everybody the slots of all real servers that are drained."""
    keep: Callable[[Mapping[Target, Drain]], None]
    """Writes drains down for the next run. It blocks, and raises EdgeError."""


class Drains:
    """All drains of a run."""

    def __init__(
        self,
        config: Config,
        slots: Callable[[], _Slots],
        drains: Mapping[Target, Drain],
        around: Around,
        now: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`slots` gives the slot of each real server, and `drains` are those of the run before, which workers know from their
        plans."""
        self._slots, self._around = slots, around
        self._now, self._chance = now, chance
        self._services = _by_name(config)
        self._drains = {target: drain for target, drain in drains.items() if self._is_known(target)}
        self._aside: dict[Target, Drain] = {}
        """Those of real servers that a change has removed which may yet be taken back. Shards go on knowing them as drained, so
        that none gets a session before its drain goes on."""
        self._in_force = self.slots
        self._places: dict[tuple[Target, int], str] = {}
        """By real server and shard: behind which session the next one ends."""
        self._changing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._wake.set()
        self._said: dict[Target, str] = {}
        """Why it cannot be told whether the last session is gone, as it was logged last."""

    @property
    def slots(self) -> tuple[int, ...]:
        """The slots of all real servers that are drained, or were when a change removed them that waits for its confirmation."""
        return slots_of(self._drains | self._aside, self._slots())

    async def begin(self, target: Target, deadline_s: float | None) -> None:
        """Drain a real server: when this returns, no shard gives it a new session. One that is drained already gets another
        deadline, or none. Raises KeyError when there is no such real server."""
        async with self._changing:
            if not self._is_known(target):
                raise KeyError(target)
            now, before = self._now(), self._drains.get(target)
            deadline = None if deadline_s is None else now + deadline_s
            self._drains[target] = Drain(before.began if before else now, deadline, is_gone=before is not None and before.is_gone)
            await self._change(is_new=before is None)
            until = "" if deadline_s is None else f"; those that are left in {deadline_s:g} s are ended"
            self._say(target, "drain", f"it gets no new sessions, and has {sum(self._left(self._slots()[target]))}{until}")
        self._wake.set()

    async def take_back(self, target: Target) -> bool:
        """Let a real server have new sessions again: when this returns, every shard may give it some. False when it was not
        drained. Raises KeyError when there is no such real server."""
        async with self._changing:
            if not self._is_known(target):
                raise KeyError(target)
            if self._drains.pop(target, None) is None:
                return False
            self._forget(target)
            await self._change(is_new=True)
            self._say(target, "undrain", "it gets new sessions again")
            return True

    async def put(self, config: Config, occasion: Occasion) -> None:
        """Go by this configuration from now on. Drains of real servers that are in it go on, whatever their weights are now."""
        async with self._changing:
            before, aside, self._services = self._in_force, self._aside, _by_name(config)
            gone = {target: drain for target, drain in self._drains.items() if not self._is_known(target)}
            back = {target: drain for target, drain in aside.items() if self._is_known(target)}
            self._aside = gone if occasion is Occasion.ON_TRIAL else {}
            for target in gone:
                del self._drains[target]
                self._forget(target)
            if occasion is Occasion.TAKEN_BACK:
                self._drains |= back
            if gone or aside or self.slots != before:
                await self._change(is_new=True)
            for target in gone:
                self._say(target, "undrain", "it was removed from its service")
            if occasion is Occasion.TAKEN_BACK:
                for target in back:
                    self._say(target, "drain", "it is drained again: the change that removed it was taken back")
        self._wake.set()

    async def _change(self, *, is_new: bool) -> None:
        if is_new:
            self._in_force = self.slots
            await self._around.put_in_force(self._in_force)
        try:
            await asyncio.to_thread(self._around.keep, dict(self._drains))
        except EdgeError as error:
            log.error("the next run will not know who is drained: %s", error)

    def _is_known(self, target: Target) -> bool:
        """Whether there is such a real server."""
        service = self._services.get(target.service)
        return service is not None and any(target_of(service, server) == target for server in service.real_servers)

    def _forget(self, target: Target) -> None:
        self._said.pop(target, None)
        self._places = {key: place for key, place in self._places.items() if key[0] != target}

    def _say(self, target: Target, kind: str, words: str) -> None:
        log.info("service %s: real server %s: %s: %s", target.service, target.endpoint, kind, words)
        self._around.events.add(kind, target.service, target.endpoint, words)

    def state(self, target: Target, note: str = "") -> DrainState:
        """How far the drain of a real server has come. Raises KeyError when there is no such real server."""
        if not self._is_known(target):
            raise KeyError(target)
        drain, now, left = self._drains.get(target), self._now(), sum(self._left(self._slots()[target]))
        if drain is None:
            return DrainState(target.service, target.endpoint, False, 0.0, None, left, False, "")
        deadline_s = None if drain.deadline is None else round(max(0.0, drain.deadline - now), 1)
        return DrainState(
            target.service, target.endpoint, True, round(now - drain.began, 1), deadline_s, left, drain.is_gone, note
        )

    async def watch(self) -> None:
        """Look at all drains again and again, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if await self.look():
                self._wake.set()
                await asyncio.sleep(SLICE_S)

    async def look(self) -> bool:
        """End the sessions whose turn it is, and find out whose last session is gone; whether anybody has some left."""
        slots = self._slots()
        for target, drain in [*self._drains.items()]:
            if not drain.is_gone and self._is_in_force(target, drain):
                try:
                    await self._look_at(target, drain, slots[target])
                except (ShardDownError, ShardFailedError) as error:
                    drain.ask_again_at = self._now() + ASK_AGAIN_S
                    self._report(target, str(error))
        return any(not drain.is_gone for drain in self._drains.values())

    def _is_in_force(self, target: Target, drain: Drain) -> bool:
        return self._drains.get(target) is drain

    def _report(self, target: Target, error: str) -> None:
        if self._said.get(target) != error:
            self._said[target] = error
            log.warning("service %s: real server %s: its sessions are not known: %s", target.service, target.endpoint, error)

    async def _look_at(self, target: Target, drain: Drain, slot: int) -> None:
        if any(self._left(slot)):
            if drain.is_due(self._now()):
                await self._end_some(target, drain, slot)
        elif self._now() >= drain.ask_again_at:
            # Without the lock, because shards may take seconds to answer: nobody else waits for that.
            sessions = sum((await self._around.sessions.tally("service", _sessions_of(target))).values())
            async with self._changing:
                if not sessions and self._is_in_force(target, drain):
                    await self._conclude(target, drain)

    async def _conclude(self, target: Target, drain: Drain) -> None:
        """No shard has a session of a drained real server.

        Each was asked after all of them had stopped giving it any, so none can have come meanwhile. While a worker is away its
        counts are zero as well, and the kernel goes on with its sessions; but then nobody answers for it.
        """
        drain.is_gone = True
        self._say(target, "drained", "its last session is gone")
        await self._change(is_new=False)

    async def _end_some(self, target: Target, drain: Drain, slot: int) -> None:
        async with self._changing:  # nothing ends any more when a drain has been taken back
            if not self._is_in_force(target, drain):
                return
            now, left = self._now(), self._left(slot)
            if drain.ends_by is None:
                drain.ends_by = now + SPREAD_S
                self._say(target, "drain-deadline", f"its deadline is over: {sum(left)} sessions are ended, over {SPREAD_S:g} s")
            wanted = [drain.to_end(count, now, self._chance()) for count in left]
            turns = [self._end_in(target, shard, most) for shard, most in enumerate(wanted) if most]
            for outcome in await asyncio.gather(*turns, return_exceptions=True):
                if outcome is not None:
                    raise outcome

    async def _end_in(self, target: Target, shard: int, most: int) -> None:
        place = self._places.pop((target, shard), "")
        self._places[target, shard] = await self._around.sessions.cut_some(shard, _sessions_of(target), most, place)

    def _left(self, slot: int) -> list[int]:
        """By shard: how many sessions the real server in a slot has, as published last; none while the worker is away."""
        counts = (self._around.shared.destination(shard, slot) for shard in range(self._around.shared.shards))
        return [count[ACTIVE_CONNS] + count[INACTIVE_CONNS] for count in counts]


def _by_name(config: Config) -> dict[str, Service]:
    return {service.name: service for service in config.services}


def _sessions_of(target: Target) -> SessionFilter:
    return SessionFilter(service=target.service, real_server=target.endpoint)


def slots_of(drains: Mapping[Target, Drain], slots: _Slots) -> tuple[int, ...]:
    """The slots of the real servers that are drained, of those that have one."""
    return tuple(sorted(slots[target] for target in drains if target in slots))


async def change_drained(shards: Sequence[ShardProcess], health: Health, in_force: InForce, drained: tuple[int, ...]) -> None:
    """Put in force that the real servers in these slots get no new sessions: in all shards, and in what follows for services."""
    health.put_drained(frozenset(drained))
    await workers.tell([shard.change_drained(drained) for shard in shards])
    in_force.changed()
    await health.tell_once()


class Run(Protocol):
    """What drains need of the run that they belong to; the director is one."""

    shared: SharedState
    sessions: SessionQueries
    events: Events
    health: Health
    in_force: InForce


def drains_of(
    run: Run, config: Config, slots: Callable[[], _Slots], drains: Mapping[Target, Drain], shards: Sequence[ShardProcess]
) -> Drains:
    """The drains of a run, which begins with those of the run before."""
    put_in_force = partial(change_drained, shards, run.health, run.in_force)
    made = Drains(config, slots, drains, Around(run.shared, run.sessions, run.events, put_in_force, keep_drains))
    run.health.put_drained(frozenset(made.slots))
    return made
