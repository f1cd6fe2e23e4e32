"""Changes of state, and the latest of them, which other views look at."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from appliance.health.check import Target

MOST_KEPT = 1000


class StateChange(NamedTuple):
    """A real server has become up or down."""

    at_s: float
    """Seconds since the epoch."""
    target: Target
    is_up: bool
    reason: str
    """Why, in one line."""
    last_answer: str

    @property
    def line(self) -> str:
        """The line of the log."""
        state = "up" if self.is_up else "down"
        said = f"; last answer: {self.last_answer}" if self.last_answer else ""
        return f"service {self.target.service}: real server {self.target.endpoint} is {state}: {self.reason}{said}"


class RecentChanges:
    """The latest changes, the oldest first; MOST_KEPT of them at most."""

    def __init__(self, tell: Callable[[StateChange], None] = lambda _: None) -> None:
        """`tell` hears of each of them."""
        self._tell = tell
        self._kept: deque[StateChange] = deque(maxlen=MOST_KEPT)
        self.total = 0
        """How many there were in this run."""

    def __iter__(self) -> Iterator[StateChange]:
        return iter(tuple(self._kept))

    def add(self, change: StateChange) -> None:
        """Note a change."""
        self._kept.append(change)
        self.total += 1
        self._tell(change)
