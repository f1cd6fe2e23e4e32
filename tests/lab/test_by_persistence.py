"""Persistence on real packets: the kernel opens sessions for clients that are remembered, and each stays where it is."""

import os
from collections.abc import Iterator

import pytest

from tests.lab.conftest import RunningLab
from tests.lab.load_by_source import ENOUGH, REAL_SERVERS, RS1, SOURCES, config_of, counted, lab_of_many_addresses, load

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="about the lane, which is off")


@pytest.fixture(scope="module", params=["false", "true"], ids=["plain", "proxied"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = config_of('scheduler = "wlc"\npersistence_s = 600', request.param)
    yield from lab_of_many_addresses(tmp_path_factory.mktemp("by_persistence"), config)


def remembered(lab: RunningLab) -> dict[str, str]:
    """By client: the name of its real server."""
    return {row["client"]: REAL_SERVERS[row["real_server"].partition(":")[0]] for row in lab.api_json("/persistence?limit=100")}


def hits(lab: RunningLab) -> int:
    count: int = lab.api_json("/stats/persistence")["hits"]
    return count


def test_each_client_is_always_at_its_server_whoever_opens_its_sessions(lab: RunningLab) -> None:
    before, hits_before = counted(lab, "endpoint_reused"), hits(lab)
    with load(lab) as answered:
        lab.wait_until("the kernel opens sessions by itself", lambda: counted(lab, "endpoint_reused") > before + ENOUGH)
    names = {source: list(found) for source, found in answered.items()}
    assert {len(found) for found in names.values()} == {1}
    assert {found[0] for found in names.values()} == {"rs1", "rs2"}
    homes = remembered(lab)
    assert {source: found[0] for source, found in names.items()} == {source: homes[source] for source in names}
    rows = lab.api_json("/stats/lane")["services"]
    assert {(row["shard"], row["way"], row["places"], row["pools"]) for row in rows} >= {(0, "persistence", 2, 2)}
    connections = sum(sum(found.values()) for found in answered.values())
    lab.wait_until("all hits are counted", lambda: hits(lab) - hits_before >= connections - SOURCES)
    lab.wait_until("all books agree", lambda: lab.api_json("/stats/consistency")["problems"] == [])


def test_a_drained_server_gets_none_of_those_that_it_had(lab: RunningLab) -> None:
    """Clients go over to the other one, and stay there when their first one is back."""
    with load(lab):
        before = counted(lab, "endpoint_reused")
        lab.wait_until("the kernel opens sessions", lambda: counted(lab, "endpoint_reused") > before + ENOUGH)
    lab.api("/services/web/real_servers/" + RS1, "-X", "PATCH", "-d", '{"weight": 0}')
    before = counted(lab, "endpoint_reused")
    with load(lab) as answered:
        lab.wait_until("the kernel opens sessions again", lambda: counted(lab, "endpoint_reused") > before + ENOUGH)
    assert {name for found in answered.values() for name in found} == {"rs2"}
    lab.api("/services/web/real_servers/" + RS1, "-X", "PATCH", "-d", '{"weight": 1}')
    before = counted(lab, "endpoint_reused")
    with load(lab) as answered:
        lab.wait_until("the kernel opens sessions once more", lambda: counted(lab, "endpoint_reused") > before + ENOUGH)
    assert {name for found in answered.values() for name in found} == {"rs2"}
