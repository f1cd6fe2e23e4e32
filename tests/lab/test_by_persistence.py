"""Persistence on real packets: the kernel opens sessions for clients that are remembered, and each stays where it is."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.shipped_config import SHIPPED

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="about the lane, which is off")

RS1, RS2 = "192.0.2.101", "192.0.2.102"
SOURCES, FIRST_SOURCE = 24, IPv4Address("198.51.100.100")
CONCURRENCY = 24
ENOUGH = 500


def text(synproxy: str) -> str:
    """The shipped configuration with `wlc` and persistence, and with two real servers of the same weight."""
    head = SHIPPED.read_text().partition("[[service.real_server]]")[0]
    head = head.replace('scheduler = "rr"', 'scheduler = "wlc"\npersistence_s = 600')
    head = head.replace('\nsynproxy = "auto"\n', f"\nsynproxy = {synproxy}\n")
    return head + "".join(f'[[service.real_server]]\naddress = "{address}"\nport = 8080\nweight = 1\n' for address in (RS1, RS2))


@pytest.fixture(scope="module", params=["false", "true"], ids=["plain", "proxied"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab with two shards, whose client has many addresses."""
    config = tmp_path_factory.mktemp("by_persistence") / "lvs.toml"
    config.write_text(text(request.param))
    for running in running_lab("--config", str(config), "--shards", "2"):
        for number in range(SOURCES):
            running.run("client", "ip", "address", "add", f"{FIRST_SOURCE + number}/24", "dev", "eth0")
        yield running


def counted(lab: RunningLab, name: str) -> int:
    """A counter of the lane."""
    count: int = lab.api_json("/stats/lane")["counters"][name]
    return count


@contextmanager
def load(lab: RunningLab) -> Iterator[dict[str, dict[str, int]]]:
    """Connections from all addresses meanwhile; who has answered each, behind the block."""
    answered: dict[str, dict[str, int]] = {}
    with lab.start("client", "load_by_source.py", str(FIRST_SOURCE), str(SOURCES), str(CONCURRENCY)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        try:
            yield answered
        finally:
            said, _ = process.communicate()
    report = json.loads(said)
    assert report["errors"] == {}
    answered |= report["answered"]


def remembered(lab: RunningLab) -> dict[str, str]:
    """By client: the address of its real server."""
    return {row["client"]: row["real_server"].partition(":")[0] for row in lab.api_json("/persistence?limit=100")}


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
    assert {source: {"rs1": RS1, "rs2": RS2}[found[0]] for source, found in names.items()} == {
        source: homes[source] for source in names
    }
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
    lab.api("/services/web/real_servers/" + RS1 + ":8080", "-X", "PATCH", "-d", '{"weight": 0}')
    before = counted(lab, "endpoint_reused")
    with load(lab) as answered:
        lab.wait_until("the kernel opens sessions again", lambda: counted(lab, "endpoint_reused") > before + ENOUGH)
    assert {name for found in answered.values() for name in found} == {"rs2"}
    lab.api("/services/web/real_servers/" + RS1 + ":8080", "-X", "PATCH", "-d", '{"weight": 1}')
    before = counted(lab, "endpoint_reused")
    with load(lab) as answered:
        lab.wait_until("the kernel opens sessions once more", lambda: counted(lab, "endpoint_reused") > before + ENOUGH)
    assert {name for found in answered.values() for name in found} == {"rs2"}
