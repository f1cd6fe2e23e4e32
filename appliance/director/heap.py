"""What many objects and busy threads cost the event loop of the director, and how it is spared that.

Python's garbage collector looks at all objects again and again. With twenty thousand real servers that takes a quarter of a
second, in which nobody is answered; and nearly all of these objects stay as long as the configuration does.
"""

import gc
import sys

MANY = 1000
"""So many new real servers are worth it."""

SWITCH_INTERVAL_S = 0.0005
"""How long a thread that has much to do goes on while the event loop wants to. The loop may wait so long behind each of its
system calls, of which a health check makes six."""

_THRESHOLDS = (10_000, 10, 10)
"""So many new objects make Python look for cycles among them, and every tenth time among older ones. With its own number, 700, it
would look at all objects of a configuration fifty times while that is read."""

KEEP_AFTER_S = 1.0
"""How long after a change to call `keep`: what was only made on the way is gone then."""


def prepare() -> None:
    """Let the event loop have its turns while threads are at work. To be called once, at the start."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*_THRESHOLDS)


class Heap:
    """The objects that stay."""

    def __init__(self) -> None:
        self._new = 0

    def keep(self, real_servers: int) -> None:
        """Have the garbage collector leave alone all objects that there are now, if those of many real servers came since the
        last time. What is in no cycle is freed all the same; what is in one, and has just become garbage, is freed before."""
        self._new += real_servers
        if self._new >= MANY:
            self._new = 0
            gc.collect(1)
            gc.freeze()
