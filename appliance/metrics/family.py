"""What a family of metrics is: one name, one type, one meaning, and the series under it. Pure."""

from collections.abc import Callable, Iterable
from enum import Enum
from typing import NamedTuple, TypeAlias

from appliance.metrics.reading import Reading

PREFIX = "appliance_"


class Kind(Enum):
    """The type of a family. The value is Prometheus' word."""

    COUNTER = "counter"
    """Only grows, but for a new start at zero."""
    GAUGE = "gauge"


Series: TypeAlias = tuple[tuple[str, ...], float]
"""The values of a family's labels, in their order, and the number."""


class Family(NamedTuple):
    """One family of metrics."""

    name: str
    """Without PREFIX, and without the `_total` that a counter's series have."""
    kind: Kind
    meaning: str
    """A sentence: the HELP text."""
    read: Callable[[Reading], Iterable[Series]]
    """All series of this moment; none of what cannot be read."""
    labels: tuple[str, ...] = ()

    @property
    def series_name(self) -> str:
        """The name as it stands in queries."""
        return f"{PREFIX}{self.name}{'_total' if self.kind is Kind.COUNTER else ''}"

    @property
    def unit(self) -> str:
        """The base unit at the end of the name; empty for a plain number."""
        unit = self.name.rpartition("_")[2]
        return unit if unit in ("seconds", "bytes") else ""


def counter(name: str, meaning: str, read: Callable[[Reading], Iterable[Series]], *labels: str) -> Family:
    """A family of counters."""
    return Family(name, Kind.COUNTER, sentence(meaning), read, labels)


def gauge(name: str, meaning: str, read: Callable[[Reading], Iterable[Series]], *labels: str) -> Family:
    """A family of gauges."""
    return Family(name, Kind.GAUGE, sentence(meaning), read, labels)


def one(read: Callable[[Reading], float]) -> Callable[[Reading], Iterable[Series]]:
    """The one series of a family without labels."""
    return lambda reading: [((), read(reading))]


def sentence(summary: str) -> str:
    """A summary from one of the lists as a sentence."""
    return f"{summary[0].upper()}{summary[1:]}."
