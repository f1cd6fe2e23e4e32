"""Unsolicited packets, real ones: dropped and counted, or left to the host. LVS behaviour, section 5."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import dpkt
import pytest

from appliance.director.watches import FRESH_S
from appliance.lab import namespaces
from appliance.wire.flow import pack_endpoint
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import reload
from tests.lab.floods import lost_on_arrival
from tests.lab.raw_client import RawClient, raw_addresses
from tests.support.segments import fragments, tcp, udp

CONFIG = Path(__file__).parent / "tcp_and_udp.toml"

STRANGER = "198.51.100.77"
LOCAL_ADDRESS = "192.0.2.10"
REAL_SERVER = "192.0.2.101"
UNUSED_PORT = 81
MF_BIT = 0x2000

_SILENCE_AFTER_S = 60.0
"""Longer than any answer takes: it only ends a test that failed."""


@pytest.fixture(scope="module", params=[1, 4])
def lab(request: pytest.FixtureRequest) -> Iterator[RunningLab]:
    """A lab with a TCP and a UDP service on one VIP and port, and a client address of which no kernel knows."""
    for lab in running_lab("--config", str(CONFIG), "--shards", str(request.param)):
        with raw_addresses(lab, STRANGER):
            assert lab.script("client", "http_load.py", "20", "4")["errors"] == {}, "all neighbours are known from here on"
            yield lab


class Wire:
    """Sends and receives whole IP packets at the interface of the client or of a real server."""

    def __init__(self, lab: RunningLab, role: str) -> None:
        self._sender, self._receiver = namespaces.call_inside(lab.namespace(role), _open_sockets)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.close()
        self._receiver.close()

    def send(self, packets: Sequence[bytes]) -> None:
        """Send each packet to its destination."""
        for packet in packets:
            self._sender.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))

    def receive(self, is_wanted: Callable[[dpkt.ip.IP], bool]) -> dpkt.ip.IP:
        """The next packet that is wanted; fails when none comes."""
        while True:
            packet = dpkt.ip.IP(self._receiver.recv(1 << 16))
            if is_wanted(packet):
                return packet


def _open_sockets() -> tuple[socket.socket, socket.socket]:
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    receiver = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(dpkt.ethernet.ETH_TYPE_IP))
    receiver.bind(("eth0", dpkt.ethernet.ETH_TYPE_IP))
    receiver.settimeout(_SILENCE_AFTER_S)
    return sender, receiver


@pytest.fixture
def wire(lab: RunningLab) -> Iterator[Wire]:
    with Wire(lab, "client") as opened:
        yield opened


@contextmanager
def without(lab: RunningLab, tunable: str) -> Iterator[None]:
    """Switch a part of the defence off for the block."""
    lab.set_tunable(tunable, 0)
    try:
        yield
    finally:
        lab.set_tunable(tunable, 1)


def here(port: int) -> bytes:
    return pack_endpoint(IPv4Address(STRANGER), port)


def there(lab: RunningLab, port: int) -> bytes:
    return pack_endpoint(IPv4Address(lab.vip), port)


def is_reset(packet: dpkt.ip.IP) -> bool:
    return isinstance(packet.data, dpkt.tcp.TCP) and bool(packet.data.flags & dpkt.tcp.TH_RST)


def is_unreachable(packet: dpkt.ip.IP) -> bool:
    return isinstance(packet.data, dpkt.icmp.ICMP) and (packet.data.type, packet.data.code) == (3, 3)


Counts = dict[str, tuple[int, int]]


def dropped(lab: RunningLab) -> Counts:
    """Packets dropped by each counter of the defence: by the kernel, and by shards.

    The API asks the kernel anew after FRESH_S.
    """
    time.sleep(FRESH_S)
    rows = lab.api_json("/stats/ext")
    names = ("defence_ip_frag_drop", "defence_tcp_drop", "defence_udp_drop")
    return {name: (rows[name]["kernel"], sum(rows[name]["shards"])) for name in names}


def judged(lab: RunningLab) -> dict[str, int]:
    """Packets that shards have seen and not translated, by verdict."""
    return {name: row["total"] for name, row in lab.api_json("/stats/drops").items() if row["total"]}


def moves_since(lab: RunningLab, before: Counts) -> dict[str, int]:
    """By how much counters grew; names of counters of shards begin with "shard_"."""
    now = dropped(lab)
    moves = {name: now[name][0] - count[0] for name, count in before.items()}
    moves |= {f"shard_{name}": now[name][1] - count[1] for name, count in before.items()}
    return {name: count for name, count in moves.items() if count}


@contextmanager
def expect(lab: RunningLab, **expected: int) -> Iterator[None]:
    """Check that these counters grow by so much in the block, and no others; names that begin with "shard_" are of shards."""
    before = dropped(lab)
    yield
    lab.wait_until(f"drops are {expected}", lambda: is_reached(expected, moves_since(lab, before)))
    assert moves_since(lab, before) == expected


def is_reached(expected: dict[str, int], moves: dict[str, int]) -> bool:
    return all(moves.get(name, 0) >= count for name, count in expected.items())


FLOOD_PACKETS = 60_000


@contextmanager
def flooded(lab: RunningLab, kind: str, per_s: int, counter: str) -> Iterator[None]:
    """With a flood going on for as long as the block. Checks that the kernel drops and counts every packet of it that arrives: no
    shard and no host sees one.

    On a busy machine some packets do not arrive, because the backlog of the gateway is full.
    """
    before, seen, lost = dropped(lab), seen_by_anybody(lab), lost_on_arrival(lab)
    with lab.start("client", "stray_flood.py", kind, str(FLOOD_PACKETS), str(per_s)) as flood:
        assert flood.stdout is not None
        assert flood.stdout.readline() == "flooding\n"
        yield
        assert flood.poll() is None, "it has gone on until now"
        sent = int(flood.communicate()[0])
    assert flood.returncode == 0
    assert sent >= FLOOD_PACKETS

    def fewest() -> int:
        return sent - (lost_on_arrival(lab) - lost)

    def is_over() -> bool:
        return moves_since(lab, before).get(counter, 0) >= fewest() or seen_by_anybody(lab) != seen

    lab.wait_until("all are counted, or seen by somebody", is_over)
    moves = moves_since(lab, before)
    assert moves.keys() == {counter}
    assert fewest() <= moves[counter] <= sent
    assert seen_by_anybody(lab) == seen


def seen_by_anybody(lab: RunningLab) -> dict[str, int]:
    overruns = {name: lab.counter("queues", name) for name in ("queue_full_drops", "socket_drops")}
    return judged(lab) | overruns | {"answers": icmp_counter(lab, "OutDestUnreachs")}


def icmp_counter(lab: RunningLab, name: str) -> int:
    lines = lab.run("gateway", "cat", "/proc/net/snmp").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Icmp:"))
    return int(values[names.index(name)])


@pytest.mark.parametrize("flags", ["S", "A", "PA", "SA", "F", "R", ""])
def test_tcp_to_a_port_of_a_vip_that_is_no_service(lab: RunningLab, wire: Wire, flags: str) -> None:
    packets = [tcp(here(port), there(lab, UNUSED_PORT), flags, seq=5, ack=6) for port in range(3000, 3020)]
    seen = judged(lab)
    with expect(lab, defence_tcp_drop=20):
        wire.send(packets)
    with without(lab, "defence_tcp_drop"), expect(lab):
        wire.send(packets)
        if flags in ("S", "A"):
            assert wire.receive(is_reset).data.sport == UNUSED_PORT, "the host's own TCP answers"
    assert judged(lab) == seen, "no shard has seen any of it"


@pytest.mark.parametrize("flags", ["R", "SA", "FA", "A"])
def test_tcp_to_a_service_that_belongs_to_no_session(lab: RunningLab, wire: Wire, flags: str) -> None:
    packets = [tcp(here(port), there(lab, lab.port), flags, seq=5, ack=6) for port in range(3000, 3020)]
    before = lab.counter("drops", "no_session")
    with expect(lab, shard_defence_tcp_drop=20):
        wire.send(packets)
    assert lab.counter("drops", "no_session") - before == 20
    with without(lab, "defence_tcp_drop"), expect(lab):
        passed = lab.counter("drops", "not_ours")
        wire.send(packets)
        lab.wait_until("shards let them pass", lambda: lab.counter("drops", "not_ours") - passed == 20)
        if flags in ("SA", "A"):
            assert wire.receive(is_reset).data.sport == lab.port
    assert lab.counter("drops", "no_session") - before == 20


@pytest.mark.parametrize("flags", ["F", "SF", "FPU", ""])
def test_tcp_to_a_service_with_flags_that_no_host_sends(lab: RunningLab, wire: Wire, flags: str) -> None:
    """These are used to scan ports. The defence counts them as all unsolicited packets; without it, they are dropped as well."""
    packets = [tcp(here(port), there(lab, lab.port), flags, seq=5, ack=6) for port in range(3000, 3020)]
    before, passed = lab.counter("drops", "bad_flags"), lab.counter("drops", "not_ours")
    with expect(lab, shard_defence_tcp_drop=20):
        wire.send(packets)
    with without(lab, "defence_tcp_drop"), expect(lab):
        wire.send(packets)
        lab.wait_until("they are dropped", lambda: lab.counter("drops", "bad_flags") - before == 40)
    assert lab.counter("drops", "not_ours") == passed


def test_udp_to_a_port_of_a_vip_that_is_no_udp_service(lab: RunningLab, wire: Wire) -> None:
    packets = [udp(here(port), there(lab, UNUSED_PORT), b"x") for port in range(3000, 3020)]
    seen = judged(lab)
    with expect(lab, defence_udp_drop=20):
        wire.send(packets)
    with without(lab, "defence_udp_drop"), expect(lab):
        wire.send(packets[:1])
        assert wire.receive(is_unreachable).src == there(lab, 0)[:4], "the host answers"
    assert judged(lab) == seen, "no shard has seen any of it"
    assert lab.script("client", "udp_ask.py", "20") == {"answered": 20}, "the UDP service beside it is not concerned"


def test_fragments_to_a_vip_or_a_local_address(lab: RunningLab, wire: Wire) -> None:
    """First fragments and later ones, of any protocol."""
    to_vip = [
        *fragments(udp(here(3000), there(lab, lab.port), bytes(64)), 32),
        *fragments(tcp(here(3000), there(lab, lab.port), "PA", data=bytes(64)), 32),
        *fragments(_echo_request(here(0), there(lab, 0)), 16),
    ]
    real_server, local = pack_endpoint(IPv4Address(REAL_SERVER), 8080), pack_endpoint(IPv4Address(LOCAL_ADDRESS), 6000)
    to_local = fragments(udp(real_server, local, bytes(64)), 32)
    seen = judged(lab)
    with Wire(lab, "rs1") as beyond, expect(lab, defence_ip_frag_drop=len(to_vip) + len(to_local)):
        wire.send(to_vip)
        beyond.send(to_local)
    assert judged(lab) == seen, "no shard has seen any of it"


def _echo_request(source: bytes, destination: bytes) -> bytes:
    message = dpkt.icmp.ICMP(type=8, data=dpkt.icmp.ICMP.Echo(id=1, seq=1, data=bytes(40)))
    packet = dpkt.ip.IP(src=source[:4], dst=destination[:4], p=dpkt.ip.IP_PROTO_ICMP, ttl=64, id=11, data=message)
    packet.len = 20 + len(bytes(message))
    return bytes(packet)


OSPF_COUNTER = """
table ip arrivals {
    counter ospf { }
    chain prerouting {
        type filter hook prerouting priority -405
        ip protocol ospf ip frag-off & 0x3fff != 0 counter name ospf
    }
}
"""
"""Behind the chain that drops fragments, before the kernel puts them together."""


def test_fragments_of_ospf_pass(lab: RunningLab, wire: Wire) -> None:
    whole = dpkt.ip.IP(src=here(0)[:4], dst=there(lab, 0)[:4], p=dpkt.ip.IP_PROTO_OSPF, ttl=1, id=12, data=bytes(64))
    whole.len = 84
    listing = ("nft", "list", "counter", "ip", "arrivals", "ospf")
    lab.run("gateway", "nft", OSPF_COUNTER)
    try:
        with expect(lab):
            wire.send(fragments(bytes(whole), 32))
            lab.wait_until("both parts have passed", lambda: "packets 2 " in lab.run("gateway", *listing))
    finally:
        lab.run("gateway", "nft", "delete", "table", "ip", "arrivals")


def tracked_connections(lab: RunningLab) -> int:
    return int(lab.run("gateway", "cat", "/proc/sys/net/netfilter/nf_conntrack_count"))


def test_a_datagram_in_fragments(lab: RunningLab) -> None:
    """With the defence off, the whole datagram and its answer pass, and the kernel tracks no connection for them."""
    with without(lab, "defence_frag_drop"), expect(lab):
        assert lab.script("client", "udp_echo_long.py", "3500") == {"same": True}
        assert tracked_connections(lab) == 0
    with expect(lab, defence_ip_frag_drop=3), lab.start("client", "udp_echo_long.py", "3500") as unanswered:
        lab.wait_until("it is dropped", lambda: lab.counter("ext", "defence_ip_frag_drop") > 0)
        time.sleep(0.5)
        assert unanswered.poll() is None, "no answer"
        unanswered.kill()


def test_a_datagram_in_fragments_that_is_longer_than_the_queue_copies(lab: RunningLab, wire: Wire) -> None:
    before = lab.counter("drops", "truncated")
    with without(lab, "defence_frag_drop"), expect(lab):
        wire.send(fragments(udp(here(3000), there(lab, lab.port), bytes(3840)), 1480))
        lab.wait_until("it is counted", lambda: lab.counter("drops", "truncated") == before + 1)


def test_tcp_in_fragments(lab: RunningLab) -> None:
    """A whole connection whose segments are sent in two fragments each."""
    with RawClient(lab, STRANGER, 3100) as client, without(lab, "defence_frag_drop"), expect(lab):
        client.fragment_bytes = 16
        client.connect()
        assert client.ask()["client"] == f"{STRANGER}:3100"
        assert tracked_connections(lab) == 0
    with RawClient(lab, STRANGER, 3101) as client, expect(lab, defence_ip_frag_drop=2):
        client.fragment_bytes = 16
        client.send("S")
    with RawClient(lab, STRANGER, 3102) as client:
        client.connect()
        assert client.ask()["client"] == f"{STRANGER}:3102", "whole packets get through as ever"


def test_an_unused_port_of_a_local_address_is_answered_by_the_host(lab: RunningLab) -> None:
    """Row 12 of the conformance checks. The kernel of the real server ignores the RST, because it has no such connection."""
    with Wire(lab, "rs1") as beyond, expect(lab):
        local = pack_endpoint(IPv4Address(LOCAL_ADDRESS), 6000)
        beyond.send([tcp(pack_endpoint(IPv4Address(REAL_SERVER), 7000), local, "S", seq=5)])
        answer = beyond.receive(is_reset)
    assert (answer.src, answer.data.sport, answer.data.dport, answer.data.ack) == (local[:4], 6000, 7000, 6)


FLOODS = [("udp", "defence_udp_drop", "defence_frag_drop"), ("fragment", "defence_ip_frag_drop", "defence_udp_drop")]
"""The packets of a flood, the counter that counts them, and a tunable that is not about them."""


@pytest.mark.parametrize(("kind", "counter", "_"), FLOODS)
def test_http_goes_on_under_a_flood_that_no_queue_sees(lab: RunningLab, kind: str, counter: str, _: str) -> None:
    """Requests are answered, all of them, before the flood is over."""
    with flooded(lab, kind, 30_000, counter):
        for _turn in range(3):
            result = lab.script("client", "http_load.py", "100", "16")
            assert (result["ok"], result["errors"]) == (100, {})


@pytest.mark.parametrize(("kind", "counter", "changed"), FLOODS)
def test_no_packet_passes_while_rules_are_changed(lab: RunningLab, kind: str, counter: str, changed: str) -> None:
    """One tunable is written again and again while packets come that another tunable is about."""
    with flooded(lab, kind, 15_000, counter):
        for number in range(40):
            lab.set_tunable(changed, number % 2)


def test_counters_and_rules_survive_a_flush_of_the_ruleset(lab: RunningLab, wire: Wire) -> None:
    """The rules in force are loaded again, not those of the start; and counters keep their values."""
    before = dropped(lab)
    with without(lab, "defence_udp_drop"):
        lab.run("gateway", "nft", "delete", "table", "ip", "appliance")
        lab.wait_until("it is back", lambda: "chain unsolicited" in lab.run("gateway", "nft", "list", "ruleset"))
        assert dropped(lab) == before
        wire.send([udp(here(3000), there(lab, UNUSED_PORT), b"x")])
        assert wire.receive(is_unreachable)
    with expect(lab, defence_tcp_drop=1, defence_udp_drop=1):
        wire.send([udp(here(3000), there(lab, UNUSED_PORT), b"x"), tcp(here(3000), there(lab, UNUSED_PORT), "S")])


def test_a_reload_changes_the_rules_as_a_write_does(lab: RunningLab, wire: Wire) -> None:
    text = (Path(lab.environment["LAB_DIR"]) / "lvs.toml").read_text()
    packets = [tcp(here(3000), there(lab, UNUSED_PORT), "S", seq=5)]
    reload(lab, f"{text}\n[sysctl]\ndefence_tcp_drop = 0\n")
    try:
        with expect(lab):
            wire.send(packets)
            assert wire.receive(is_reset)
    finally:
        reload(lab, text)
    with expect(lab, defence_tcp_drop=1):
        wire.send(packets)
