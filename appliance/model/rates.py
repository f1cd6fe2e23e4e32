"""Events per second, computed from counters that only grow and smoothed as the LVS estimator does."""

from collections.abc import Sequence
from typing import NamedTuple

WEIGHT = 1 / 4
"""How far one sample moves the average. With a sample every 2 s, nine tenths of a step in traffic show after 16 s."""


class Rates(NamedTuple):
    """Smoothed events per second: a row per shard, its fields in the order of the samples. No rows before the first sample."""

    shards: tuple[tuple[float, ...], ...] = ()


class RateMeter:
    """Keeps ``average += (rate - average) / 4`` for every field of every shard; `rates` is never negative."""

    def __init__(self) -> None:
        self.rates = Rates()
        self._sampled_at = 0.0
        self._totals: tuple[tuple[int, ...], ...] = ()

    def sample(self, now: float, totals: Sequence[Sequence[int]]) -> None:
        """Update the averages from the `totals` (a row per shard) at the time `now`, in seconds of a monotonic clock.

        The first sample gives no rate; later ones are compared with it. A sample that is not later than the last one is ignored.
        A total that went down was reset, and counts as no event. Raises ValueError when the number of shards or fields is not
        that of the last sample.
        """
        if not self._totals:
            self.rates = Rates(tuple(tuple(0.0 for _ in row) for row in totals))
        elif now > self._sampled_at:
            self.rates = Rates(tuple(self._averages(totals, now - self._sampled_at)))
        else:
            return
        self._sampled_at = now
        self._totals = tuple(tuple(row) for row in totals)

    def _averages(self, totals: Sequence[Sequence[int]], elapsed_s: float) -> list[tuple[float, ...]]:
        return [
            tuple(
                average + (max(0, after - before) / elapsed_s - average) * WEIGHT
                for average, before, after in zip(averages, before_row, after_row, strict=True)
            )
            for averages, before_row, after_row in zip(self.rates.shards, self._totals, totals, strict=True)
        ]
