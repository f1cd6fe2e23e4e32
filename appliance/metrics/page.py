"""The page of all metrics, in the formats of Prometheus and as JSON. Pure.

prometheus_client writes the formats: it is the library of the Prometheus project itself, has no dependencies, and knows the rules
of escaping. A registry is made for each page and forgotten with it, so nothing of it is global.
"""

import gzip
from collections.abc import Iterator
from enum import Enum

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from appliance.metrics.condition import CONDITION, TUNABLE_FAMILIES
from appliance.metrics.counted import EXT, LANE, QUEUES, VERDICT_FAMILIES
from appliance.metrics.family import PREFIX, Family, Kind
from appliance.metrics.reading import Reading
from appliance.metrics.traffic import TRAFFIC
from appliance.views.document import to_json

FAMILIES: tuple[Family, ...] = (*CONDITION, *TRAFFIC, *VERDICT_FAMILIES, *EXT, *QUEUES, *LANE, *TUNABLE_FAMILIES)
"""All families, in the order of the page."""

_FAST = 1
"""The level of compression: a page shrinks to a twentieth with the fastest one already."""


class Form(Enum):
    """A format of the page. The value is its media type."""

    TEXT = "text/plain"
    """Prometheus' text format, version 0.0.4."""
    OPENMETRICS = "application/openmetrics-text"
    """OpenMetrics 1.0.0."""
    JSON = "application/json"


_ASKED = {
    Form.TEXT: Form.TEXT.value,
    # All names here are valid in every version, so nothing is escaped; without the last word, the library tries to, letter by
    # letter, which takes as long as all the rest.
    Form.OPENMETRICS: f"{Form.OPENMETRICS.value}; version=1.0.0; escaping=allow-utf-8",
}
"""What the library's own choice is asked with. It never sees what a client sent: it would repeat that in the answer's headers."""


class ReadingCollector(Collector):
    """Gives the library what one reading says."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        """All families that have a series."""
        for family in FAMILIES:
            made = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
            metric = made(PREFIX + family.name, family.meaning, labels=family.labels, unit=family.unit)
            for values, number in family.read(self._reading):
                metric.add_metric(values, number)
            if metric.samples:
                yield metric


def content_type(form: Form) -> str:
    """The Content-Type of a form."""
    return "application/json; charset=utf-8" if form is Form.JSON else choose_encoder(_ASKED[form])[1]


def render(form: Form, reading: Reading) -> bytes:
    """The whole page. It takes some tens of milliseconds with a thousand real servers."""
    if form is Form.JSON:
        return to_json(_as_data(reading)).encode()
    # The registry would ask the collector for its names when it is registered, which would take as long as a whole page.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ReadingCollector(reading))
    encode, _ = choose_encoder(_ASKED[form])
    return encode(registry)


def compress(page: bytes) -> bytes:
    """The page for clients that take gzip."""
    return gzip.compress(page, _FAST, mtime=0)


def _as_data(reading: Reading) -> dict[str, object]:
    return {
        family.series_name: {
            "type": family.kind.value,
            "help": family.meaning,
            "samples": [
                {"labels": dict(zip(family.labels, values, strict=True)), "value": float(number)}
                for values, number in family.read(reading)
            ],
        }
        for family in FAMILIES
    }
