"""Which real servers are up: answers come in, states change, shards are told, and everybody can see why.

A change goes to the kernel's lane and to all shards before the log and the API say so.
"""

import asyncio
import logging
import random
import resource
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set

from appliance.config.loading import Config
from appliance.director.checker import Ask, Checker
from appliance.director.checks import target_of, targets_of
from appliance.director.consequences import Consequences
from appliance.edge.errors import EdgeError
from appliance.health.answer import Answer, Outcome
from appliance.health.changes import RecentChanges, StateChange
from appliance.health.check import Check, Target
from appliance.health.standing import Standing, first_wait_s
from appliance.ipc.rows import RealServerHealth, ServiceHealth
from appliance.probes.probe import ask

log = logging.getLogger("appliance.health")

MOST_AT_ONCE = 4000
"""So many checks of real servers that do not answer can wait for the end of their time without holding up others: with a timeout
of a second, all that begin meanwhile, and as many more."""
MOST_COMMANDS_AT_ONCE = 32
_DESCRIPTORS = 16_384
"""How many descriptors a director wants; half of them are for checks."""

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
    ) -> None:
        """`slots` gives the slot of each real server; `was_down` are those that were down in the run before."""
        self._slots, self._put_in_force, self._keep = slots, put_in_force, keep
        self._now, self._chance = now, chance
        self._sockets = Checker(_most_at_once(), ask, self._take, now)
        self._commands = Checker(MOST_COMMANDS_AT_ONCE, ask, self._take, now)
        self._consequences = Consequences()
        self._checks: dict[Target, Check | None] = {}
        self._standings: dict[Target, Standing] = {}
        self._pending: list[StateChange] = []
        self._news = asyncio.Event()
        self._telling = asyncio.Lock()
        self.recent = RecentChanges()
        """The latest changes of state."""
        self.down: frozenset[int] = frozenset()
        """The slots of the real servers that are down, as everybody was told last."""
        self.left: frozenset[int] = frozenset()
        """Those of them whose sessions leave them."""
        self._is_late = False
        """Whether it was said that checks are late."""
        self._dirty = set[str]()
        """Services whose consequences may have changed."""
        self._put(config, was_down)
        self._look()
        self.down, self.left = self._consequences.down(), self._consequences.left()

    def put(self, config: Config) -> None:
        """Go by this configuration from now on. Whoever has the same check as before keeps his state and his turn."""
        self._put(config, frozenset())
        self._news.set()

    def _put(self, config: Config, was_down: Set[Target]) -> None:
        before, self._checks = self._checks, targets_of(config)
        self._consequences.put(config, self._slots())
        self._dirty = {service.name for service in config.services}
        for target in before.keys() - self._checks.keys():
            self._checker(before[target]).drop(target)
            del self._standings[target]
        for target, check in self._checks.items():
            if target not in before:
                self._standings[target] = Standing(self._now(), is_up=check is None or target not in was_down)
            elif check == before[target]:
                continue
            else:
                self._checker(before[target]).drop(target)
                self._change_check(target, check)
            if check is not None:
                self._checker(check).put(target, check, first_wait_s(check, self._chance()))

    def _change_check(self, target: Target, check: Check | None) -> None:
        standing = self._standings[target]
        standing.contrary = 0
        if check is None and not standing.is_up:
            self._standings[target] = Standing(self._now())
            self._note(target, "it is not checked any more")

    def _checker(self, check: Check | None) -> Checker:
        return self._commands if check is not None and check.kind == "command" else self._sockets

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
        self._consequences.look(dirty, lambda target: self._standings[target].is_up)

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
        """The health of each service and its real servers."""
        now = self._now()
        return [
            ServiceHealth(
                service.name,
                self._consequences.of(service.name).trouble,
                service.quorum,
                service.when_none_healthy,
                service.on_down,
                [self._row(target_of(service, server), is_backup=server.backup, now=now) for server in service.real_servers],
            )
            for service in self._consequences.services
        ]

    def _row(self, target: Target, *, is_backup: bool, now: float) -> RealServerHealth:
        standing, check = self._standings[target], self._checks[target]
        last = standing.last
        return RealServerHealth(
            target.address,
            target.port,
            "up" if standing.is_up else "down",
            is_backup,
            check.kind if check else "none",
            round(now - standing.since, 1),
            standing.contrary,
            last.outcome.value if last else "",
            last.words if last else "",
        )


def _since_epoch_s() -> float:
    return time.time()  # noqa: TID251  # for people, who compare it with other logs; nothing is decided by it


def _most_at_once() -> int:
    """How many checks with a socket there may be at once: half of the descriptors at most, whose limit is raised if it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return MOST_AT_ONCE if soft == resource.RLIM_INFINITY else max(1, min(MOST_AT_ONCE, soft // 2))
