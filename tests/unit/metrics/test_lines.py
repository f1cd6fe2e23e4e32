"""metrics/lines.py: the same bytes as the library of the Prometheus project writes, whatever values and numbers there are."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from appliance.metrics import lines
from appliance.metrics.family import PREFIX, Family, Kind, Series
from appliance.metrics.lines import openmetrics_page, text_page
from appliance.metrics.page import FAMILIES
from appliance.metrics.reading import Reading
from appliance.rest.metrics import read
from tests.support.gateway import FakeGateway, fill_destinations

NOTHING = cast("Reading", None)


class Collected(Collector):
    """Gives the library what families read."""

    def __init__(self, families: Iterable[Family], reading: Reading) -> None:
        self._families, self._reading = families, reading

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            made = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
            metric = made(PREFIX + family.name, family.meaning, labels=family.labels, unit=family.unit)
            for values, number in family.read(self._reading):
                metric.add_metric(values, number)
            if metric.samples:
                yield metric


def assert_as_the_library(families: Iterable[Family], reading: Reading) -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collected(families, reading))
    openmetrics = "application/openmetrics-text; version=1.0.0; escaping=allow-utf-8"
    for asked, page in (("text/plain", text_page), (openmetrics, openmetrics_page)):
        assert "".join(page(families, reading)) == choose_encoder(asked)[0](registry).decode()


def test_the_page_of_a_gateway() -> None:
    gateway = FakeGateway()
    gateway.shared = fill_destinations(shards=2)
    gateway.conntrack = {"count": 1, "max": 2, "buckets": 3, "drop": 4, "early_drop": 5, "insert_failed": 6}
    assert_as_the_library(FAMILIES, asyncio.run(read(gateway)))


NUMBERS = st.integers(-(1 << 64), 1 << 64) | st.floats().map(lambda number: number + 0.0) | st.booleans()
"""Without the zero that has a sign."""

WORDS = st.sampled_from(["", '"', "\\", "\n", '\\n"', "a, b", 'x="1"} 2', "%s", "{}", "ä€"]) | st.text(
    st.characters(exclude_categories=["Cs"])
)


@given(
    st.lists(st.sampled_from(["service", "real_server", "direction", "state", "zone"]), unique=True, max_size=4).flatmap(
        lambda labels: st.tuples(
            st.just(tuple(labels)), st.lists(st.tuples(st.tuples(*[WORDS] * len(labels)), NUMBERS), max_size=5)
        )
    ),
    st.sampled_from(list(Kind)),
    st.sampled_from(["", "_bytes", "_seconds"]),
    WORDS,
)
def test_whatever_values_and_numbers_there_are(
    made: tuple[tuple[str, ...], list[Series]], kind: Kind, unit: str, meaning: str
) -> None:
    labels, series = made
    assert_as_the_library([Family(f"some{unit}", kind, meaning, lambda _: series, labels)], NOTHING)


def test_zero_has_no_sign() -> None:
    series = [((), -0.0), ((), 0.0)]
    (page,) = text_page([Family("some", Kind.GAUGE, "", lambda _: series, ())], NOTHING)
    assert page.splitlines()[-2:] == [f"{PREFIX}some 0.0"] * 2


def test_no_piece_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_LINES_AT_ONCE", 3)
    family = Family("some", Kind.GAUGE, "Some.", lambda _: [((str(number),), number) for number in range(7)], ("n",))
    pieces = list(text_page([family], NOTHING))
    assert [piece.count("appliance_some{") for piece in pieces] == [3, 3, 1]
    assert_as_the_library([family], NOTHING)
