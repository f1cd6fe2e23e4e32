"""What was measured, and what follows from it. Pure."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from bench.rig.load import Reading

_Item = TypeVar("_Item")
_Figure = TypeVar("_Figure")
_Way = TypeVar("_Way")


class Spread(NamedTuple):
    """The median of some values, the least and the largest."""

    median: float
    low: float
    high: float


def schedule(rounds: int, figures: Sequence[_Figure], ways: Sequence[_Way]) -> Iterator[tuple[int, _Figure, _Way]]:
    """Every measurement, in order, with its round, from 0.

    The ways of one figure are measured one right after the other, because a machine drifts. Each round starts with the next way,
    so that no way is always the first, or the last.
    """
    for number in range(rounds):
        for figure in figures:
            for way in rotated(ways, number):
                yield number, figure, way


def rotated(items: Sequence[_Item], by: int) -> list[_Item]:
    """The same items, starting with the one at position `by`, which may be any number from 0."""
    start = by % len(items)
    return [*items[start:], *items[:start]]


def spread(values: Iterable[float]) -> Spread | None:
    """The spread of one value or more; None for no value."""
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values)) if values else None


class Results:
    """The readings of one run by figure and way, in the order of the rounds."""

    def __init__(self) -> None:
        self._readings: dict[tuple[str, str], list[Reading]] = {}

    def add(self, figure: str, way: str, reading: Reading) -> None:
        """Add the reading of the next round."""
        self._readings.setdefault((figure, way), []).append(reading)

    def readings(self, figure: str, way: str) -> list[Reading]:
        """The readings so far."""
        return self._readings.get((figure, way), [])

    def spread(self, figure: str, way: str) -> Spread | None:
        """The spread of the values; readings with trouble count as the others do."""
        return spread(reading.value for reading in self.readings(figure, way))

    def ratio(self, figure: str, way: str, base: str) -> Spread | None:
        """How a way compares with another, round by round: within a round the machine is the same, over all rounds it is not.

        Rounds in which `base` has 0 are left out; None when no round is left.
        """
        pairs = zip(self.readings(figure, way), self.readings(figure, base), strict=False)
        return spread(one.value / other.value for one, other in pairs if other.value)

    def troubled_rounds(self, figure: str, way: str) -> list[tuple[int, str]]:
        """The rounds, from 0, in which something went wrong, and what."""
        return [(number, reading.trouble) for number, reading in enumerate(self.readings(figure, way)) if reading.trouble]
