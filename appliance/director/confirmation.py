"""A change that is taken back by itself unless somebody confirms it: for the operator who has locked himself out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum

from appliance.config.changes import ReloadRefusedError
from appliance.config.loading import Config
from appliance.director.duties import cancel

log = logging.getLogger("appliance.director")

RETRY_S = 2.0
"""How long after a refused attempt to take a change back the next one comes."""


class Occasion(StrEnum):
    """Why a configuration is put in force, in words for the log."""

    FILE = "configuration read again"
    CHANGED = "configuration changed"
    ON_TRIAL = "configuration changed, until it is confirmed or taken back"
    TAKEN_BACK = "the last change is taken back"


class Confirmation:
    """At most one change waits for its confirmation."""

    def __init__(
        self,
        lock: asyncio.Lock,
        put: Callable[[Config], Awaitable[object]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = lambda: asyncio.get_running_loop().time(),
    ) -> None:
        """`lock` is held while the configuration changes; `put` puts one in force, and raises ReloadRefusedError."""
        self._lock = lock
        self._put = put
        self._sleep = sleep
        self._now = now
        self._until: float | None = None
        self._task: asyncio.Future[None] | None = None

    @property
    def left_s(self) -> float | None:
        """Seconds until the change is taken back, 0 while that is being tried; None when none waits."""
        return None if self._until is None else max(self._until - self._now(), 0.0)

    def expect(self, before: Config, within_s: int) -> None:
        """Put `before` in force again in `within_s` seconds, unless `confirm` is called; `lock` is held by the caller."""
        self._until = until = self._now() + within_s
        self._task = asyncio.ensure_future(self._take_back(before, until))

    def confirm(self) -> bool:
        """Whether a change waited; it stays from now on. `lock` is held by the caller."""
        waited, self._until = self._until is not None, None
        if self._task is not None:
            self._task.cancel()
        return waited

    async def end(self) -> None:
        """Wait for no confirmation any more, at the end of a run."""
        if self._task is not None:
            await cancel([self._task])

    async def _take_back(self, before: Config, until: float) -> None:
        await self._sleep(until - self._now())
        while not await self._has_taken_back(before):
            await self._sleep(RETRY_S)

    async def _has_taken_back(self, before: Config) -> bool:
        async with self._lock:
            log.warning("the last change was not confirmed in time, and is taken back")
            try:
                await self._put(before)
            except ReloadRefusedError as error:
                log.error("it cannot be taken back now: %s; tried again in %.0f s", error, RETRY_S)
                return False
            self._until = None
        return True
