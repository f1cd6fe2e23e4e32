"""The reference pages name everything that the code has, and nothing else; and each name has a description.

The names are read from the pages as they lie in the repository. What they are compared with does not come from the tool that
writes the pages, but from the code: its lists, the schema of the configuration, the router of the API, the help of the commands.
"""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from appliance.__main__ import main
from appliance.api import Gateway, make_app
from appliance.config.loading import Config
from appliance.doctor.registry import CHECKS
from appliance.metrics.page import Form, render
from appliance.model import counters as counter_lists
from appliance.model.counters import DESTINATION_FIELDS, EXT_ALIASES, VERDICT_COUNTERS, Counter
from appliance.model.host_parameters import HOST_PARAMETERS
from appliance.model.tunables import TUNABLES
from appliance.model.verdicts import VERDICTS
from appliance.rest.metrics import read
from tests.support.gateway import FakeGateway
from tools.reference import api, commands, configuration, counters, drop_reasons, findings, host_parameters, metrics, tunables
from tools.reference.lvs_sources import LVS_SECTIONS, OTHER_SOURCES
from tools.reference.markdown import COLUMNS, Entry
from tools.reference.pages import PAGES

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
TOPICS: tuple[ModuleType, ...] = (
    api,
    commands,
    configuration,
    counters,
    drop_reasons,
    findings,
    host_parameters,
    metrics,
    tunables,
)


def page(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text()


def headings(name: str) -> list[str]:
    """All headings of a page that are code."""
    return re.findall(r"^##+ `([^`]+)`$", page(name), re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says_now(name: str) -> None:
    assert page(name) == PAGES[name](), "run `make gen`"


def test_there_is_no_other_page() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_as_plain_text(name: str) -> None:
    assert [line for line in page(name).splitlines() if len(line) > COLUMNS] == []


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.__name__.rpartition(".")[2])
def test_everything_has_a_description(topic: ModuleType) -> None:
    described: list[Entry] = topic.entries()
    assert [entry.name for entry in described if not entry.meaning.strip()] == []


def test_tunables() -> None:
    assert sorted(headings("tunables")) == sorted(TUNABLES)


def test_host_parameters() -> None:
    assert sorted(headings("host-parameters")) == sorted(HOST_PARAMETERS)


def test_every_tunable_has_one_source() -> None:
    assert sorted([*LVS_SECTIONS, *OTHER_SOURCES]) == sorted(TUNABLES)


def test_counters() -> None:
    """Every table of counters that the module has, so that a new table is not forgotten."""
    tables = [value for value in vars(counter_lists).values() if isinstance(value, tuple) and value is not VERDICT_COUNTERS]
    named = {one.name for table in tables for one in table if isinstance(one, Counter)}
    assert sorted(headings("counters")) == sorted(named | set(DESTINATION_FIELDS))


def test_aliases_of_counters() -> None:
    rows = re.findall(r"^\| `(\w+)` +\| `(\w+)` +\|$", page("counters"), re.MULTILINE)
    assert dict(rows) == dict(EXT_ALIASES)


def test_findings() -> None:
    assert sorted(headings("findings")) == sorted([*(check.name for check in CHECKS), "check_failed"])


def test_drop_reasons() -> None:
    assert sorted(headings("drop-reasons")) == sorted(verdict.name for verdict in VERDICTS)


def test_metrics() -> None:
    """As they are on the page of a gateway of which everything can be read."""
    gateway = FakeGateway()
    gateway.conntrack = {"count": 1, "max": 2, "buckets": 3, "drop": 4, "early_drop": 5, "insert_failed": 6}
    shown = render(Form.TEXT, asyncio.run(read(gateway))).decode()
    assert headings("metrics") == re.findall(r"^# TYPE (\w+) ", shown, re.MULTILINE)


def test_a_drop_reason_says_its_cause_and_what_to_do() -> None:
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", page("drop-reasons"), re.MULTILINE | re.DOTALL))
    for verdict in VERDICTS:
        said = " ".join(sections[verdict.name].split())
        assert f"**Cause.** {verdict.cause} **What to do.** {verdict.remedy}" in said


def schema_keys(schema: dict[str, Any], table: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """All keys of a table in a JSON schema, with those of the tables inside it."""
    for key, value in table["properties"].items():
        yield prefix + key
        found = re.search(r"'\$ref': '#/\$defs/(\w+)'", str(value))
        if found:
            yield from schema_keys(schema, schema["$defs"][found[1]], f"{prefix}{key}.")


def test_configuration() -> None:
    """A header stands as in the file; a pool of local addresses has a name that its author chooses."""
    schema = Config.model_json_schema()
    named = {heading.strip("[]") for heading in headings("configuration")}
    tables_of_tables = {"host"}
    keys = {key for key in schema_keys(schema, schema) if not key.startswith("service.real_server.health_check")}
    assert named - {"local_addresses.NAME"} == keys - tables_of_tables
    assert "[service.real_server.health_check]" in page("configuration"), "it has the keys of the one of the service"


def test_api() -> None:
    gateway = cast("Gateway", SimpleNamespace(shared=None, services=(), sessions=None, configuration=None))
    served = {
        (route.method, route.resource.canonical) for route in make_app(gateway).router.routes() if route.resource is not None
    }
    asked = [f"{method} {path}" for method, path in served if method != "HEAD"]
    assert sorted(headings("api")) == sorted([*{path for _, path in served}, *asked])


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    return capsys.readouterr().out


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    listed = re.findall(r"^  ([a-z][a-z-]*)(?: |$)", help_of(capsys).partition("\noptions:")[0], re.MULTILINE)
    assert headings("commands") == [f"appliance {name}" for name in listed]


def test_options(capsys: pytest.CaptureFixture[str]) -> None:
    common, *sections = re.split(r"^### `appliance ([a-z-]+)`\n", page("commands"), flags=re.MULTILINE)
    for_all = re.findall(r"^- `(-+[a-z-]+)", common, re.MULTILINE)
    for name, section in zip(sections[::2], sections[1::2], strict=True):
        described = re.findall(r"^- `(-+[a-z-]+)", section, re.MULTILINE)
        helped = re.findall(r"^  (?:-h, )?(-+[a-z][a-z-]*)", help_of(capsys, name), re.MULTILINE)
        assert sorted([*described, "--help", *(for_all if "--api" in helped else ())]) == sorted(helped), name
