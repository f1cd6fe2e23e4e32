"""Errors of one real server that its traffic has shown, within a time that moves along. Pure.

Too many errors are so many as the limit says, and at least half as many as the sessions that were opened since the first of them.
Of a real server that is gone, every session is an error. One that answers most sessions is not condemned for those that a
stranger, or a lossy path, makes fail among them.
"""

from collections import deque

_SLICES = 20
"""A window is so many slices long; more of them would only take memory."""


class ErrorWindow:
    """The window of one real server."""

    __slots__ = ("_limit", "_slices", "_within_s")

    def __init__(self, limit: int, within_s: float) -> None:
        """`limit` errors within `within_s` seconds are too many."""
        self._limit = limit
        self._within_s = within_s
        self._slices: deque[list[float]] = deque()
        """Begin, refused sessions, unanswered ones, and sessions that were opened. The first slice has an error."""

    def add(self, now: float, refused: int, unanswered: int, opened: int) -> None:
        """Since the last time, so many sessions were refused, were not answered, and were opened."""
        slices = self._slices
        if refused or unanswered or slices:
            if not slices or now - slices[-1][0] >= self._within_s / _SLICES:
                slices.append([now, 0, 0, 0])
            newest = slices[-1]
            newest[1] += refused
            newest[2] += unanswered
            newest[3] += opened
        while slices and (slices[0][0] <= now - self._within_s or not slices[0][1] + slices[0][2]):
            slices.popleft()

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many sessions were refused, and not answered, within the time, and how many were opened since the first of them."""
        refused, unanswered, opened = (int(sum(of_slice[place] for of_slice in self._slices)) for place in (1, 2, 3))
        return refused, unanswered, opened

    @property
    def has_many(self) -> bool:
        """Whether there are so many errors as the limit says, however many sessions had none."""
        refused, unanswered, _ = self.counts
        return refused + unanswered >= self._limit

    @property
    def has_too_many(self) -> bool:
        """Whether there are too many errors."""
        refused, unanswered, opened = self.counts
        return refused + unanswered >= self._limit and 2 * (refused + unanswered) >= opened

    def __bool__(self) -> bool:
        return bool(self._slices)

    def clear(self) -> None:
        """Begin anew."""
        self._slices.clear()
