"""An attack on real packets has a name while it goes on, and a record when it is over."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import log_lines
from tests.lab.floods import lost_on_arrival

PACKETS, PER_S = 60_000, 6000
CONNECTIONS = 100


@pytest.fixture
def lab() -> Iterator[RunningLab]:
    yield from running_lab()


def attacks(lab: RunningLab) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = lab.api_json("/stats/attack")
    return found


def test_a_flood_of_fragments_begins_goes_on_and_is_over(lab: RunningLab) -> None:
    assert lab.api("/stats/attack") == "no attack\n"
    lost_before = lost_on_arrival(lab)
    with lab.start("client", "stray_flood.py", "fragment", str(PACKETS), str(PER_S)) as flood:
        lab.wait_until("it has a name", lambda: [row["kind"] for row in attacks(lab)["under_way"]] == ["fragment_flood"])
        assert lab.api("/stats/attack").startswith("under attack: fragment_flood (parts of fragmented packets)\n")
        assert 'appliance_attack_under_way{kind="fragment_flood"} 1.0\n' in lab.api("/metrics")
        assert lab.script("client", "http_load.py", str(CONNECTIONS), "8")["ok"] == CONNECTIONS
        said, _ = flood.communicate()
    sent = int(said.split()[-1])
    assert sent >= PACKETS
    lab.wait_until("it is over", lambda: not attacks(lab)["under_way"])
    (over,) = attacks(lab)["ended"]
    assert over["rules"].keys() == {"fragments"}
    # What came while there were too few of them for a flood is not part of it.
    assert sent - PER_S - (lost_on_arrival(lab) - lost_before) <= over["dropped"] <= sent
    assert over["peak_per_s"] >= 1000
    assert 'appliance_attack_under_way{kind="fragment_flood"} 0.0\n' in lab.api("/metrics")
    lines = [line.split(",")[0] for line in log_lines(lab, "attack")]
    assert lines == ["attack began: fragment_flood", "attack is over: fragment_flood"]
