"""What the director can be asked for by signals."""

import asyncio


class Asked:
    """An event for each wish."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        """To end for good: sessions are reset, and the host is as it was before."""
        self.leave = asyncio.Event()
        """To end, and to leave everything in the kernel for the next run: sessions go on."""
        self.reload = asyncio.Event()
