"""What a stranger on the client's side can do to the gateway's network, and what happens when rules or addresses of it go."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from dpkt.ethernet import ETH_TYPE_IP

from appliance.lab import namespaces
from appliance.policy.steering import HASH_SEED
from appliance.wire.flow import pack_endpoint
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import director_pid, outcome, reload
from tests.lab.idle_sessions import IdleSessions
from tests.lab.injected import inject
from tests.support.segments import fragments, read_tcp, tcp, udp

CONFIG = Path(__file__).parent / "tcp_and_udp.toml"
ONE_ARMED, TWO_ARMED = ("--one-armed",), ()
GATEWAY, RS1, RS2, LOCAL_ADDRESS = "198.51.100.1", "192.0.2.101", "192.0.2.102", "192.0.2.10"
SERVICE_PORT = 8080
NOBODY = ("0.1.2.3", "127.0.0.1", "224.0.0.5", "240.0.0.1", "255.255.255.255", "198.51.100.255")
"""Sources that no host has; the last one is the broadcast address of the client network."""


@pytest.fixture(scope="module", params=[TWO_ARMED, ONE_ARMED], ids=["two-armed", "one-armed"])
def shared_by_both(request: pytest.FixtureRequest) -> Iterator[RunningLab]:
    """A lab of each topology, with a TCP and a UDP service."""
    yield from running_lab("--config", str(CONFIG), "--shards", "2", *request.param)


@pytest.fixture
def either_lab(shared_by_both: RunningLab) -> RunningLab:
    """The same, without sessions."""
    return without_sessions(shared_by_both)


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningLab]:
    yield from running_lab("--config", str(CONFIG), "--shards", "2")


@pytest.fixture
def two_armed(shared: RunningLab) -> RunningLab:
    """A lab whose gateway has two arms, without sessions."""
    return without_sessions(shared)


@pytest.fixture
def fresh_two_armed() -> Iterator[RunningLab]:
    yield from running_lab("--config", str(CONFIG), "--shards", "2")


def without_sessions(lab: RunningLab) -> RunningLab:
    """The lab, in which those of the test before have ended."""
    lab.api("/conns?all=1", "-X", "DELETE")
    lab.wait_until("there is no session", lambda: not sessions(lab))
    return lab


@pytest.fixture
def one_armed() -> Iterator[RunningLab]:
    yield from running_lab("--config", str(CONFIG), "--shards", "2", *ONE_ARMED)


def endpoint(address: str, port: int) -> bytes:
    return pack_endpoint(IPv4Address(address), port)


def dropped(lab: RunningLab) -> int:
    """Packets that the kernel dropped because of where they came from or went to."""
    return lab.counter("queues", "forged_source_drops") + lab.counter("queues", "direct_access_drops")


def expect_dropped(lab: RunningLab, before: int, count: int) -> None:
    lab.wait_until(f"{count} packets are dropped and counted", lambda: dropped(lab) == before + count)


def sessions(lab: RunningLab) -> list[dict[str, str]]:
    found: list[dict[str, str]] = lab.api_json("/stats/ip_vs_conn")
    return found


def add_routes(lab: RunningLab) -> None:
    """Let the real servers reach VIPs and clients through the gateway."""
    for role in ("rs1", "rs2"):
        for network in ("203.0.113.0/24", "198.51.100.0/24"):
            lab.run(role, "ip", "route", "replace", network, "via", "192.0.2.1")


@contextmanager
def udp_session(lab: RunningLab) -> Iterator[tuple[socket.socket, str, str]]:
    """An answered client of the UDP service, with the local endpoint and the real server of its session."""
    with namespaces.call_inside(lab.namespace("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(20)
        client.connect((lab.vip, lab.port))
        client.send(b"?")
        client.recv(2048)
        (row,) = (row for row in sessions(lab) if row["source"].endswith(f":{client.getsockname()[1]}"))
        yield client, row["local"], row["destination"]


def packed(text: str) -> bytes:
    address, _, port = text.rpartition(":")
    return endpoint(address, int(port))


def test_the_client_side_cannot_speak_for_real_servers(two_armed: RunningLab) -> None:
    lab = two_armed
    with udp_session(lab) as (client, local, real_server), IdleSessions(lab, 20) as idle:
        tcp_rows = [row for row in sessions(lab) if row["protocol"] == "TCP"]
        assert len(tcp_rows) == 20
        resets = [tcp(packed(row["destination"]), packed(row["local"]), "R", seq=5) for row in tcp_rows]
        before = dropped(lab)
        inject(lab, "client", [*resets, udp(packed(real_server), packed(local), b"forged")])
        expect_dropped(lab, before, 21)
        assert {row["state"] for row in sessions(lab) if row["protocol"] == "TCP"} == {"ESTABLISHED"}
        role = {RS1: "rs1", RS2: "rs2"}[real_server.partition(":")[0]]
        inject(lab, role, [udp(packed(real_server), packed(local), b"from the server side")])
        assert client.recv(2048) == b"from the server side", "and nothing before it"
        idle.stop()


def test_a_stranger_on_the_same_network_cannot_speak_for_real_servers(one_armed: RunningLab) -> None:
    """One-armed, only the source tells the sides: nobody but a real server's address comes through to a local address."""
    lab = one_armed
    with udp_session(lab) as (client, local, real_server):
        before = dropped(lab)
        port = int(real_server.rpartition(":")[2])
        inject(lab, "client", [udp(endpoint("198.51.100.2", port), packed(local), b"forged")])
        expect_dropped(lab, before, 1)
        role = {RS1: "rs1", RS2: "rs2"}[real_server.partition(":")[0]]
        inject(lab, role, [udp(packed(real_server), packed(local), b"from the server side")])
        assert client.recv(2048) == b"from the server side", "and nothing before it"


def test_clients_are_served_and_a_real_server_can_be_a_client(either_lab: RunningLab) -> None:
    lab = either_lab
    add_routes(lab)
    for role in ("client", "rs1", "rs2"):
        outcome = lab.script(role, "http_load.py", "40", "4")
        assert (outcome["ok"], outcome["errors"]) == (40, {}), role
        assert lab.script(role, "udp_ask.py", "8") == {"answered": 8}, role


def test_a_real_server_cannot_speak_for_clients(two_armed: RunningLab) -> None:
    lab = two_armed
    vip, before = endpoint(lab.vip, lab.port), dropped(lab)
    inject(lab, "rs1", [tcp(endpoint("198.51.100.2", 7000), vip, "S", seq=5), udp(endpoint("198.51.100.2", 7000), vip, b"?")])
    expect_dropped(lab, before, 2)
    assert sessions(lab) == []


def test_sources_that_nobody_has_open_no_session(either_lab: RunningLab) -> None:
    lab = either_lab
    vip = endpoint(lab.vip, lab.port)
    sources = [*NOBODY, GATEWAY, "192.0.2.1", lab.vip, LOCAL_ADDRESS]
    if "client0" in lab.run("gateway", "ip", "link"):
        sources += [RS1, RS2]
    before = dropped(lab)
    for source in sources:
        forged = endpoint(source, 7000)
        inject(lab, "client", [tcp(forged, vip, "S", seq=5), udp(forged, vip, b"?")])
    expect_dropped(lab, before, 2 * len(sources))
    assert sessions(lab) == []
    with udp_session(lab):
        assert len(sessions(lab)) == 1, "a client that exists opens one"


def test_two_real_servers_do_not_answer_each_other_for_ever(either_lab: RunningLab) -> None:
    """A datagram from the client network says that it comes from the UDP port of a real server. The other one would answer it to
    the first, which would answer that through the VIP, and so on."""
    lab = either_lab
    add_routes(lab)
    before, vip = dropped(lab), endpoint(lab.vip, lab.port)
    inject(lab, "client", [udp(endpoint(address, SERVICE_PORT), vip, b"?") for address in (RS1, RS2)])
    expect_dropped(lab, before, 2)
    assert sessions(lab) == []


def reaches(lab: RunningLab, role: str, packets: Sequence[bytes], sender: str = "client") -> dict[bytes, bytes]:
    """Send packets by the gateway; those that arrive at a real server before one that comes through the VIP, by their last eight
    bytes."""

    def listening() -> socket.socket:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_TYPE_IP))
        opened.bind(("eth0", ETH_TYPE_IP))
        opened.settimeout(20)
        return opened

    with namespaces.call_inside(lab.namespace(role), listening) as wire:
        inject(lab, sender, packets)
        the_end = os.urandom(8)
        for _ in range(2):  # each from a port of its own: the real servers have their turns
            with namespaces.call_inside(
                lab.namespace("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            ) as client:
                client.sendto(the_end, (lab.vip, lab.port))
        seen = dict[bytes, bytes]()
        while not (packet := wire.recv(2048)).endswith(the_end):
            seen[packet[-8:]] = packet
        return seen


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
def test_the_way_around_the_gateway(is_open: bool, tmp_path: Path) -> None:
    """Closed unless the configuration opens it: to a real server, with and without a service, and to a local address."""
    config = tmp_path / "lvs.toml"
    config.write_text(CONFIG.read_text().replace("[gateway]\n", f"[gateway]\ndirect_access = {str(is_open).lower()}\n"))
    for lab in running_lab("--config", str(config), "--shards", "1"):
        add_routes(lab)
        stranger = endpoint("198.51.100.2", 7000)
        direct = [udp(stranger, endpoint(RS1, port), b"direct%02d" % place) for place, port in enumerate((SERVICE_PORT, 9))]
        assert lab.script("client", "udp_ask.py", "4") == {"answered": 4}, "all neighbours are known from here on"
        before = dropped(lab)
        expected = {b"direct00", b"direct01"} if is_open else set()
        assert reaches(lab, "rs1", direct).keys() == expected
        inject(lab, "client", [tcp(stranger, endpoint(LOCAL_ADDRESS, 6000), "S", seq=5)])
        if not is_open:
            expect_dropped(lab, before, 3)


def client_options(raw: bytes) -> bytes:
    """The options of a segment, whose checksums are right."""
    read_tcp(raw)
    return raw[40 : 20 + (raw[32] >> 4) * 4]


@pytest.fixture
def open_lab(tmp_path: Path) -> Iterator[RunningLab]:
    """A lab in which the way around the gateway is open."""
    config = tmp_path / "lvs.toml"
    config.write_text(CONFIG.read_text().replace("[gateway]\n", "[gateway]\ndirect_access = true\n"))
    yield from running_lab("--config", str(config), "--shards", "1")


@pytest.mark.parametrize("sender", ["client", "rs2"])
def test_past_the_services_nobody_writes_a_client_option(open_lab: RunningLab, sender: str) -> None:
    """Neither a client, where the way around is open, nor a host on the server side: one option is overwritten, and what could
    hide one is dropped. The rules follow `fullnat_toa_kind`."""
    lab = open_lab
    add_routes(lab)
    assert lab.script("client", "udp_ask.py", "4") == {"answered": 4}, "all neighbours are known from here on"
    stranger, rs1 = endpoint("198.51.100.2" if sender == "client" else RS2, 7000), endpoint(RS1, SERVICE_PORT)
    claim, nops, mss = b"\xfe\x08" + (9999).to_bytes(2, "big") + bytes((9, 9, 9, 9)), b"\1" * 8, b"\2\4\5\xb4"
    other = b"\xfd" + claim[1:]

    def syn(mark: bytes, options: bytes) -> bytes:
        return tcp(stranger, rs1, "S", seq=5, options=options, data=mark)

    forged = [
        syn(b"without.", mss),
        syn(b"one.....", mss + claim),
        syn(b"another.", other),
        syn(b"two.....", claim + claim),
        syn(b"a decoy.", b"\xfe\2\1\1" + claim),
        *fragments(syn(b"in.parts", claim), 24),
    ]
    arrived = {mark: client_options(packet) for mark, packet in reaches(lab, "rs1", forged, sender).items() if b"." in mark}
    assert arrived == {b"without.": mss, b"one.....": mss + nops, b"another.": other}
    lab.wait_until("all are counted", lambda: lab.counter("queues", "forged_client_options") == 4)
    lab.set_tunable("fullnat_toa_kind", 0xFD)
    arrived = reaches(lab, "rs1", [syn(b"other...", other), syn(b"of old..", claim)], sender)
    assert (client_options(arrived[b"other..."]), client_options(arrived[b"of old.."])) == (nops, claim)


def test_nobody_outside_can_reckon_which_shard_a_port_leads_to(two_armed: RunningLab) -> None:
    """The rules have a seed of the gateway's own, the same for packets and for errors about them; not the one of the manual."""
    rules = two_armed.run("gateway", "nft", "list", "table", "ip", "appliance")
    seeds = set(re.findall(r"jhash .* mod 256 seed (0x[0-9a-f]+)", rules))
    assert len(seeds) == 1
    assert seeds != {f"{HASH_SEED:#x}"}


def test_a_real_server_that_a_reload_adds_is_on_the_server_side(two_armed: RunningLab) -> None:
    lab = two_armed
    lab.run("rs1", "ip", "address", "add", "192.0.2.150/24", "dev", "eth0")
    command = [sys.executable, "-m", "appliance.lab.udp_server", "--name", "new", "--listen", "192.0.2.150:8080"]
    with subprocess.Popen(lab.enter("rs1", *command)) as server:
        lab.wait_until("it listens", lambda: "192.0.2.150:8080" in lab.run("rs1", "ss", "-Huln"))
        text = CONFIG.read_text()
        head, echo = text.split('[[service]]\nname = "echo"')
        new = '\n[[service.real_server]]\naddress = "192.0.2.150"\nport = 8080\n'
        only_new = echo.split("[[service.real_server]]")[0] + new
        assert outcome(reload(lab, head + '[[service]]\nname = "echo"' + only_new)).startswith("configuration read again")
        assert lab.script("client", "udp_ask.py", "8") == {"answered": 8}
        server.terminate()
    reload(lab, CONFIG.read_text())
    lab.run("rs1", "ip", "address", "delete", "192.0.2.150/24", "dev", "eth0")


def resets_sent(lab: RunningLab) -> int:
    """RST segments that the TCP of the gateway's host has sent."""
    names, numbers = (
        line.split() for line in lab.run("gateway", "cat", "/proc/net/snmp").splitlines() if line.startswith("Tcp:")
    )
    return int(numbers[names.index("OutRsts")])


def loaded(lab: RunningLab) -> list[str]:
    """The lines of the appliance's rules that are loaded. A flush changes the order of tables and chains."""
    tables = "nft -s list table ip appliance; nft -s list table ip raw 2> /dev/null; true"
    return sorted(lab.run("gateway", "sh", "-c", tables).splitlines())


DAMAGES = {
    "the table is emptied": "nft flush table ip appliance",
    "the ruleset is flushed": "nft flush ruleset",
    "the queues are emptied": "nft list table ip raw > /dev/null 2>&1 && iptables-nft -t raw -F APPLIANCE || true",
    "one rule is gone": "nft flush chain ip appliance to_local_address",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_sessions_survive_when_somebody_removes_the_rules(two_armed: RunningLab, damage: str) -> None:
    """Established sessions are not reset, new ones are not refused, and the rules are what they were, all within a moment."""
    lab = two_armed
    before = loaded(lab)
    with IdleSessions(lab, 60) as idle, lab.start("client", "http_load.py", "6000", "16") as load:
        for _ in range(3):
            lab.run("gateway", "sh", "-c", damage)
            lab.wait_until("the rules are what they were", lambda: loaded(lab) == before)
        out, _ = load.communicate()
        assert json.loads(out)["errors"] == {}
        assert list(idle.stop().values()) == ["alive"] * 60
    lab.wait_until("it is content", lambda: lab.api("/healthz") == "ok\n")


def guard(lab: RunningLab) -> str:
    return lab.run("gateway", "nft", "list", "table", "ip", "appliance_guard")


def test_the_host_does_not_answer_while_nobody_can_put_the_rules_back(fresh_two_armed: RunningLab) -> None:
    """The director is stopped, so the rules stay away. The guard lives in a process of its own."""
    lab = fresh_two_armed
    pid = director_pid(lab)
    with IdleSessions(lab, 10) as idle:
        (local, *_) = (row["local"] for row in sessions(lab))
        before = resets_sent(lab)
        os.kill(pid, signal.SIGSTOP)
        try:
            lab.run("gateway", "nft", "flush", "ruleset")
            assert "appliance_guard" in lab.run("gateway", "nft", "list", "tables")
            strangers = [tcp(endpoint("198.51.100.2", 7000), endpoint(lab.vip, lab.port), "A", seq=5)]
            inject(lab, "client", strangers)
            inject(lab, "rs1", [tcp(endpoint(RS1, 7000), packed(local), "A", seq=5)])
            lab.wait_until("both are at the guard", lambda: guard(lab).count("counter packets 1 ") == 2)
            sent = resets_sent(lab)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert sent == before
        assert set(idle.stop().values()) == {"alive"}
    lab.wait_until("the table is back", lambda: "chain shard0" in lab.run("gateway", "nft", "list", "ruleset"))


def test_what_a_shard_leaves_to_the_host_passes_the_guard(two_armed: RunningLab) -> None:
    """With the defence switched off, the host answers: the guard is for packets that no shard has seen."""
    lab = two_armed
    before = resets_sent(lab)
    with lab.changed(defence_tcp_drop=0):
        inject(lab, "client", [tcp(endpoint("198.51.100.2", 7000), endpoint(lab.vip, lab.port), "A", seq=5)])
        lab.wait_until("the host answers with RST", lambda: resets_sent(lab) == before + 1)


@pytest.mark.parametrize(("address", "interface"), [("203.0.113.10", "client0"), (LOCAL_ADDRESS, "server0")])
def test_an_address_that_vanishes_is_put_back(two_armed: RunningLab, address: str, interface: str) -> None:
    lab = two_armed
    lab.run("gateway", "ip", "address", "delete", f"{address}/32", "dev", interface)
    lab.wait_until("it is back", lambda: f"{address}/32" in lab.run("gateway", "ip", "-o", "address", "show", "dev", interface))
    assert lab.script("client", "http_load.py", "20", "4")["errors"] == {}


@pytest.fixture
def unmanaged(tmp_path: Path) -> Iterator[RunningLab]:
    """A lab in which another program adds the addresses."""
    config = tmp_path / "lvs.toml"
    config.write_text(CONFIG.read_text().replace("[gateway]\n", "[gateway]\nmanage_addresses = false\n"))
    yield from running_lab("--config", str(config), "--shards", "1")


def test_an_address_of_another_program_that_vanishes_is_reported(unmanaged: RunningLab) -> None:
    lab = unmanaged
    assert lab.api_json("/healthz")["missing_addresses"] == []
    lab.run("gateway", "ip", "address", "delete", f"{lab.vip}/32", "dev", "client0")
    lab.wait_until("it is reported", lambda: lab.api_json("/healthz")["missing_addresses"] == [lab.vip])
    lab.run("gateway", "ip", "address", "add", f"{lab.vip}/32", "dev", "client0")
    lab.wait_until("it is no more", lambda: lab.api_json("/healthz")["missing_addresses"] == [])
