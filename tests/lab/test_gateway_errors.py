"""ICMP errors that the gateway's own kernel sends about packets it cannot forward reach whoever sent those packets.

The kernel sends them to its own addresses, for those are what rewritten packets come from; see `ruleset`.
"""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.conftest import RunningLab, running_lab

CONFIG = Path(__file__).parent / "tcp_and_udp.toml"

NARROW_MTU, USUAL_MTU = 1280, 1500
OPTION_BYTES = 8
"""A client is told of a path narrower by what the gateway may put into its packets."""

TRANSFER_BYTES = 20_000_000
BLACK_HOLE_AFTER_S = "300"
"""A transfer into a black hole would try for a quarter of an hour, or for ever: this only keeps a failure from hanging."""

LOCAL_ADDRESSES = ("192.0.2.10", "192.0.2.11")


@pytest.fixture(scope="module", params=[1, 4])
def lab(request: pytest.FixtureRequest) -> Iterator[RunningLab]:
    """A lab with a TCP and a UDP service on one VIP and port."""
    yield from running_lab("--config", str(CONFIG), "--shards", str(request.param))


@contextmanager
def narrowed(lab: RunningLab, interface: str) -> Iterator[None]:
    """The gateway's interface with a smaller MTU; every other host keeps its own, and has forgotten path MTUs afterwards."""
    lab.run("gateway", "ip", "link", "set", interface, "mtu", str(NARROW_MTU))
    try:
        yield
    finally:
        lab.run("gateway", "ip", "link", "set", interface, "mtu", str(USUAL_MTU))
        for role in ("client", "rs1", "rs2"):
            lab.run(role, "ip", "route", "flush", "cache")


@contextmanager
def unadjusted_mss(lab: RunningLab) -> Iterator[None]:
    """Real servers' MSS reaches clients as it is, so that nothing but an ICMP error can tell them of a narrow path."""
    lab.set_tunable("fullnat_mss_adjust_entry", 0)
    try:
        yield
    finally:
        lab.set_tunable("fullnat_mss_adjust_entry", 1)


def icmp_counter(lab: RunningLab, name: str) -> int:
    """A counter of the gateway's own ICMP, from /proc/net/snmp."""
    lines = lab.run("gateway", "cat", "/proc/net/snmp").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Icmp:"))
    return int(values[names.index(name)])


def path_mtus(lab: RunningLab, role: str, *destinations: str) -> set[int]:
    """What a host has learnt of its paths to these addresses."""
    routes = "".join(lab.run(role, "ip", "route", "get", destination) for destination in destinations)
    return {int(mtu) for mtu in re.findall(r"mtu (\d+)", routes)}


def transfer(lab: RunningLab, direction: str) -> None:
    """All of it arrives as it was sent."""
    bulk = str(Path(__file__).parent / "programs" / "bulk.py")
    said = lab.run("client", "timeout", BLACK_HOLE_AFTER_S, sys.executable, bulk, direction, str(TRANSFER_BYTES))
    result = json.loads(said)
    assert result["got"] == result["expected"]


def test_a_client_learns_that_the_way_to_real_servers_is_narrow(lab: RunningLab) -> None:
    sent, arrived = icmp_counter(lab, "OutDestUnreachs"), icmp_counter(lab, "InDestUnreachs")
    with unadjusted_mss(lab), narrowed(lab, "server0"):
        assert not path_mtus(lab, "client", lab.vip)
        transfer(lab, "upload")
        assert path_mtus(lab, "client", lab.vip) == {NARROW_MTU - OPTION_BYTES}
    assert icmp_counter(lab, "OutDestUnreachs") > sent, "it was the gateway's kernel that could not forward"
    assert icmp_counter(lab, "InDestUnreachs") == arrived, "and none of its errors ended up with itself"


def test_a_real_server_learns_that_the_way_to_a_client_is_narrow(lab: RunningLab) -> None:
    sent, arrived = icmp_counter(lab, "OutDestUnreachs"), icmp_counter(lab, "InDestUnreachs")
    with narrowed(lab, "client0"):
        transfer(lab, "download")
        assert {NARROW_MTU} == path_mtus(lab, "rs1", *LOCAL_ADDRESSES) | path_mtus(lab, "rs2", *LOCAL_ADDRESSES)
    assert icmp_counter(lab, "OutDestUnreachs") > sent
    assert icmp_counter(lab, "InDestUnreachs") == arrived


def test_a_client_of_a_udp_service_learns_it_too(lab: RunningLab) -> None:
    with narrowed(lab, "server0"):
        result = lab.script("client", "udp_path_mtu.py", "1400")
    assert result["path_mtu"] == NARROW_MTU, "the gateway puts nothing into datagrams"
    assert result["echo_bytes"] == result["sent_bytes"]


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_packet_whose_ttl_ends_at_the_gateway_is_answered(lab: RunningLab, protocol: str) -> None:
    """As traceroute finds its hops, from ports of every shard."""
    for _ in range(8):
        found = lab.script("client", "ttl_exceeded.py", protocol)
        assert found["from"] == lab.vip
        assert found["quoted"] == [found["client"], f"{lab.vip}:{lab.port}"]
        assert found["answered"], "the session has not suffered"


def test_errors_that_are_about_no_session_stay_with_the_host(lab: RunningLab) -> None:
    """A program of the host's own on a VIP: its packet cannot go out, and it is told so."""
    before = lab.counter("drops", "not_ours")
    assert lab.script("gateway", "udp_unreachable.py", lab.vip, "198.51.100.77") == "EHOSTUNREACH"
    assert lab.counter("drops", "not_ours") - before == 1, "a shard has seen the error, once, and let it pass"
