"""Medians and turns. Pure."""

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

_Item = TypeVar("_Item")


class Spread(NamedTuple):
    """The median of some values, the least and the largest."""

    median: float
    low: float
    high: float


def rotated(items: Sequence[_Item], by: int) -> list[_Item]:
    """The same items, starting with the one at position `by`, which may be any number from 0."""
    start = by % len(items)
    return [*items[start:], *items[:start]]


def spread(values: Iterable[float]) -> Spread | None:
    """The spread of one value or more; None for no value."""
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values)) if values else None
