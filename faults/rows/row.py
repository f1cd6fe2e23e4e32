"""One fault: how it is made, and what is promised of it."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from faults.figures import Hit
from faults.gateway import Gateway
from faults.promises import Promise

HOLD_S = 3.0
"""How long a fault lasts that has an end: a pause, a link that is down, a full disk."""


class NotApplicableError(Exception):
    """This fault cannot be tried here; the message says why."""


Act = Callable[[Gateway, ExitStack], Hit]
"""Makes the fault, waits as long as its cause is to last, and takes the cause away. Returns the sessions that it concerns.

What is put on the stack is done when the clients have stopped, in whatever way. Raises NotApplicableError, or BenchError.
"""


def nothing(_gateway: Gateway, _undo: ExitStack) -> None:
    """No preparation."""


class Row(NamedTuple):
    """One row of the table. `off` is the promise without the lane, and `on` that with it, where that is another one."""

    name: str
    title: str
    act: Act
    off: Promise
    on: Promise | None = None
    patience_s: float = 12.0
    """How long after the cause is gone the clients go on when not everything is well before."""
    is_mended_by_us: bool = False
    """Whether the cause lasts until the appliance, or its unit, has done something about it: then recovery is counted from the
    beginning."""
    prepare: Callable[[Gateway, ExitStack], None] = nothing
    """Done before the clients begin."""

    def promise(self, *, lane: bool) -> Promise:
        """The promise that holds."""
        return self.on if lane and self.on is not None else self.off
