"""Pages written by hand that list what the code has: they leave nothing out and name nothing that is not there."""

import re
from pathlib import Path

import pytest

from appliance.config.loading import load
from appliance.model.counters import EXT_COUNTERS, QUEUE_COUNTERS
from appliance.model.tunables import TUNABLES
from appliance.model.verdict import Action
from appliance.model.verdicts import VERDICTS

DOCS = Path(__file__).parents[2] / "docs"
HOW_TO = DOCS / "how-to"
DECISIONS = DOCS / "decisions"

PARTS = ("Context", "Decision", "Consequences", "What would change it")

_CODE = re.compile(r"`([^`\n]+)`")
_KNOWN_PREFIXES = ("fullnat_", "synproxy_", "defence_", "tcp_timeout_", "syncookies_")
_NAME = re.compile(r"[a-z0-9_]+[a-z0-9]")


def known_names() -> set[str]:
    counters = {counter.name for counter in (*EXT_COUNTERS, *QUEUE_COUNTERS)}
    return counters | TUNABLES.keys() | {verdict.name for verdict in VERDICTS} | {"synproxy_ackstorm"}


def pages() -> list[Path]:
    return [DOCS / "tutorial.md", DOCS / "lvs.md", *sorted(HOW_TO.glob("*.md")), *sorted(DECISIONS.glob("*.md"))]


def decisions() -> list[Path]:
    return sorted(DECISIONS.glob("0*.md"))


def test_troubleshooting_has_every_reason_for_which_a_packet_is_not_translated() -> None:
    rows = [line for line in (HOW_TO / "troubleshooting.md").read_text().splitlines() if line.startswith("|")]
    listed = {name for row in rows for name in _CODE.findall(row.split("|")[1])}
    assert {verdict.name for verdict in VERDICTS if verdict.action is not Action.REWRITTEN} <= listed


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_tunables_and_counters_that_a_page_names_are_there(page: Path) -> None:
    named = {name for name in _CODE.findall(page.read_text()) if name.startswith(_KNOWN_PREFIXES) and _NAME.fullmatch(name)}
    assert named <= known_names()


@pytest.mark.parametrize("page", decisions(), ids=lambda page: page.name)
def test_a_decision_has_its_four_parts_and_a_line_in_the_index(page: Path) -> None:
    text = page.read_text()
    assert tuple(re.findall(r"(?m)^## (.*)$", text)) == PARTS
    assert text.startswith(f"# {int(page.name[:4])}. ")
    assert f"({page.name})" in (DECISIONS / "index.md").read_text()


def test_every_how_to_page_is_in_the_table_of_contents() -> None:
    listed = (HOW_TO / "index.md").read_text().splitlines()
    assert {page.stem for page in HOW_TO.glob("*.md")} - {"index"} <= set(listed)


def test_the_configuration_of_the_tutorial_passes_the_checker(tmp_path: Path) -> None:
    (block,) = re.findall(r"(?s)```toml\n(\[gateway\].*?)```", (DOCS / "tutorial.md").read_text())
    file = tmp_path / "lvs.toml"
    file.write_text(block)
    assert [service.name for service in load(file).services] == ["web"]
