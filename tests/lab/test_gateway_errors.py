"""ICMP errors that the gateway's own kernel sends about packets it cannot forward reach the senders of those packets.

The kernel sends them to its own addresses, because rewritten packets come from those; see `policy/ruleset`.
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
"""The MTU that a client is told is smaller by the bytes that the gateway may add to its packets."""

TRANSFER_BYTES = 20_000_000
BLACK_HOLE_AFTER_S = "300"
"""A transfer whose packets all vanish would go on for a quarter of an hour, or for ever: this only ends a test that failed."""

LOCAL_ADDRESSES = ("192.0.2.10", "192.0.2.11")


@pytest.fixture(scope="module", params=[1, 4])
def lab(request: pytest.FixtureRequest) -> Iterator[RunningLab]:
    """A lab with a TCP and a UDP service on one VIP and port."""
    yield from running_lab("--config", str(CONFIG), "--shards", str(request.param))


@contextmanager
def narrowed(lab: RunningLab, interface: str) -> Iterator[None]:
    """Give an interface of the gateway a smaller MTU for the block. No other host changes, and all forget path MTUs
    afterwards."""
    lab.run("gateway", "ip", "link", "set", interface, "mtu", str(NARROW_MTU))
    try:
        yield
    finally:
        lab.run("gateway", "ip", "link", "set", interface, "mtu", str(USUAL_MTU))
        for role in ("client", "rs1", "rs2"):
            lab.run(role, "ip", "route", "flush", "cache")


@contextmanager
def unadjusted_mss(lab: RunningLab) -> Iterator[None]:
    """Leave the MSS of real servers unchanged for the block, so that clients learn of a narrow path from ICMP errors only."""
    lab.set_tunable("fullnat_mss_adjust_entry", 0)
    try:
        yield
    finally:
        lab.set_tunable("fullnat_mss_adjust_entry", 1)


def icmp_counter(lab: RunningLab, name: str) -> int:
    """An ICMP counter of the gateway's kernel, from /proc/net/snmp."""
    lines = lab.run("gateway", "cat", "/proc/net/snmp").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Icmp:"))
    return int(values[names.index(name)])


def path_mtus(lab: RunningLab, role: str, *destinations: str) -> set[int]:
    """The path MTUs that a host has learnt for these addresses."""
    routes = "".join(lab.run(role, "ip", "route", "get", destination) for destination in destinations)
    return {int(mtu) for mtu in re.findall(r"mtu (\d+)", routes)}


def transfer(lab: RunningLab, direction: str) -> None:
    """Do a transfer, and check that it arrives as it was sent."""
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
    """This is how traceroute finds hops. The ports are of every shard."""
    for _ in range(8):
        found = lab.script("client", "ttl_exceeded.py", protocol)
        assert found["from"] == lab.vip
        assert found["quoted"] == [found["client"], f"{lab.vip}:{lab.port}"]
        assert found["answered"], "the session has not suffered"


def test_errors_that_are_about_no_session_stay_with_the_host(lab: RunningLab) -> None:
    """A program of the host itself uses a VIP. Its packet cannot be sent, and it gets the error."""
    before = lab.counter("drops", "not_ours")
    assert lab.script("gateway", "udp_unreachable.py", lab.vip, "198.51.100.77") == "EHOSTUNREACH"
    assert lab.counter("drops", "not_ours") - before == 1, "a shard has seen the error, once, and let it pass"
