"""Steps of which each is worth doing, whatever becomes of the others."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from appliance.edge.errors import EdgeError

log = logging.getLogger("appliance.director")

T = TypeVar("T")


def do_all(steps: Iterable[Callable[[], object]]) -> None:
    """Do each step, also after one that failed. Raises EdgeError with the words of all that failed."""
    failures = []
    for step in steps:
        try:
            step()
        except EdgeError as error:
            failures.append(str(error))
    if failures:
        raise EdgeError("; ".join(failures))


async def or_none(reading: Awaitable[T], failed: str) -> T | None:
    """What could be read; None, and a line of the log, when the kernel cannot be asked."""
    try:
        return await reading
    except EdgeError as error:
        log.error("%s: %s", failed, error)
        return None
