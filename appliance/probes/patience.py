"""The time that a check has: it must not run out because the director itself was late.

A loop that somebody has held up finds the deadlines of many checks passed when it goes on, and looks at them before it looks at
sockets (libuv does timers first). Their answers may have been there for a while. So a check whose deadline is noticed late gets
some time again, once: it ends with its answer then, or counts as failed a little later.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LATE_S = 0.02
"""How late the deadline of a check may be noticed before that counts as the director's own fault."""

MOST_AGAIN_S = 1.0
"""How much time such a check gets again, at most; else as much as it had."""


@asynccontextmanager
async def patience(timeout_s: float, now: Callable[[], float] = time.monotonic) -> AsyncIterator[None]:
    """The block ends within `timeout_s` seconds, or a little later when the loop is late. Raises TimeoutError."""
    loop, ends_at = asyncio.get_running_loop(), now() + timeout_s
    async with asyncio.timeout(None) as limit:

        def look() -> None:
            again_s = min(timeout_s, MOST_AGAIN_S) if now() - ends_at > LATE_S else 0.0
            limit.reschedule(loop.time() + again_s)

        deadline = loop.call_later(timeout_s, look)
        try:
            yield
        finally:
            deadline.cancel()
