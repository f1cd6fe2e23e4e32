"""The story of one connection names files, counters, maps and tunables. All of these exist, and so do those in its picture."""

import re
from pathlib import Path

import pytest

from appliance.edge.lane_kernel import PINNED
from appliance.model.counters import DESTINATION_FIELDS, EXT_COUNTERS, QUEUE_COUNTERS, VERDICT_COUNTERS
from appliance.model.lane_counters import LANE_COUNTERS
from appliance.model.tunables import TUNABLES
from appliance.rest.routes import ROUTES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/one-connection.md").read_text()
PICTURE = (ROOT / "docs/images/one-connection.dot").read_text()
COUNTERS = {
    *DESTINATION_FIELDS,
    *(counter.name for counter in (*EXT_COUNTERS, *QUEUE_COUNTERS, *VERDICT_COUNTERS)),
    *(counter.name for counter in LANE_COUNTERS),
}
OF_CONFIGURATION = {"gateway.lane", "lane = false"}
OTHERS = {"appliance", "bpf/"}
"""A package and a folder."""

ROUTES_OF_API = {route.path for route in ROUTES}

WORDS = sorted(set(re.findall(r"`([^`]+)`", PAGE)))


def exists(word: str) -> bool:
    """Whether a word is a route, or a path of a file or a folder, from here or in the package."""
    is_path = "/" in word.strip("/") or word.endswith(("/", ".py"))
    return word in ROUTES_OF_API or (is_path and any((base / word).exists() for base in (ROOT, ROOT / "appliance")))


@pytest.mark.parametrize("word", WORDS)
def test_what_the_page_names_exists(word: str) -> None:
    known = COUNTERS | set(TUNABLES) | set(PINNED) | OF_CONFIGURATION | OTHERS
    assert word in known or exists(word) or word.startswith("appliance "), word


@pytest.mark.parametrize("word", ["sessions/nothing.py", "bpf/nothing.h", "nothing/", "/stats/nothing", "carry"])
def test_what_does_not_exist_is_found(word: str) -> None:
    assert not exists(word)


def test_each_way_of_the_picture_is_one_of_the_page_and_its_tunables_exist() -> None:
    ways = re.findall(r"<b>(\d)  ([^<]+)</b>", PICTURE)
    assert [f"{number}. {name}" for number, name in ways] == re.findall(r"^## (\d\. .+)$", PAGE, re.MULTILINE)
    assert set(re.findall(r"(\w+) = 1", PICTURE)) == {"prepared_admissions", "synproxy_in_kernel"} & set(TUNABLES)
