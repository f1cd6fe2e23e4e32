"""What a family of metrics is: one name, one type, one meaning, and the series under it. Pure."""

from collections.abc import Callable, Iterable
from enum import Enum
from hashlib import blake2s
from typing import NamedTuple, TypeAlias

from appliance.metrics.reading import Reading

PREFIX = "appliance_"

LONGEST_LABEL = 120
"""Characters of a label's value. Names come from the configuration, which does not limit them; each series repeats them."""

_DIGEST_BYTES = 4


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


def label(text: str) -> str:
    """Any text as a label's value: valid UTF-8 of at most LONGEST_LABEL characters; two long texts that differ stay different.

    Quotes, backslashes and line ends are escaped when the page is written.
    """
    text = text.encode(errors="replace").decode()
    if len(text) <= LONGEST_LABEL:
        return text
    digest = blake2s(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{text[: LONGEST_LABEL - len(digest) - 1]}~{digest}"
