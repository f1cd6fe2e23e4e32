"""What the director can be asked for by signals."""

import asyncio
from collections.abc import Sequence
from typing import Any


class Asked:
    """An event for each wish."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        """To end for good: sessions are reset, and the host is as it was before."""
        self.leave = asyncio.Event()
        """To end, and to leave everything in the kernel for the next run: sessions go on."""
        self.reload = asyncio.Event()

    async def end(self, tasks: Sequence[asyncio.Future[None]]) -> None:
        """Wait until an end is asked for. No task ends by itself unless it has failed; then its error is raised here."""
        ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(event.wait()) for event in (self.stop, self.leave)]
        done, _ = await asyncio.wait([*ends, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        for task in done:
            task.result()
