"""UDP services over real NFQUEUE: a UDP and a TCP service on one VIP and port, with 1 and 4 shards."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import RunningLab, running_lab

CONFIG = Path(__file__).parent / "tcp_and_udp.toml"
LOCAL_ADDRESSES = ["192.0.2.10", "192.0.2.11"]
REAL_SERVERS = ("rs1", "rs2")

REFUSE_UDP = """
table ip closed {
    chain input {
        type filter hook input priority filter; policy accept;
        udp dport 8080 reject with icmp port-unreachable
    }
}
"""
"""What a kernel does with a closed port. The server goes on, because its end would be a failure of the lab."""

WITH_CONNTRACK = """
table ip own {
    chain forward {
        type filter hook forward priority filter; policy accept;
        ct state established,related accept
    }
}
"""


@pytest.fixture(scope="module", params=[1, 4])
def lab(request: pytest.FixtureRequest) -> Iterator[RunningLab]:
    """A lab with both services, in which real servers do not limit their ICMP errors."""
    for running in running_lab("--config", str(CONFIG), "--shards", str(request.param)):
        for role in REAL_SERVERS:
            running.run(role, "sysctl", "-q", "-w", "net.ipv4.icmp_ratelimit=0")
        yield running


def udp_sessions(lab: RunningLab) -> list[dict[str, Any]]:
    return [row for row in lab.api_json("/stats/ip_vs_conn") if row["protocol"] == "UDP"]


def test_datagrams_of_any_size_from_many_ports_come_back_whole(lab: RunningLab) -> None:
    result = lab.script("client", "udp_echo.py", "200", "10")
    assert (result["whole"], result["lost"], result["damaged"]) == (2000, 0, 0)
    assert result["moved"] == 0, "a session stays with its real server and its local port"
    assert result["peers"] == LOCAL_ADDRESSES
    assert set(result["real_servers"]) == set(REAL_SERVERS)
    assert min(result["real_servers"].values()) > 80, "round robin in every shard"


def test_tcp_and_udp_are_two_services_on_one_port(lab: RunningLab) -> None:
    """Each answers in its protocol, also at the same time, and each has counters of its own."""
    before = conns_by_protocol(lab)
    with lab.start("client", "http_load.py", "300", "8") as load:
        udp = lab.script("client", "udp_echo.py", "100", "5")
        tcp = json.loads(load.communicate()[0])
    assert (tcp["ok"], udp["whole"]) == (300, 500)
    assert set(udp["sources"]) <= {row["source"] for row in udp_sessions(lab)}
    # Not all of them: a client port that is used again continues its session.
    lab.wait_until("TCP is counted", lambda: conns_by_protocol(lab)["TCP"] - before["TCP"] > 200)
    lab.wait_until("UDP is counted", lambda: conns_by_protocol(lab)["UDP"] - before["UDP"] > 50)


def conns_by_protocol(lab: RunningLab) -> dict[str, int]:
    services = lab.api_json("/stats/ip_vs")["services"]
    return {service["protocol"]: sum(row["conns"] for row in service["real_servers"]) for service in services}


def test_a_datagram_without_a_checksum_stays_without(lab: RunningLab) -> None:
    """A datagram with a checksum has a right one behind the gateway."""
    with contextlib.ExitStack() as stack:
        watchers = {role: stack.enter_context(lab.start(role, "udp_checksums.py", "watch", "8080")) for role in REAL_SERVERS}
        for watcher in watchers.values():
            assert watcher.stdout is not None
            assert watcher.stdout.readline() == "ready\n"
        without = lab.script("client", "udp_checksums.py", "send", "40")
        checked = lab.script("client", "udp_echo.py", "40", "1")
        found = {role: json.loads(watcher.communicate()[0]) for role, watcher in watchers.items()}
    assert (sum(without.values()), checked["whole"]) == (40, 40)
    for role in REAL_SERVERS:
        assert found[role] == {"none": without[role], "right": checked["real_servers"][role]}


def test_a_closed_port_refuses_the_client(lab: RunningLab) -> None:
    for role in REAL_SERVERS:
        lab.run(role, "nft", REFUSE_UDP)
    try:
        assert lab.script("client", "udp_ask.py", "32") == {"refused": 32}
    finally:
        for role in REAL_SERVERS:
            lab.run(role, "nft", "delete table ip closed")
    assert lab.script("client", "udp_ask.py", "8") == {"answered": 8}


def test_the_timeout_of_sessions_can_be_lowered_and_raised(lab: RunningLab) -> None:
    """Their clients send again after an answer: before that, udp_timeout_unconfirmed is their timeout."""
    try:
        lab.set_tunable("udp_timeout", 2000)
        short = lab.script("client", "udp_echo.py", "20", "2")["sources"]
        assert all(left_s <= 2 for left_s in expiries(lab, short))
        lab.wait_until("they are gone", lambda: not expiries(lab, short))
        lab.set_tunable("udp_timeout", 600_000)
        long = lab.script("client", "udp_echo.py", "20", "2")["sources"]
        assert all(500 < left_s <= 600 for left_s in expiries(lab, long))
        lab.wait_until("they have outlived the lower timeout", lambda: max(expiries(lab, long)) < 597)
        assert len(expiries(lab, long)) == 20
    finally:
        lab.set_tunable("udp_timeout", 300_000)


def expiries(lab: RunningLab, sources: list[str]) -> list[float]:
    """In how many seconds the sessions of these clients expire; sessions that have ended are left out."""
    return [row["expires_s"] for row in udp_sessions(lab) if row["source"] in sources]


def test_the_lists_say_which_protocol(lab: RunningLab) -> None:
    lab.script("client", "udp_ask.py", "4")
    rows = udp_sessions(lab)
    assert len(rows) >= 4
    assert {(row["protocol"], row["state"], row["service"], row["virtual"]) for row in rows} == {
        ("UDP", "UDP", "echo", "203.0.113.10:80")
    }
    assert {row["destination"] for row in rows} == {"192.0.2.101:8080", "192.0.2.102:8080"}

    def are_shown() -> bool:
        """Whether there is a line for each. One may end between both questions."""
        lines = lab.api("/stats/ip_vs_conn").splitlines()
        return sum(line.startswith("UDP ") and " UDP  " in line for line in lines) == len(udp_sessions(lab))

    lab.wait_until("all have a line", are_shown)
    assert "UDP  203.0.113.10:80 rr" in lab.api("/stats/ip_vs").splitlines()


def test_datagrams_are_not_tracked(lab: RunningLab) -> None:
    lab.run("gateway", "nft", WITH_CONNTRACK)
    try:
        assert lab.script("client", "udp_echo.py", "50", "2")["whole"] == 100
        own = tracked(lab)
        assert own < 50, "each of the fifty sockets would be one; the host itself may just have reported a multicast group"
        lab.run("gateway", "curl", "-s", "http://192.0.2.101:8080/")
        assert tracked(lab) > own, "the host's own traffic is tracked, so the number above means something"
    finally:
        lab.run("gateway", "nft", "delete table ip own")


def tracked(lab: RunningLab) -> int:
    return int(lab.run("gateway", "cat", "/proc/sys/net/netfilter/nf_conntrack_count"))


def test_no_datagram_is_dropped_because_of_an_error_of_the_gateway(lab: RunningLab) -> None:
    """This counts also the datagrams of the tests before this one."""
    assert lab.script("client", "udp_echo.py", "50", "4")["whole"] == 200
    for name in ("internal_error", "truncated", "bad_header", "not_ours", "bad_icmp_checksum"):
        assert lab.counter("drops", name) == 0, name
