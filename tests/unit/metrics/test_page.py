"""metrics/page.py: every form of the page says the same, and the readers of the Prometheus project accept it."""

import asyncio
import json
import re
import subprocess
from itertools import chain

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from appliance.metrics.family import Kind
from appliance.metrics.page import FAMILIES, Form, content_type, render
from appliance.rest.metrics import read
from tests.support.gateway import FakeGateway, fill_destinations
from tests.support.prometheus import promtool

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def gateway() -> FakeGateway:
    gateway = FakeGateway()
    gateway.shared = fill_destinations(shards=2)
    gateway.conntrack = {"count": 1, "max": 2, "buckets": 3, "drop": 4, "early_drop": 5, "insert_failed": 6}
    gateway.dropped_by_kernel = {"defence_udp_drop": 8}
    return gateway


def page(gateway: FakeGateway, form: Form) -> str:
    return render(form, asyncio.run(read(gateway))).decode()


def series(families: list[Metric]) -> Series:
    samples = chain.from_iterable(family.samples for family in families)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for one in samples}


def test_each_family_has_a_name_of_its_own_and_a_meaning() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    for family in FAMILIES:
        assert re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", family.name)
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_created"))
        assert family.meaning[0] in "1" or family.meaning[0].isupper()
        assert family.meaning.endswith(".")
        assert all(re.fullmatch(r"[a-z_]+", label) for label in family.labels)


def test_both_formats_of_prometheus_and_json_say_the_same(gateway: FakeGateway) -> None:
    text = series(list(read_text(page(gateway, Form.TEXT))))
    openmetrics = series(list(read_openmetrics(page(gateway, Form.OPENMETRICS))))  # type: ignore[no-untyped-call]
    data = json.loads(page(gateway, Form.JSON))
    as_json = {
        (name, tuple(sorted(sample["labels"].items()))): sample["value"]
        for name, family in data.items()
        for sample in family["samples"]
    }
    assert text == openmetrics == as_json
    assert {name for name, _ in text} == {family.series_name for family in FAMILIES} == data.keys()


def test_types_and_help_are_those_of_the_family(gateway: FakeGateway) -> None:
    found = {family.name: family for family in read_text(page(gateway, Form.TEXT))}
    for family in FAMILIES:
        shown = found[f"appliance_{family.name}"]
        assert (shown.type, shown.documentation) == (family.kind.value, family.meaning)
        assert all(set(sample.labels) == set(family.labels) for sample in shown.samples)
        assert family.series_name.endswith("_total") == (family.kind is Kind.COUNTER)


def test_openmetrics_names_the_unit(gateway: FakeGateway) -> None:
    lines = page(gateway, Form.OPENMETRICS).splitlines()
    assert "# UNIT appliance_real_server_bytes bytes" in lines
    assert "# UNIT appliance_tunable_udp_timeout_seconds seconds" in lines
    assert lines[-1] == "# EOF"


def test_a_family_without_a_series_is_not_shown() -> None:
    assert "conntrack" not in page(FakeGateway(), Form.TEXT)


def test_content_types() -> None:
    assert content_type(Form.TEXT) == "text/plain; version=0.0.4; charset=utf-8"
    assert content_type(Form.OPENMETRICS).startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert content_type(Form.JSON) == "application/json; charset=utf-8"


def test_promtool_has_nothing_to_say(gateway: FakeGateway) -> None:
    """It checks the format, and the names and types by the rules of the Prometheus project."""
    checked = subprocess.run(
        [promtool(), "check", "metrics"], input=page(gateway, Form.TEXT), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("bad", ["# TYPE x counter\nx 1\n", "# HELP x_ms No.\n# TYPE x_ms gauge\nx_ms 1\n", "x{ 1\n"])
def test_promtool_does_bite(bad: str) -> None:
    checked = subprocess.run([promtool(), "check", "metrics"], input=bad, capture_output=True, text=True, check=False)
    assert checked.returncode
