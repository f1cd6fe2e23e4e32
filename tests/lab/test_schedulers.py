"""Schedulers on real packets, with 1 and 2 shards: who gets the next connection, and that a reload changes it."""

import json
import os
import signal
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from appliance.policy.schedulers.contract import Scheduler
from appliance.policy.schedulers.registry import SCHEDULERS
from appliance.wire.flow import flow_key, pack_endpoint
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import are_replaced, outcome, reload, worker_pids
from tests.lab.shipped_config import SHIPPED
from tests.support.candidates import Server, setup

REAL_SERVERS = {"192.0.2.101": "rs1", "192.0.2.102": "rs2", "192.0.2.103": "rs1"}
"""Their addresses, and who has each of them in the lab."""

SOURCES, FIRST_SOURCE = 24, IPv4Address("198.51.100.100")
LEAST_BETWEEN = 100
"""New connections between one change and the next."""

VIP = pack_endpoint(IPv4Address("203.0.113.10"), 80)


def text(scheduler: str, weights: tuple[int, ...], more: str = "") -> str:
    """The shipped configuration with this scheduler, and with real servers of these weights, each of which has these keys."""
    head = SHIPPED.read_text().partition("[[service.real_server]]")[0].replace('scheduler = "rr"', f'scheduler = "{scheduler}"')
    return head + "".join(
        f'[[service.real_server]]\naddress = "{address}"\nport = 8080\nweight = {weight}\n{more}'
        for address, weight in zip(REAL_SERVERS, weights, strict=True)
    )


@pytest.fixture(scope="module", params=[1, 2])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab with three real servers, whose client has many addresses."""
    config = tmp_path_factory.mktemp("schedulers") / "lvs.toml"
    config.write_text(text("rr", (100, 100, 100)))
    for running in running_lab("--config", str(config), "--shards", str(request.param)):
        for number in range(SOURCES):
            running.run("client", "ip", "address", "add", f"{FIRST_SOURCE + number}/24", "dev", "eth0")
        yield running


def conns(lab: RunningLab) -> list[int]:
    """How many connections each real server has got, in their order."""
    (service,) = lab.api_json("/stats/ip_vs")["services"]
    found = {row["address"]: row["conns"] for row in service["real_servers"]}
    return [found[address] for address in REAL_SERVERS]


def shares_of(lab: RunningLab, connections: int) -> list[int]:
    """How many of so many connections each real server gets."""
    before = conns(lab)
    result = lab.script("client", "http_load.py", str(connections), "16")
    assert (result["ok"], result["errors"]) == (connections, {})
    lab.wait_until("all are counted", lambda: sum(conns(lab)) - sum(before) == connections)
    return [after - earlier for earlier, after in zip(before, conns(lab), strict=True)]


@pytest.mark.parametrize("prepared", [0, 1])
def test_shares_of_weights_40_40_20_are_exact_to_one_for_each_shard(lab: RunningLab, prepared: int) -> None:
    with lab.changed(prepared_admissions=prepared):
        logged = reload(lab, text("wrr", (40, 40, 20)))
        assert any(line.startswith("service ") and line.endswith(": scheduler rr -> wrr") for line in logged)
        shards = len(worker_pids(lab))
        for share, exact in zip(shares_of(lab, 1000), (400, 400, 200), strict=True):
            assert abs(share - exact) <= shards
        reload(lab, text("rr", (100, 100, 100)))


def test_idle_connections_send_the_next_ones_elsewhere(lab: RunningLab) -> None:
    """The connections of all shards count."""
    reload(lab, text("lc", (100, 0, 0)))
    before = conns(lab)
    with lab.start("client", "held_sessions.py", "20") as first:
        assert first.stdout is not None
        first.stdout.readline()
        lab.wait_until("they are counted", lambda: conns(lab)[0] == before[0] + 20)
        reload(lab, text("lc", (100, 100, 0)))
        with lab.start("client", "held_sessions.py", "16") as second:
            assert second.stdout is not None
            second.stdout.readline()
            lab.wait_until("they are counted, too", lambda: sum(conns(lab)) == sum(before) + 36)
            assert [now - then for then, now in zip(before, conns(lab), strict=True)] == [20, 16, 0]
            second.kill()
        first.kill()
    lab.api("/conns?all=1", "-X", "DELETE")


def by_source(lab: RunningLab) -> dict[str, list[str]]:
    """Who answers several connections from each address of the client."""
    found: dict[str, list[str]] = lab.script("client", "by_source.py", str(FIRST_SOURCE), str(SOURCES), "6")
    return found


def expected(name: str, weights: tuple[int, ...]) -> dict[str, list[str]]:
    """The same, as the scheduler has it in another process that knows nothing but the configuration."""
    given = setup()
    scheduler: Scheduler = SCHEDULERS[name](given)
    candidates = tuple(
        Server(weight, pack_endpoint(IPv4Address(address), 8080)) for address, weight in zip(REAL_SERVERS, weights, strict=True)
    )[::-1]
    found = {}
    for _ in range(2):
        for number in range(SOURCES):
            source = FIRST_SOURCE + number
            picked = scheduler.pick(candidates, flow_key(pack_endpoint(source, 1), VIP), 0.0)
            assert picked is not None
            address = next(address for address in REAL_SERVERS if IPv4Address(address).packed == picked.endpoint[:4])
            found[str(source)] = [REAL_SERVERS[address]]
        while given.tables.build_some():
            pass
    return found


@pytest.mark.parametrize("scheduler", ["sh", "mh"])
def test_an_address_goes_where_the_configuration_says_in_every_shard_and_after_a_restart(lab: RunningLab, scheduler: str) -> None:
    weights = (1, 4, 1)
    reload(lab, text(scheduler, weights))
    wanted = expected(scheduler, weights)
    assert len(set(map(str, wanted.values()))) == 2
    lab.wait_until("the tables are built", lambda: by_source(lab) == wanted)
    assert by_source(lab) == wanted
    before = worker_pids(lab)
    os.kill(before[0], signal.SIGKILL)
    lab.wait_until("another worker is there", lambda: are_replaced(lab, before[:1]))
    lab.wait_until("its table is built", lambda: by_source(lab) == wanted)
    assert by_source(lab) == wanted


def test_a_real_server_that_has_come_back_gets_its_share_by_and_by(lab: RunningLab) -> None:
    reload(lab, text("wrr", (1, 1, 0), "slow_start_s = 3600\n"))
    reload(lab, text("wrr", (1, 1, 1), "slow_start_s = 3600\n"))
    first, second, returned = shares_of(lab, 300)
    assert returned <= 20
    assert abs(first - second) <= 2 * len(worker_pids(lab))
    reload(lab, text("wrr", (1, 1, 0)))
    reload(lab, text("wrr", (1, 1, 1)))
    assert min(shares_of(lab, 300)) >= 100 - len(worker_pids(lab))


def test_no_connection_fails_while_schedulers_and_weights_change(lab: RunningLab) -> None:
    changes = [(name, weights) for name in SCHEDULERS for weights in ((1, 0, 2), (40, 40, 20))]
    with lab.start("client", "load_until_told.py", "16") as load:
        assert load.stdout is not None
        assert load.stdout.readline() == "loading\n"
        for name, weights in changes:
            before = sum(conns(lab))
            assert outcome(reload(lab, text(name, weights, "slow_start_s = 1\n"))).startswith("configuration read again")
            lab.wait_until("connections come", lambda: sum(conns(lab)) >= before + LEAST_BETWEEN)  # noqa: B023  # called here
        said, complaints = load.communicate()
        assert load.returncode == 0, complaints
    result = json.loads(said)
    assert result["errors"] == {}
    assert result["answered"] >= len(changes) * LEAST_BETWEEN
