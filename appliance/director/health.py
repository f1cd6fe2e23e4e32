"""Which real servers are up: answers come in, states change, shards are told, and everybody can see why.

A change goes to the kernel's lane and to all shards before the log and the API say so.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from math import inf

from appliance.config.loading import Config
from appliance.director.check_places import MOST_COMMANDS_AT_ONCE, most_at_once
from appliance.director.checker import Ask, Checker
from appliance.director.checks import Difference, Targets
from appliance.director.consequences import Consequences
from appliance.director.observer import Complaint
from appliance.edge.errors import EdgeError
from appliance.health.answer import Answer, Outcome, failed
from appliance.health.changes import RecentChanges, StateChange
from appliance.health.check import Check, Target
from appliance.health.standing import Standing, first_wait_s
from appliance.ipc.rows import RealServerHealth, ServiceHealth
from appliance.probes.probe import ask

log = logging.getLogger("appliance.health")

_BATCH_S = 0.05
"""Changes of state within this time go to the shards together."""

_TELLING_SHARE = 10
"""When it takes longer to tell them, because very many are down, it takes no more than one part in so many of the time."""

LATE_S = 2.0
"""Checks that begin so late are worth a word."""

_TOO_MANY = "there are more than can be made in time, so each real server is asked less often than its interval_s says"

PutInForce = Callable[[tuple[int, ...]], Awaitable[None]]
"""Tells everybody the slots of the real servers that are down."""
Keep = Callable[[Iterable[Target]], None]
"""Writes down who is down, for the next run. It blocks, and raises EdgeError."""


class Health:
    """The health of all real servers of a run."""

    def __init__(
        self,
        config: Config,
        slots: Callable[[], Mapping[tuple[str, str, int], int]],
        put_in_force: PutInForce,
        was_down: Set[Target] = frozenset(),
        keep: Keep = lambda _: None,
        ask: Ask = ask,
        now: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        hear: Callable[[StateChange], None] = lambda _: None,
    ) -> None:
        """`slots` gives the slot of each real server; `was_down` are those that were down in the run before. `hear` hears of each
        change of state, after it is in force."""
        self._slots, self._put_in_force, self._keep = slots, put_in_force, keep
        self._now, self._chance = now, chance
        self._sockets = Checker(most_at_once(), ask, self._take, now)
        self._commands = Checker(MOST_COMMANDS_AT_ONCE, ask, self._take, now)
        self._consequences = Consequences()
        self._targets = Targets()
        self._checks: dict[Target, Check | None] = {}
        self._standings: dict[Target, Standing] = {}
        self._pending: list[StateChange] = []
        self._news = asyncio.Event()
        self._telling = asyncio.Lock()
        self.recent = RecentChanges(hear)
        """The latest changes of state."""
        self.down: frozenset[int] = frozenset()
        """The slots of the real servers that are down, as everybody was told last."""
        self.left: frozenset[int] = frozenset()
        """Those of them whose sessions leave them."""
        self._is_late = False
        """Whether it was said that checks are late."""
        self._observed: set[str] = set()
        """Services whose traffic is observed."""
        self._held: dict[Target, float] = {}
        """Real servers that are down because of their traffic, and for how long each time, in seconds."""
        self._hastened: dict[Target, float] = {}
        """When the check of a real server was, or will be, made because of its traffic."""
        self._spared: dict[Target, float] = {}
        """When it was said last that a real server stays up although its traffic speaks against it."""
        self._dirty = set[str]()
        """Services whose consequences may have changed."""
        self._put(config, self.difference(config), was_down)
        self._look()
        self.down, self.left = self._consequences.down(), self._consequences.left()

    def difference(self, config: Config) -> Difference:
        """What `put` will have to do for a configuration. It may be called in another thread, and takes most of the time."""
        return self._targets.difference(config)

    def put(self, config: Config, difference: Difference | None = None) -> None:
        """Go by this configuration from now on. Whoever has the same check as before keeps his state and his turn."""
        self._put(config, difference or self.difference(config), frozenset())
        self._news.set()

    def _put(self, config: Config, difference: Difference, was_down: Set[Target]) -> None:
        names, before, after, news, *_ = difference
        self._targets.put(difference)
        self._consequences.put(config, self._slots())
        self._dirty |= names
        for target in before.keys() - after.keys():
            self._checker(before[target]).drop(target)
            del self._standings[target], self._checks[target]
            self._hastened.pop(target, None)
            self._spared.pop(target, None)
        self._checks |= after
        for target, check in news.items():
            if target not in before:
                self._standings[target] = Standing(self._now(), is_up=check is None or target not in was_down)
            else:
                self._checker(before[target]).drop(target)
                self._change_check(target, check)
            if check is not None:
                self._checker(check).put(target, check, first_wait_s(check, self._chance()))
        self._observed = {service.name for service in config.services if service.observe is not None}
        for target in [*self._held]:
            if self._checks.get(target) is not None or target not in self._checks:
                del self._held[target]
            elif target.service not in self._observed:
                self._free(target, "its traffic is not observed any more", force=True)

    def _change_check(self, target: Target, check: Check | None) -> None:
        standing = self._standings[target]
        standing.contrary = 0
        if check is None and not standing.is_up:
            self._standings[target] = Standing(self._now())
            self._note(target, "it is not checked any more")

    def _checker(self, check: Check | None) -> Checker:
        return self._commands if check is not None and check.kind == "command" else self._sockets

    def put_drained(self, drained: Set[int]) -> None:
        """The real servers in these slots get no new sessions from now on, whatever their weights, and no others."""
        changed, self._consequences.drained = drained ^ self._consequences.drained, drained
        self._dirty |= {service for (service, _, _), slot in self._slots().items() if slot in changed}
        self._news.set()

    async def watch_sockets(self) -> None:
        """Make the checks that need a socket, until cancelled."""
        await self._sockets.run()

    async def watch_commands(self) -> None:
        """Make the checks that need a process, until cancelled."""
        await self._commands.run()

    async def tell(self) -> None:
        """Put changes in force and report them, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            began = self._now()
            await self.tell_once()
            await asyncio.sleep(max(_BATCH_S, _TELLING_SHARE * (self._now() - began)))

    async def tell_once(self) -> None:
        """Put in force what has changed up to now, and report it."""
        async with self._telling:
            await self._tell_once()

    async def _tell_once(self) -> None:
        pending, self._pending = self._pending, []
        troubles, before, left_before = self._consequences.troubles(), self.down, self.left
        self._look()
        self.down, self.left = self._consequences.down(), self._consequences.left()
        if (self.down, self.left) != (before, left_before):
            await self._put_in_force(tuple(sorted(self.down)))
        for change in pending:
            self.recent.add(change)
            log.log(logging.INFO if change.is_up else logging.WARNING, "%s", change.line)
        self._report_services(troubles)
        if self.down != before:
            await self._keep_down()

    def _look(self) -> None:
        dirty, self._dirty = self._dirty, set()
        self._consequences.look(dirty, self._is_up)

    async def _keep_down(self) -> None:
        down = [target for target, standing in self._standings.items() if not standing.is_up]
        try:
            await asyncio.to_thread(self._keep, down)
        except EdgeError as error:
            log.error("the next run will not know who is down: %s", error)

    def _take(self, target: Target, answer: Answer) -> float:
        standing, check = self._standings[target], self._checks[target]
        assert check is not None
        count, before = standing.contrary + 1, standing.last
        if answer.outcome is Outcome.UNDECIDED and answer != before:
            log.warning("service %s: real server %s cannot be checked: %s", target.service, target.endpoint, answer.words)
        if standing.take(answer, check, self._now()):
            kind = f"{check.kind} check{'' if count == 1 else 's'}"
            self._note(target, f"{count} {kind} {'passed' if standing.is_up else 'failed'}{' in a row' if count > 1 else ''}")
        return standing.wait_s(check, self._chance())

    def accuse(self, target: Target, complaint: Complaint) -> None:
        """Traffic speaks against a real server: its next check is made at once. One without a check goes down, if the complaint
        is grave and enough others are left to its service."""
        check, now = self._checks[target], self._now()
        if check is not None:
            before = self._hastened.get(target, -inf)
            if before < now:
                self._hastened[target] = moment = max(now, before + check.fast_interval_s)
                self._checker(check).hasten(target, moment)
        elif complaint.is_grave and self._standings[target].is_up:
            self._condemn(target, complaint, now)

    def _condemn(self, target: Target, complaint: Complaint, now: float) -> None:
        standing, (refused, unanswered, observe, _) = self._standings[target], complaint
        reason = f"{refused + unanswered} of its sessions failed within {observe.within_s:g} s"
        answer = failed(f"{refused} refused, {unanswered} without an answer")
        if self._consequences.can_spare(target, self._is_up):
            standing.condemn(answer, now, now + observe.hold_s)
            self._held[target] = observe.hold_s
            self._note(target, reason)
        elif now >= self._spared.get(target, -inf) + observe.hold_s:
            self._spared[target] = now
            standing.last = answer
            log.warning(
                "service %s: real server %s stays up, because too few others are: %s; last answer: %s",
                *(target.service, target.endpoint, reason, answer.words),
            )

    def release(self) -> None:
        """Let real servers be up again that were down because of their traffic for as long as they had to be."""
        for target in [*self._held]:
            self._free(target, f"it is tried again after {self._held[target]:g} s")

    def _free(self, target: Target, reason: str, *, force: bool = False) -> None:
        standing = self._standings[target]
        if force:
            standing.tried_again_at = self._now()
        if standing.try_again(self._now()):
            del self._held[target]
            self._note(target, reason)

    def _is_up(self, target: Target) -> bool:
        return self._standings[target].is_up

    def _note(self, target: Target, reason: str) -> None:
        standing = self._standings[target]
        last = standing.last.words if standing.last is not None else ""
        self._pending.append(StateChange(_since_epoch_s(), target, standing.is_up, reason, last))
        self._dirty.add(target.service)
        self._news.set()

    def _report_services(self, before: Mapping[str, str]) -> None:
        now = self._consequences.troubles()
        for name in dict.fromkeys((*before, *now)):
            if name in now and now[name] != before.get(name):
                log.error("service %s: %s", name, now[name])
            elif name not in now:
                log.info("service %s: enough real servers are up again", name)

    @property
    def late_s(self) -> float:
        """By how much checks are late: see `Checker.late_s`."""
        return max(self._sockets.late_s, self._commands.late_s)

    @property
    def notes(self) -> list[str]:
        """What is wrong with the checks themselves, a sentence each."""
        late_s = self.late_s
        return [f"health checks are late by {late_s:.0f} s: {_TOO_MANY}"] if late_s >= LATE_S else []

    def say_if_late(self) -> None:
        """Log once that checks are late, and once that they are not any more."""
        notes = self.notes
        if bool(notes) != self._is_late:
            self._is_late = bool(notes)
            log.log(logging.WARNING if notes else logging.INFO, "%s", *(notes or ["health checks are made in time again"]))

    @property
    def troubles(self) -> dict[str, str]:
        """By service: what is wrong with those that are down at this moment."""
        return self._consequences.troubles()

    def rows(self) -> list[ServiceHealth]:
        """The health of each service and its real servers. It may be called in another thread."""
        slots, drained, asked = self._slots(), self._consequences.drained, self._targets.by_service
        standings, now = dict(self._standings), self._now()
        return [
            ServiceHealth(
                service.name,
                self._consequences.of(service.name).trouble,
                service.quorum,
                service.when_none_healthy,
                service.on_down,
                [
                    self._row(target, check, standing, server.backup, slots.get(target) in drained, now)
                    for server, (target, check) in zip(service.real_servers, checks.items(), strict=True)
                    if (standing := standings.get(target)) is not None  # else it comes or goes at this moment
                ],
            )
            for service, checks in asked.values()
        ]

    def _row(
        self, target: Target, check: Check | None, standing: Standing, is_backup: bool, is_drained: bool, now: float
    ) -> RealServerHealth:
        last = standing.last
        return RealServerHealth(
            target.address,
            target.port,
            "up" if standing.is_up else "down",
            is_backup,
            check.kind if check else "traffic" if target.service in self._observed else "none",
            round(now - standing.since, 1),
            standing.contrary,
            last.outcome.value if last else "",
            last.words if last else "",
            max(0.0, round((standing.tried_again_at or now) - now, 1)),
            is_drained,
        )


def _since_epoch_s() -> float:
    return time.time()  # noqa: TID251  # for people, who compare it with other logs; nothing is decided by it
