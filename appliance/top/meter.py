"""Rates per second, from the last two samples of counters that belong to keys, and how the rates were before. Pure."""

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeAlias, TypeVar

Key = TypeVar("Key", bound=Hashable)

Rates: TypeAlias = tuple[float | None, ...]
"""Events per second; None where there is no rate."""

KEPT = 120
"""How many rates of the past are kept for each key."""


def first(rates: Rates) -> float | None:
    """The first of some rates."""
    return rates[0]


class Meter(Generic[Key]):
    """The rates of some counters for each key.

    There is no rate at the first sample of a key, nor when one of its counters went down: it was reset at an unknown moment. A
    key that a sample does not have is forgotten, with its past.
    """

    def __init__(self, fields: int, drawn: Callable[[Rates], float | None] | None = first) -> None:
        """Each key has `fields` counters. What `drawn` makes of their rates is kept for the trend; None keeps nothing."""
        self._no_rates: Rates = (None,) * fields
        self._drawn = drawn
        self._at_s = 0.0
        self._counts: dict[Key, Sequence[float]] = {}
        self._rates: dict[Key, Rates] = {}
        self._trends: dict[Key, deque[float | None]] = {}

    def sample(self, at_s: float, counts: Mapping[Key, Sequence[float]]) -> None:
        """Take the counters of a moment, in seconds of a monotonic clock. One that is not later than the last one is ignored."""
        elapsed_s = at_s - self._at_s
        if self._counts and elapsed_s <= 0:
            return
        before = self._counts
        self._rates = {key: self._between(before.get(key), row, elapsed_s) for key, row in counts.items()}
        self._counts, self._at_s = dict(counts), at_s
        if self._drawn:
            self._trends = {key: self._longer(self._trends.get(key), rates, self._drawn) for key, rates in self._rates.items()}

    def _between(self, before: Sequence[float] | None, after: Sequence[float], elapsed_s: float) -> Rates:
        if before is None or any(new < old for new, old in zip(after, before, strict=True)):
            return self._no_rates
        return tuple((new - old) / elapsed_s for new, old in zip(after, before, strict=True))

    @staticmethod
    def _longer(
        trend: "deque[float | None] | None", rates: Rates, drawn: Callable[[Rates], float | None]
    ) -> "deque[float | None]":
        trend = deque[float | None](maxlen=KEPT) if trend is None else trend
        trend.append(drawn(rates))
        return trend

    def rates(self, key: Key) -> Rates:
        """The rates of a key at the last sample."""
        return self._rates.get(key, self._no_rates)

    def trend(self, key: Key) -> list[float | None]:
        """What was drawn of the rates of a key, the latest last."""
        return list(self._trends.get(key, ()))


def share(part: float | None, whole: float | None) -> float | None:
    """What part of a whole a rate is, 0..1; None when nothing is known or there is nothing."""
    return None if part is None or not whole else min(1.0, part / whole)
