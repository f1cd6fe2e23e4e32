"""Which real server gets the next connection. Pick functions over plain weights; a weight of 0 means drain: nothing new."""

from collections.abc import Sequence


class RoundRobin:
    """Each real server with a weight above 0 in turn, whatever that weight is (LVS `rr`)."""

    def __init__(self) -> None:
        self._last = -1

    def pick(self, weights: Sequence[int]) -> int | None:
        """Index of the next real server; None when all weights are 0 or there is none."""
        count = len(weights)
        for step in range(1, count + 1):
            index = (self._last + step) % count
            if weights[index] > 0:
                self._last = index
                return index
        return None


SCHEDULERS = {"rr": RoundRobin}
"""Every scheduler by its name in the configuration."""
