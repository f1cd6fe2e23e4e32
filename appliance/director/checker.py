"""Makes health checks when they are due, a bounded number of them at once.

Each check is a task of its own with a time limit, so one that hangs holds up no other as long as there are places. Nothing that
one of them does ends the rest.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from appliance.health.agenda import Agenda
from appliance.health.answer import Answer
from appliance.health.check import Check, Target
from appliance.health.pace import MOST_PER_S, Pace

log = logging.getLogger("appliance.health")

_LEAST_WAIT_S = 0.005
"""Between two looks at the agenda, so that checks that are due together are begun together."""

Ask = Callable[[Check, Target], Awaitable[Answer]]
Take = Callable[[Target, Answer], float]
"""Takes an answer; returns the seconds from the beginning of this check to that of the next one."""


class Checker:
    """The checks of one kind of costs: those that need a socket, or those that need a process."""

    def __init__(
        self, most_at_once: int, ask: Ask, take: Take, now: Callable[[], float] = time.monotonic, most_per_s: float = MOST_PER_S
    ) -> None:
        self._most_at_once = most_at_once
        self._pace = Pace(now(), most_per_s)
        self._ask = ask
        self._take = take
        self._now = now
        self._checks: dict[Target, Check] = {}
        self._agenda: Agenda[Target] = Agenda()
        self._running: dict[Target, asyncio.Task[None]] = {}
        self._news = asyncio.Event()

    @property
    def late_s(self) -> float:
        """For how long the check has been due that is the next to begin: more than a moment when there are more checks than can
        be made in time."""
        return max(0.0, self._now() - self._agenda.next_moment())

    def put(self, target: Target, check: Check, wait_s: float) -> None:
        """Check a target in this way from now on, first in `wait_s` seconds. A check of it that is under way counts no more."""
        self.drop(target)
        self._checks[target] = check
        self._agenda.put(target, self._now() + wait_s)
        self._news.set()

    def drop(self, target: Target) -> None:
        """Check a target no more."""
        self._checks.pop(target, None)
        self._agenda.drop(target)
        if task := self._running.pop(target, None):
            task.cancel()

    def hasten(self, target: Target, moment: float) -> None:
        """Check a target at this moment, if it waits for a later one."""
        self._agenda.hasten(target, moment)
        self._news.set()

    async def run(self) -> None:
        """Make checks until cancelled; then those that are under way are given up."""
        for target in self._checks.keys() - self._running.keys():
            if target not in self._agenda:  # an error ended the last run of this in between
                self._agenda.put(target, self._now())
        try:
            while True:
                now = self._now()
                places = min(self._most_at_once - len(self._running), self._pace.allowed(now))
                due = self._agenda.take_due(now, places)
                self._pace.begun(len(due))
                for target in due:
                    self._begin(target)
                await self._wait()
        finally:
            running, self._running = [*self._running.values()], {}
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _wait(self) -> None:
        has_place = len(self._running) < self._most_at_once
        wait_s = max(self._agenda.next_moment() - self._now(), _LEAST_WAIT_S) if has_place else None
        try:
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()
        await asyncio.sleep(_LEAST_WAIT_S)

    def _begin(self, target: Target) -> None:
        task = asyncio.ensure_future(self._check(target, self._checks[target]))
        self._running[target] = task

        def end(_: object) -> None:
            if self._running.get(target) is task:
                del self._running[target]
            self._news.set()

        task.add_done_callback(end)

    async def _check(self, target: Target, check: Check) -> None:
        began, wait_s = self._now(), check.interval_s
        try:
            answer = await self._ask(check, target)
            wait_s = self._take(target, answer)
        except Exception:  # an error of ours: this real server is asked again, and all others go on
            log.exception("the check of %s failed because of an error of ours; please report this", target.endpoint)
        self._agenda.put(target, max(self._now(), began + wait_s))
