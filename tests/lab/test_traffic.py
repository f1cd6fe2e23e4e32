"""FULLNAT for TCP over real NFQUEUE, with 1, 2 and 4 shards."""

import json

import pytest

from tests.lab.conftest import RunningLab
from tests.lab.idle_sessions import IdleSessions
from tests.lab.loss_rules import tcp_ext

GIB = 1 << 30

LOCAL_ADDRESSES = {"192.0.2.10", "192.0.2.11"}


def test_ten_thousand_short_connections(lab: RunningLab) -> None:
    """There are no errors, both real servers get connections, and they see local addresses only."""
    opened, again, dropped = kernel_counter(lab, "PassiveOpens"), syns_sent_again(lab), drops(lab)
    result = lab.script("client", "http_load.py", "10000", "32")
    assert result["errors"] == {}
    assert result["ok"] == 10_000
    assert set(result["real_servers"]) == {"rs1", "rs2"}
    assert min(result["real_servers"].values()) > 4_000, "round robin in every shard"
    assert set(result["peers"]) == LOCAL_ADDRESSES
    assert drops(lab) == dropped
    # A machine that stands still for a second lets the client send some again.
    assert syns_sent_again(lab) - again < 100, "no connection was tried twice"
    # A kernel that takes the last ACK and the first data on two CPUs at once counts such a connection twice.
    assert 10_000 <= kernel_counter(lab, "PassiveOpens") - opened < 10_100, "none was opened at both real servers"


def syns_sent_again(lab: RunningLab) -> int:
    """How many SYNs the client's kernel has sent more than once."""
    return tcp_ext(lab, "client")["TCPSynRetrans"]


def drops(lab: RunningLab) -> dict[str, int]:
    """All that shards, the lane and full queues have dropped."""
    queues = lab.totals("queues")
    return lab.totals("drops") | {name: queues[name] for name in ("queue_full_drops", "socket_drops")}


def kernel_counter(lab: RunningLab, name: str) -> int:
    """A TCP counter of /proc/net/snmp, summed over the real servers."""
    total = 0
    for role in ("rs1", "rs2"):
        names, values = (line.split() for line in lab.run(role, "cat", "/proc/net/snmp").splitlines() if line.startswith("Tcp:"))
        total += int(values[names.index(name)])
    return total


@pytest.mark.parametrize("direction", ["download", "upload"])
def test_a_gibibyte_arrives_whole(lab: RunningLab, direction: str) -> None:
    result = lab.script("client", "bulk.py", direction, str(GIB))
    assert result["got"] == result["expected"]


def test_traffic_is_not_tracked(lab: RunningLab) -> None:
    """This is so also when the gateway tracks connections for other rules: those are in conntrack, connections of services are
    not."""
    lab.run("gateway", "nft", OWN_RULES)
    try:
        assert lab.script("client", "http_load.py", "300", "16")["ok"] == 300
        assert tracked_connections(lab) == 0
        lab.run("gateway", "curl", "-s", "http://192.0.2.101:8080/")
        assert tracked_connections(lab) > 0, "the host's own traffic is tracked, so the zero above means something"
    finally:
        lab.run("gateway", "nft", "delete table ip own")


OWN_RULES = """
table ip own {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ip saddr { 192.0.2.10, 192.0.2.11 } ip daddr { 192.0.2.101, 192.0.2.102 } accept
        ip saddr 203.0.113.10 tcp sport 80 accept
    }
}
"""
"""A gateway's ruleset with conntrack and a closed forward chain, opened for rewritten traffic as the README says."""


def tracked_connections(lab: RunningLab) -> int:
    return int(lab.run("gateway", "cat", "/proc/sys/net/netfilter/nf_conntrack_count"))


def test_an_idle_session_is_reset_at_both_ends(lab: RunningLab) -> None:
    lab.set_tunable("tcp_timeout_established", 4000)
    resets_before = kernel_counter(lab, "EstabResets")
    try:
        with IdleSessions(lab, 8) as idle:
            endings = idle.wait_for_the_last()
    finally:
        lab.set_tunable("tcp_timeout_established", 900_000)
    assert list(endings.values()) == ["reset"] * 8
    lab.wait_until("the real servers were told, too", lambda: kernel_counter(lab, "EstabResets") - resets_before >= 8)
    assert kernel_counter(lab, "EstabResets") - resets_before == 8


def test_icmp_errors_reach_the_shard_that_owns_the_session(lab: RunningLab) -> None:
    """Every error about a packet of 32 sessions, in both directions, arrives at the end that sent the packet, with its
    addresses."""
    with IdleSessions(lab, 32) as idle:
        sessions = [row for row in lab.api_json("/stats/ip_vs_conn") if row["state"] == "ESTABLISHED"]
        assert len(sessions) == 32
        to_rs1 = [row for row in sessions if row["destination"] == "192.0.2.101:8080"]
        inbound = [(row["local"], row["destination"]) for row in sessions]
        assert exchange_errors(lab, "rs1", inbound, "client", 32) == quoted(sessions, "source", "virtual")
        outbound = [(row["virtual"], row["source"]) for row in to_rs1]
        assert exchange_errors(lab, "client", outbound, "rs1", len(to_rs1)) == quoted(to_rs1, "destination", "local")
        idle.stop()


def quoted(sessions: list[dict[str, str]], source: str, destination: str) -> list[str]:
    return sorted(f"{row[source]} > {row[destination]}" for row in sessions)


def exchange_errors(lab: RunningLab, sender: str, flows: list[tuple[str, str]], receiver: str, count: int) -> list[str]:
    """Send an error about each flow in one namespace, and return the flows that errors quote which arrive in the other."""
    with lab.start(receiver, "icmp_errors.py", "receive", str(count)) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        lab.script(sender, "icmp_errors.py", "send", json.dumps(flows))
        found: list[str] = json.loads(program.stdout.read())
        return found
