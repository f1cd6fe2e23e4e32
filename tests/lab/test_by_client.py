"""Services that choose by the client on real packets: the kernel opens sessions, and each client stays where it is."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest

from appliance.policy.schedulers.source_hash import SourceHash
from appliance.wire.flow import flow_key, pack_endpoint
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.shipped_config import SHIPPED
from tests.support.candidates import Server, setup

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="about the lane, which is off")

REAL_SERVERS = {"192.0.2.101": "rs1", "192.0.2.102": "rs2"}
RS1 = "192.0.2.101:8080"
SOURCES, FIRST_SOURCE = 24, IPv4Address("198.51.100.100")
CONCURRENCY = 24
CHANGES = 20
ENOUGH = 500
"""Connections for which no worker had anything to do."""


def text(synproxy: str) -> str:
    """The shipped configuration with `sh`, and with two real servers of the same weight."""
    head = SHIPPED.read_text().partition("[[service.real_server]]")[0].replace('scheduler = "rr"', 'scheduler = "sh"')
    head = head.replace('\nsynproxy = "auto"\n', f"\nsynproxy = {synproxy}\n")
    return head + "".join(
        f'[[service.real_server]]\naddress = "{address}"\nport = 8080\nweight = 1\n' for address in REAL_SERVERS
    )


@pytest.fixture(scope="module", params=["false", "true"], ids=["plain", "proxied"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab with two shards, whose client has many addresses."""
    config = tmp_path_factory.mktemp("by_client") / "lvs.toml"
    config.write_text(text(request.param))
    for running in running_lab("--config", str(config), "--shards", "2"):
        for number in range(SOURCES):
            running.run("client", "ip", "address", "add", f"{FIRST_SOURCE + number}/24", "dev", "eth0")
        yield running


def counted(lab: RunningLab, name: str) -> int:
    """A counter of the lane."""
    count: int = lab.api_json("/stats/lane")["counters"][name]
    return count


def expected(lab: RunningLab) -> dict[str, str]:
    """Who has to answer each address, as the scheduler has it in another process."""
    vip = pack_endpoint(IPv4Address(lab.vip), int(lab.port))
    candidates = tuple(Server(1, pack_endpoint(IPv4Address(address), 8080)) for address in REAL_SERVERS)
    names = dict(zip((server.endpoint for server in candidates), REAL_SERVERS.values(), strict=True))
    scheduler, found = SourceHash(setup()), {}
    for number in range(SOURCES):
        picked = scheduler.pick(candidates, flow_key(pack_endpoint(FIRST_SOURCE + number, 1), vip), 0.0)
        assert picked is not None
        found[str(FIRST_SOURCE + number)] = names[picked.endpoint]
    return found


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


def test_each_client_is_always_at_its_server_whoever_opens_its_sessions(lab: RunningLab) -> None:
    wanted = expected(lab)
    assert set(wanted.values()) == set(REAL_SERVERS.values())
    before = counted(lab, "endpoint_reused")
    with load(lab) as answered:
        lab.wait_until("the kernel opens sessions by itself", lambda: counted(lab, "endpoint_reused") > before + ENOUGH)
    assert {source: list(names) for source, names in answered.items()} == {source: [name] for source, name in wanted.items()}


def test_weight_0_lets_not_one_more_through(lab: RunningLab) -> None:
    """Seen at the interface towards real servers, by the clock: what leaves behind the answer of the API is too late."""
    before = counted(lab, "endpoint_reused")
    with load(lab):
        lab.wait_until("the kernel opens sessions by itself", lambda: counted(lab, "endpoint_reused") > before + ENOUGH)
        seen = lab.script("gateway", "weight_storm.py", lab.environment["LAB_API"], "web", RS1, str(CHANGES))
    assert (seen["changes"], seen["late"]) == (CHANGES, 0)
    assert seen["to_others"] >= CHANGES * 100
    lab.wait_until("all books agree", lambda: lab.api_json("/stats/consistency")["problems"] == [])
