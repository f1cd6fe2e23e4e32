"""Services that choose by the client on real packets: the kernel opens sessions, and each client stays where it is."""

import os
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from appliance.policy.schedulers.registry import SCHEDULERS
from appliance.wire.flow import flow_key, pack_endpoint
from tests.lab.conftest import RunningLab
from tests.lab.load_by_source import (
    ENOUGH,
    FIRST_SOURCE,
    REAL_SERVERS,
    RS1,
    SOURCES,
    config_of,
    counted,
    lab_of_many_addresses,
    load,
)
from tests.support.candidates import Server, setup

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="about the lane, which is off")

CHANGES = 20


@pytest.fixture(scope="module", params=["sh", "mh"])
def scheduler(request: pytest.FixtureRequest) -> str:
    """`mh` has its usual table."""
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=["false", "true"], ids=["plain", "proxied"])
def lab(scheduler: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = config_of(f'scheduler = "{scheduler}"', request.param)
    yield from lab_of_many_addresses(tmp_path_factory.mktemp("by_client"), config)


def expected(lab: RunningLab, name: str) -> dict[str, str]:
    """Who has to answer each address, as the scheduler has it in another process."""
    vip = pack_endpoint(IPv4Address(lab.vip), int(lab.port))
    candidates = tuple(Server(1, pack_endpoint(IPv4Address(address), 8080)) for address in REAL_SERVERS)
    names = dict(zip((server.endpoint for server in candidates), REAL_SERVERS.values(), strict=True))
    made = setup()
    scheduler, found = SCHEDULERS[name](made), dict[str, str]()
    scheduler.pick(candidates, bytes(12), 0.0)
    while made.tables.build_some():
        pass
    for number in range(SOURCES):
        picked = scheduler.pick(candidates, flow_key(pack_endpoint(FIRST_SOURCE + number, 1), vip), 0.0)
        assert picked is not None
        found[str(FIRST_SOURCE + number)] = names[picked.endpoint]
    return found


def shards_with_a_schedule(lab: RunningLab) -> set[int]:
    return {row["shard"] for row in lab.api_json("/stats/lane")["services"] if row["way"] == "address"}


def test_each_client_is_always_at_its_server_whoever_opens_its_sessions(lab: RunningLab, scheduler: str) -> None:
    wanted = expected(lab, scheduler)
    assert set(wanted.values()) == set(REAL_SERVERS.values())
    with load(lab):  # while there is no table yet, `mh` chooses as `sh`
        lab.wait_until("all shards have a schedule", lambda: shards_with_a_schedule(lab) == {0, 1})
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
