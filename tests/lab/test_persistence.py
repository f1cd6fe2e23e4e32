"""Persistence on real packets: the connections of a client go to one real server, whatever shard each of them belongs to."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import are_replaced, director_pid, reload, worker_pids

CONFIG = (Path(__file__).parent / "tcp_and_udp.toml").read_text()
SOURCES, FIRST_SOURCE = 40, IPv4Address("198.51.100.100")


def text(*weights: int) -> str:
    """Both services with persistence, and with real servers of these weights."""
    remembering = CONFIG.replace('scheduler = "rr"\n', "").replace("[[service]]\n", "[[service]]\npersistence_s = 600\n")
    assert remembering.count("persistence_s") == 2
    for address, weight in zip(("192.0.2.101", "192.0.2.102"), weights, strict=True):
        remembering = remembering.replace(f'address = "{address}"\n', f'address = "{address}"\nweight = {weight}\n')
    return remembering


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab of two shards, whose client has many addresses."""
    config = tmp_path_factory.mktemp("persistence") / "lvs.toml"
    config.write_text(text(1, 1))
    for running in running_lab("--config", str(config), "--shards", "2", "--restart"):
        for number in range(SOURCES):
            running.run("client", "ip", "address", "add", f"{FIRST_SOURCE + number}/24", "dev", "eth0")
        yield running


def by_source(lab: RunningLab, times: int = 8) -> dict[str, list[str]]:
    """Who answers several connections that an address of the client opens at once.

    The sessions before are cut: a connection from a port whose last session is still there goes where that one went.
    """
    lab.api("/conns?all=1", "-X", "DELETE")
    found: dict[str, list[str]] = lab.script("client", "by_source.py", str(FIRST_SOURCE), str(SOURCES), str(times), "together")
    return found


def clients(lab: RunningLab) -> Counter[str]:
    """How many clients of the TCP service each real server has, by its address."""
    found = lab.api_json("/stats/persistence")["services"][0]["real_servers"]
    return Counter({endpoint.partition(":")[0]: number for endpoint, number in found.items()})


def test_all_connections_of_a_client_go_to_one_real_server_until_that_takes_no_new_ones(lab: RunningLab) -> None:
    before = by_source(lab)
    assert {len(names) for names in before.values()} == {1}, "also the first ones, in two shards at once"
    shares = Counter(names[0] for names in before.values())
    assert min(shares["rs1"], shares["rs2"]) >= SOURCES // 2 - 2, "the scheduler chose for each client"
    lab.wait_until(
        "both shards have had their part",
        lambda: min(lab.api_json("/stats/ip_vs_stats")["totals"]["conns"]["shards"]) > 8 * SOURCES // 4,
    )
    assert clients(lab) == {"192.0.2.101": shares["rs1"], "192.0.2.102": shares["rs2"]}
    listed = {row["client"]: row["real_server"] for row in lab.api_json("/persistence?limit=100")}
    assert set(listed) >= set(before)

    pids = worker_pids(lab)
    os.kill(pids[0], signal.SIGKILL)
    lab.wait_until("another worker is there", lambda: are_replaced(lab, pids[:1]))
    assert by_source(lab, times=4) == before, "the table outlives a worker"
    pids = worker_pids(lab)
    os.kill(director_pid(lab), signal.SIGUSR2)
    lab.wait_until("the next run is there", lambda: are_replaced(lab, pids))
    assert by_source(lab, times=4) == before, "and it is there for the next run"

    reload(lab, text(1, 0))
    assert by_source(lab, times=4) == {source: ["rs1"] for source in before}
    reload(lab, text(1, 1))
    assert by_source(lab, times=4) == {source: ["rs1"] for source in before}, "where they were sent last"
    assert clients(lab) == {"192.0.2.101": SOURCES, "192.0.2.102": 0}


def test_datagrams_from_new_ports_of_a_client_go_to_one_real_server_until_that_takes_no_new_ones(lab: RunningLab) -> None:
    first = lab.script("client", "udp_echo.py", "50", "2")
    [name] = first["real_servers"]
    assert first["whole"] == 100
    reload(lab, text(0, 1) if name == "rs1" else text(1, 0))
    lab.api("/conns?all=1", "-X", "DELETE")  # a datagram from a port that has a session goes where that goes
    second = lab.script("client", "udp_echo.py", "50", "2")
    assert second["whole"] == 100
    assert set(second["real_servers"]) == {"rs1", "rs2"} - {name}
