"""A hop with an MTU of 1280 bytes that neither end knows: full packets vanish there unless its ICMP errors reach the sender."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab.conftest import RunningLab, running_lab

HOP_MTU = 1280
OPTION_BYTES = 8
COUNT = 4 << 20

VIP = "203.0.113.10"
LOCAL_ADDRESSES = ("192.0.2.10", "192.0.2.11")
FAR_SERVER = "203.0.113.200"
FAR_CLIENT = "198.51.100.200"

ONE_FAR_REAL_SERVER = f"""
[gateway]
shards = 2
client_interface = "client0"
server_interface = "server0"

[local_addresses]
default = {json.dumps(LOCAL_ADDRESSES)}

[[service]]
name = "web"
vip = "{VIP}"
port = 80

[[service.real_server]]
address = "{FAR_SERVER}"
port = 8080
"""
"""The real server is rs1. rs2 has two other parts: it is the router in front of rs1, and a client behind the client."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RunningLab]:
    """A lab with two narrow hops, one on the way to the real server, one on the way to a far client.

    Each test has its own lab, because a kernel does not forget a path MTU on request.
    """
    config = tmp_path / "lvs.toml"
    config.write_text(ONE_FAR_REAL_SERVER)
    for lab in running_lab("--config", str(config)):
        add_hop(lab, router="rs2", router_address="192.0.2.102", end="rs1", end_address=FAR_SERVER)
        add_hop(lab, router="client", router_address="198.51.100.2", end="rs2", end_address=FAR_CLIENT)
        lab.run("rs2", "ip", "route", "add", VIP, "via", "198.51.100.2", "dev", "hop-client", "onlink")
        yield lab


def add_hop(lab: RunningLab, *, router: str, router_address: str, end: str, end_address: str) -> None:
    """Let the gateway reach an address through a router, over a link that is narrow only on the side of the router.

    The other direction is not narrow; an answer of the real server does not even go through the router.
    """
    hop = f"hop-{router}"
    peer = ("peer", "name", hop, "netns", lab.namespace(end))
    lab.run(router, "ip", "link", "add", hop, "mtu", str(HOP_MTU), "up", "type", "veth", *peer)
    lab.run(end, "ip", "link", "set", hop, "mtu", "1500", "up")
    lab.run(end, "ip", "address", "add", f"{end_address}/32", "dev", hop)
    lab.run(router, "ip", "route", "add", end_address, "dev", hop)
    lab.run(router, "sysctl", "-q", "net.ipv4.ip_forward=1")
    lab.run("gateway", "ip", "route", "replace", end_address, "via", router_address)


class Way(NamedTuple):
    """A transfer over a hop: who starts it, who sends the data, to which addresses, and with which tunables."""

    client: str
    direction: str
    sender: str
    towards: tuple[str, ...]
    tells_client: int
    found_mtu: int


WAYS = (
    Way("client", "upload", "client", (VIP,), 1, HOP_MTU - OPTION_BYTES),
    Way("client", "upload", "client", (VIP,), 0, HOP_MTU),
    Way("rs2", "download", "rs1", LOCAL_ADDRESSES, 1, HOP_MTU),
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.direction}-mtu-{way.found_mtu}")
def test_a_narrow_hop_is_found(lab: RunningLab, way: Way) -> None:
    """Packets vanish at the hop as long as its errors are lost, and no longer as soon as the errors reach the gateway."""
    assert lab.run(way.sender, "sysctl", "-n", "net.ipv4.tcp_mtu_probing", "net.ipv4.ip_no_pmtu_disc") == "0\n0\n"
    lab.set_tunable("fullnat_toa_entry", way.tells_client)
    lab.run("gateway", "nft", LOSING_ERRORS)
    with lab.start(way.client, "bulk.py", way.direction, str(COUNT)) as transfer:
        try:
            result = watch(lab, way, transfer)
        finally:
            transfer.kill()  # a stuck transfer would go on after a test that failed
    assert result["got"] == result["expected"]
    assert found_mtus(lab, way) == {way.found_mtu}


def watch(lab: RunningLab, way: Way, transfer: subprocess.Popen[str]) -> dict[str, str]:
    """Check that the transfer gets stuck, let the errors through, and check that it ends."""
    timeouts = tcp_counter(lab, way.sender, "TCPTimeouts")
    lab.wait_until("the sender is stuck", lambda: tcp_counter(lab, way.sender, "TCPTimeouts") >= timeouts + 2)
    assert found_mtus(lab, way) == set()
    assert transfer.poll() is None
    lost = errors(lab)
    assert lost > 0
    lab.run("gateway", "nft", "flush chain ip own losing")
    lab.wait_until("the transfer is over", lambda: transfer.poll() is not None)
    assert errors(lab) > lost
    printed, _ = transfer.communicate()
    result: dict[str, str] = json.loads(printed)
    return result


LOSING_ERRORS = """
table ip own {
    counter errors {
    }
    chain losing {
        drop
    }
    chain prerouting {
        type filter hook prerouting priority -500
        icmp type destination-unreachable icmp code frag-needed counter name errors jump losing
    }
}
"""
"""Counts the errors of the hop at the gateway, before the appliance sees them, and drops them while the chain `losing` has its
rule."""


def errors(lab: RunningLab) -> int:
    """How many errors the hop has sent to the gateway."""
    listing = json.loads(lab.run("gateway", "nft", "-j", "list counter ip own errors"))
    count: int = listing["nftables"][1]["counter"]["packets"]
    return count


def found_mtus(lab: RunningLab, way: Way) -> set[int]:
    """The path MTUs that the sender remembers for the addresses it may have sent to."""
    routes = (json.loads(lab.run(way.sender, "ip", "-j", "route", "get", address))[0] for address in way.towards)
    return {metrics["mtu"] for route in routes for metrics in route.get("metrics", ()) if "mtu" in metrics}


def tcp_counter(lab: RunningLab, role: str, name: str) -> int:
    """A TCP counter of a kernel, by its name in `nstat`."""
    lines = lab.run(role, "cat", "/proc/net/netstat").splitlines()
    names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
    return int(values[names.index(name)])
