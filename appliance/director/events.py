"""What has happened to real servers, for everybody who listens: the latest events, each with a number."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from itertools import islice

from appliance.health.changes import StateChange
from appliance.ipc.rows import Event, EventsSince

MOST_KEPT = 1000
"""Events that somebody who comes back later can still get. Older ones are forgotten."""


class Events:
    """The events of a run. Numbers go on growing from run to run, as long as the clock of the host does."""

    def __init__(self, since_epoch_s: Callable[[], float] = lambda: time.time()) -> None:  # noqa: TID251  # for people
        self._since_epoch_s = since_epoch_s
        self._first = self._last = int(since_epoch_s() * 1000)
        self._kept: deque[Event] = deque(maxlen=MOST_KEPT)
        self._news = asyncio.Event()

    @property
    def last(self) -> int:
        """The number of the latest event, or that in front of the first one."""
        return self._last

    def add(self, kind: str, service: str, real_server: str, text: str) -> None:
        """Note an event, and wake all who wait for one."""
        self._last += 1
        self._kept.append(Event(self._last, round(self._since_epoch_s(), 3), kind, service, real_server, text))
        self._news.set()
        self._news = asyncio.Event()

    def add_state(self, change: StateChange) -> None:
        """Note that a real server has become up or down."""
        said = f"; last answer: {change.last_answer}" if change.last_answer else ""
        self.add("up" if change.is_up else "down", change.target.service, change.target.endpoint, f"{change.reason}{said}")

    def since(self, number: int, most: int) -> EventsSince:
        """Up to `most` events behind this number, the oldest first; 0 is in front of all."""
        oldest = self._kept[0].number if self._kept else self._last + 1
        is_known = oldest - 1 <= number <= self._last
        begin = number + 1 - oldest if is_known else 0
        found = list(islice(self._kept, begin, begin + most))
        are_missing = not is_known and (number > 0 or oldest > self._first + 1)
        return EventsSince(found, found[-1].number if found else self._last, are_missing)

    async def news(self) -> None:
        """Return when there is another event than there are now."""
        await self._news.wait()
