"""What the traffic says of real servers: shards count errors, and here they are added up over time, for services that observe.

Errors of all shards count together. Too many of them only bring a complaint before `health`, which decides what follows.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from appliance.config.loading import Config
from appliance.config.observe import Observe
from appliance.director.checks import target_of
from appliance.health.check import Target
from appliance.health.error_window import ErrorWindow
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import CONNS, REFUSED_CONNS, UNANSWERED_CONNS

INTERVAL_S = 0.2

_Seen = tuple[list[int], list[int], list[int]]
"""By slot, since ever: refused sessions, unanswered ones, and all that were opened."""


class Complaint(NamedTuple):
    """What the traffic says against a real server."""

    refused: int
    unanswered: int
    """How many sessions there were of either kind within the time."""
    observe: Observe
    is_grave: bool
    """Whether it is enough to take the real server for dead without a check."""


class Judge(Protocol):
    """Who decides what follows from complaints."""

    def accuse(self, target: Target, complaint: Complaint) -> None:
        """Hear a complaint."""

    def release(self) -> None:
        """Let go of those whose time is over."""


class _Observed(NamedTuple):
    target: Target
    observe: Observe
    window: ErrorWindow


class Observer:
    """Observes the real servers of a run."""

    def __init__(
        self,
        config: Config,
        shared: SharedState,
        slots: Callable[[], Mapping[tuple[str, str, int], int]],
        judge: Judge,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`slots` gives the slot of each real server."""
        self._shared, self._slots, self._judge, self._now = shared, slots, judge, now
        self._observed: dict[int, _Observed] = {}
        """By slot."""
        self._open: set[int] = set()
        """The slots with an error within the time."""
        self._seen: _Seen = ([], [], [])
        self.put(config)

    def put(self, config: Config) -> None:
        """Go by this configuration from now on. Whoever is observed as before keeps his errors."""
        before, slots = self._observed, self._slots()
        self._observed = {}
        for service in config.services:
            if (observe := service.observe) is None:
                continue
            for target in (target_of(service, server) for server in service.real_servers):
                made = _Observed(target, observe, ErrorWindow(observe.errors, observe.within_s))
                was = before.get(slots[target])
                self._observed[slots[target]] = was if was is not None and was[:2] == made[:2] else made
        self._open &= self._observed.keys()
        if self._observed and not self._seen[0]:
            self._seen = self._totals()  # so that errors count from this moment on, and not from the next look

    async def watch(self) -> None:
        """Look every INTERVAL_S."""
        while True:
            self.look()
            await asyncio.sleep(INTERVAL_S)

    def look(self) -> None:
        """Add up the errors since the last look, and complain of those who have too many."""
        self._judge.release()
        if not self._observed:
            self._seen = ([], [], [])
            return
        before, self._seen = self._seen, self._totals()
        for slot in self._open | set(_changed(before, self._seen)) & self._observed.keys():
            self._add(slot, *(max(0, now[slot] - then[slot]) for now, then in zip(self._seen, before, strict=True)))

    def _totals(self) -> _Seen:
        column = self._shared.destination_column
        return column(REFUSED_CONNS), column(UNANSWERED_CONNS), column(CONNS)

    def _add(self, slot: int, refused: int, unanswered: int, opened: int) -> None:
        target, observe, window = self._observed[slot]
        window.add(self._now(), refused, unanswered, opened)
        if refused + unanswered and window.has_many:
            is_grave = window.has_too_many
            self._judge.accuse(target, Complaint(*window.counts[:2], observe, is_grave))
            if is_grave:
                window.clear()
        if window:
            self._open.add(slot)
        else:
            self._open.discard(slot)


def _changed(before: _Seen, seen: _Seen) -> Iterable[int]:
    """The slots with new errors."""
    if before[:2] == seen[:2]:
        return ()
    pairs = zip(zip(*before[:2], strict=True), zip(*seen[:2], strict=True), strict=True)
    return (slot for slot, (was, now) in enumerate(pairs) if was != now)
