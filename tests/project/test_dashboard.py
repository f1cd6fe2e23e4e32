"""deploy/grafana/appliance.json: it is what the list of panels says, and Grafana's own SDK reads all of it.

A lab test runs every query in it.
"""

import json
import re
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from appliance.metrics.page import FAMILIES
from tools.dashboard.dashboard import VARIABLES, text
from tools.dashboard.panels import ROWS

FILE = Path(__file__).parents[2] / "deploy" / "grafana" / "appliance.json"

GRID_COLUMNS = 24


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(FILE.read_text())["panels"]
    return found


def test_the_file_is_what_the_list_says_now() -> None:
    assert FILE.read_text() == text(), "run `make gen`"


def test_grafanas_sdk_knows_every_member_in_it() -> None:
    """It is made from Grafana's schema, and forgets what is not in there."""
    register_default_plugins()
    written = json.loads(FILE.read_text())
    assert json.loads(json.dumps(Dashboard.from_json(written), cls=JSONEncoder)) == written


def test_a_member_that_is_not_in_the_schema_is_noticed() -> None:
    register_default_plugins()
    written = json.loads(FILE.read_text())
    written["panels"][1]["colour"] = "red"
    assert json.loads(json.dumps(Dashboard.from_json(written), cls=JSONEncoder)) != written


def test_each_panel_has_a_number_of_its_own_and_no_two_overlap() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    assert len(panels()) == sum(1 + len(row.panels) for row in ROWS)
    for one, other in combinations([panel["gridPos"] for panel in panels()], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= GRID_COLUMNS for panel in panels())
    assert all(before["gridPos"]["y"] <= after["gridPos"]["y"] for before, after in pairwise(panels()))


def test_queries_name_only_metrics_that_there_are() -> None:
    known = {family.series_name for family in FAMILIES}
    named = set(re.findall(r"\bappliance_\w+", FILE.read_text()))
    assert named <= known
    assert len(named) > 20


def test_every_variable_of_a_query_can_be_chosen() -> None:
    used = set(re.findall(r"\$(?:\{(\w+)\}|(\w+))", FILE.read_text()))
    assert {name or other for name, other in used} == {"datasource", "__rate_interval", *VARIABLES}
