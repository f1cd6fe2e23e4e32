"""How fast checks are made: so fast that the director has most of its time for everything else, whatever is configured."""

MOST_PER_S = 2000
"""How many checks with a socket begin each second at most: a third of the director's time on a slow CPU."""

_BURST_S = 0.05
"""What was not begun within this time is not made up for at once."""


class Pace:
    """Counts how many checks may begin."""

    def __init__(self, now: float, per_s: float = MOST_PER_S) -> None:
        self._per_s = per_s
        self._most = max(1.0, per_s * _BURST_S)
        self._free = self._most
        self._at = now

    def allowed(self, now: float) -> int:
        """How many may begin at this moment."""
        self._free = min(self._most, self._free + (now - self._at) * self._per_s)
        self._at = now
        return int(self._free)

    def begun(self, count: int) -> None:
        """So many have begun."""
        self._free -= count
