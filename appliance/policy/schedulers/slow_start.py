"""Slow start: a real server that has just come back gets a small share of its new sessions, which grows to all of them."""

LEAST_SHARE = 0.01
"""The share at the beginning: large enough that a few sessions warm it up, small enough that they do not hurt."""


class SlowStart:
    """The slow start of one real server in one shard. Its weight counts as `share` times as much meanwhile."""

    __slots__ = ("_begins_s", "_credit", "_lasts_s")

    def __init__(self, begins_s: float, lasts_s: float) -> None:
        """It begins at `begins_s`, in seconds of the monotonic clock, and lasts `lasts_s` seconds, more than 0."""
        self._begins_s = begins_s
        self._lasts_s = lasts_s
        self._credit = 0.0

    def share(self, now: float) -> float:
        """What its weight counts now: LEAST_SHARE at the beginning, from there in a straight line up to 1.0."""
        passed = (now - self._begins_s) / self._lasts_s
        return min(1.0, LEAST_SHARE + (1.0 - LEAST_SHARE) * max(0.0, passed))

    def admits(self, now: float) -> bool:
        """Whether it takes the session whose turn it would be: of all the turns, `share` of them, evenly spread."""
        self._credit += self.share(now)
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True
