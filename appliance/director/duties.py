"""The duties of the director: work that is done again and again for the whole run, and that no error of its own may end.

The sessions live in the workers, and the workers live as long as the director. So an error in a duty is reported and counted, and
the duty begins anew after a pause.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from appliance.edge.errors import EdgeError
from appliance.ipc.rows import DutyState

log = logging.getLogger("appliance.director")

PAUSE_S = 2.0
"""How long a duty that failed waits before it begins anew."""

NEWS_AFTER_S = 60.0
"""An error that repeats itself is reported again only after the duty has gone well for this long."""


class Duties:
    """All duties of a run, by name."""

    def __init__(
        self, pause: Callable[[float], Awaitable[None]] = asyncio.sleep, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._pause = pause
        self._now = now
        self._failures: dict[str, int] = {}
        self._last_error: dict[str, str] = {}

    def states(self) -> list[DutyState]:
        """How often each duty has failed, and its last error."""
        return [DutyState(name, failures, self._last_error.get(name, "")) for name, failures in self._failures.items()]

    async def keep(self, name: str, duty: Callable[[], Awaitable[None]]) -> None:
        """Run `duty`, and begin it anew whenever it fails, until cancelled."""
        self._failures.setdefault(name, 0)
        while True:
            began = self._now()
            try:
                await duty()
            except Exception as error:  # whatever it is, sessions must not end with it
                self._report(name, error, self._now() - began)
            await self._pause(PAUSE_S)

    def _report(self, name: str, error: Exception, went_well_s: float) -> None:
        self._failures[name] += 1
        words = f"{type(error).__name__}: {error}"
        if words == self._last_error.get(name) and went_well_s < NEWS_AFTER_S:
            return
        self._last_error[name] = words
        of_ours = not isinstance(error, EdgeError | OSError)
        log.error("the duty %r failed and goes on in %.0f s: %s", name, PAUSE_S, words, exc_info=of_ours)


async def cancel(tasks: Sequence[asyncio.Future[None]]) -> None:
    """End all of them, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
