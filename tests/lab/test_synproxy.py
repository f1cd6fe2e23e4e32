"""SYNPROXY between the TCP stacks of two hosts: everything that works without it works through it."""

import itertools
import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

import dpkt
import pytest

from appliance.lab import namespaces
from appliance.model.syn_cookie import ADVERTISED_SCALE
from appliance.wire.flow import pack_endpoint
from appliance.wire.layout import MOST_WINDOW
from appliance.wire.seq import MASK as SEQ_MASK
from tests.lab.capture import Capture, Captured
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import reload
from tests.lab.kernel_settings import kernel_setting
from tests.lab.loss_rules import tcp_ext
from tests.lab.programs.greeting_server import GREETING
from tests.lab.raw_client import MSS_1460, NOP, RawClient, raw_addresses
from tests.lab.segment_client import SegmentClient
from tests.support.segments import tcp

REAL_SERVERS = ("rs1", "rs2")
RAW_ADDRESS = "198.51.100.96"
RAW_PORTS = itertools.count(2000)
"""Ports of the client. Each is used once, so that no connection belongs to the session of an earlier one."""

SHARDS = 2

ANSWER_TIMEOUT_S = 60.0
"""Longer than any answer takes: it only ends a test that failed."""
MIB, GIB = 1 << 20, 1 << 30

PROXIED, PLAIN, AUTO, MAIL, DEFERRED_MAIL = 80, 8000, 8001, 2525, 2526
"""Ports of the services on the VIP."""

HTTP, GREETER = 8080, 2525
"""Ports of the real servers."""

MSS, SCALE, SACK_PERMITTED, TOA = dpkt.tcp.TCP_OPT_MSS, dpkt.tcp.TCP_OPT_WSCALE, dpkt.tcp.TCP_OPT_SACKOK, 254


def configuration(mail_server_port: int) -> str:
    """The shipped network with all services. The lab runs an HTTP server on every port of its first configuration."""
    shipped = (Path(__file__).parents[2] / "etc" / "lvs.toml").read_text()
    services = (
        service("proxied", PROXIED, HTTP, "synproxy = true"),
        service("plain", PLAIN, HTTP),
        service("auto", AUTO, HTTP, 'synproxy = "auto"'),
        service("mail", MAIL, mail_server_port, "synproxy = true", "synproxy_defer = 0"),
        service("deferred-mail", DEFERRED_MAIL, mail_server_port, "synproxy = true"),
    )
    return shipped.partition("[[service]]")[0] + "".join(services)


def service(name: str, port: int, server_port: int, *lines: str) -> str:
    head = f'\n[[service]]\nname = "{name}"\nvip = "203.0.113.10"\nport = {port}\n' + "".join(f"{line}\n" for line in lines)
    return head + "".join(
        f'\n[[service.real_server]]\naddress = "{address}"\nport = {server_port}\n' for address in ("192.0.2.101", "192.0.2.102")
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = tmp_path_factory.mktemp("synproxy") / "lvs.toml"
    config.write_text(configuration(mail_server_port=HTTP))
    yield from running_lab("--config", str(config), "--shards", str(SHARDS))


def at_port(lab: RunningLab, port: int) -> RunningLab:
    """The same lab, whose programs and clients use the service at another port."""
    return RunningLab(lab.environment | {"LAB_PORT": str(port)})


class Totals:
    """By how much counters have grown since this was made."""

    def __init__(self, lab: RunningLab, view: str) -> None:
        self._lab, self._view = lab, view
        self._before = self._now()

    def _now(self) -> dict[str, int]:
        return self._lab.totals(self._view)

    def growth(self, *names: str) -> tuple[int, ...]:
        now = self._now()
        return tuple(now[name] - self._before[name] for name in names)

    def wait_for(self, name: str, growth: int) -> None:
        """Wait until the counter has grown by so much; shards publish their counters a little later."""
        self._lab.wait_until(f"{name} has moved by {growth}", lambda: self.growth(name) >= (growth,))


@pytest.mark.parametrize("timestamps", ["0", "1"])
def test_ten_thousand_short_connections(lab: RunningLab, timestamps: str) -> None:
    """One cookie for each SYN the client sent, one session for each cookie, and its own address for each client."""
    ext, drops, syns_again = Totals(lab, "ext"), Totals(lab, "drops"), tcp_ext(lab, "client")["TCPSynRetrans"]
    with kernel_setting(lab, ("client",), "net.ipv4.tcp_timestamps", timestamps):
        result = lab.script("client", "http_load.py", "10000", "32")
    syns_again = tcp_ext(lab, "client")["TCPSynRetrans"] - syns_again
    assert (result["errors"], result["clients"]) == ({}, {"right": 10_000})
    assert set(result["real_servers"]) == set(REAL_SERVERS)
    ext.wait_for("synproxy_ok_ack", 10_000)
    ext.wait_for("synproxy_syn_cnt", 10_000 + syns_again)
    assert ext.growth("synproxy_ok_ack", "synproxy_syn_cnt", "synproxy_rs_error") == (10_000, 10_000 + syns_again, 0)
    refusals = ("no_real_server", "no_local_address", "local_ports_exhausted", "syn_backlog_full", "bad_cookie", "internal_error")
    assert not any(drops.growth(*refusals))


@pytest.mark.parametrize("direction", ["upload", "download"])
def test_a_gibibyte_arrives_whole(lab: RunningLab, direction: str) -> None:
    result = lab.script("client", "bulk.py", direction, str(GIB))
    assert result["got"] == result["expected"]


class Advertised(NamedTuple):
    """What a server advertised in one upload, in its own packets and in those that its client got: bytes acknowledged, window."""

    server_scale: int
    by_server: Counter[tuple[int, int]]
    to_client: Counter[tuple[int, int]]


def upload(lab: RunningLab, count: int) -> Advertised:
    with Capture(lab, "client") as at_client, Capture(lab, "rs1") as at_rs1, Capture(lab, "rs2") as at_rs2:
        result = lab.script("client", "bulk.py", "upload", str(count))
        arrived = at_client.take_arrived()
        sent = [packet for packet in at_rs1.take() + at_rs2.take() if packet.is_outgoing]
    assert result["got"] == result["expected"]
    syn_ack = next(packet for packet in sent if packet.flags & dpkt.tcp.TH_SYN)
    cookie = next(packet for packet in arrived if packet.flags & dpkt.tcp.TH_SYN)
    assert cookie.options[SCALE] == bytes((ADVERTISED_SCALE,))
    return Advertised(syn_ack.options.get(SCALE, b"\0")[0], said_after(syn_ack, sent), said_after(cookie, arrived))


def said_after(syn_ack: Captured, packets: list[Captured]) -> Counter[tuple[int, int]]:
    """Acknowledgements up to the answer to the upload, without their order: in a kernel with two cores, neighbours may change
    places."""
    first, others = acknowledged(syn_ack), [packet for packet in packets if not packet.flags & dpkt.tcp.TH_SYN]
    said = [(acknowledged(packet) - first & SEQ_MASK, int.from_bytes(packet.raw[34:36], "big")) for packet in others]
    whole = max(count for (count, _), packet in zip(said, others, strict=True) if packet.payload_bytes)
    return Counter((count, window) for count, window in said if count <= whole)


def acknowledged(packet: Captured) -> int:
    return int.from_bytes(packet.raw[28:32], "big")


@pytest.mark.parametrize(
    ("setting", "value", "server_scale"),
    [
        pytest.param("tcp_rmem", "4096 131072 67108864", 11, id="a larger shift than the client was promised"),
        pytest.param("tcp_rmem", "4096 131072 6291456", 7, id="the same shift"),
        pytest.param("tcp_window_scaling", "0", 0, id="no window scaling at all"),
    ],
)
def test_a_client_sees_the_windows_its_server_advertises(lab: RunningLab, setting: str, value: str, server_scale: int) -> None:
    """The client was promised another scale than that of the server: it would misread windows in the scale of the server."""
    with kernel_setting(lab, REAL_SERVERS, f"net.ipv4.{setting}", value):
        seen = upload(lab, 64 * MIB)
    assert seen.server_scale == server_scale
    expected: Counter[tuple[int, int]] = Counter()
    for (count, window), times in seen.by_server.items():
        expected[count, min(window << server_scale >> ADVERTISED_SCALE, MOST_WINDOW)] += times
    assert seen.to_client == expected
    largest_bytes = max(window for _, window in seen.to_client) << ADVERTISED_SCALE
    assert (largest_bytes > 1 << 16) == bool(server_scale), "the window grows, where it can"


@pytest.fixture(scope="module")
def mail_lab(lab: RunningLab) -> Iterator[RunningLab]:
    """The lab, with servers that speak first behind the mail services."""
    with ExitStack() as stack:
        servers = [stack.enter_context(lab.start(role, "greeting_server.py", str(GREETER))) for role in REAL_SERVERS]
        for server in servers:
            assert server.stdout is not None
            assert server.stdin is not None
            stack.callback(server.stdin.close)
            assert server.stdout.readline() == "ready\n"
        reload(lab, configuration(mail_server_port=GREETER))
        yield lab


@pytest.mark.parametrize(
    ("port", "defer", "is_greeted"),
    [
        pytest.param(MAIL, 1, True, id="the service overrides the tunable"),
        pytest.param(DEFERRED_MAIL, 1, False, id="deferred"),
        pytest.param(DEFERRED_MAIL, 0, True, id="the tunable alone"),
    ],
)
def test_a_server_that_speaks_first(mail_lab: RunningLab, port: int, defer: int, is_greeted: bool) -> None:
    """Without defer, the client gets the greeting. With defer, the server does not know of its client until that sends data: then
    the client gets the greeting and the answer."""
    greeting, answer = GREETING.decode(), "250 hello\r\n"
    with mail_lab.changed(synproxy_defer=defer):
        said = at_port(mail_lab, port).script("client", "greeted.py", "16", "60" if is_greeted else "1")
    expected = (greeting, answer) if is_greeted else ("", greeting + answer)
    assert [(each["unasked"], each["asked"]) for each in said] == [expected] * 16


@pytest.mark.parametrize(
    ("options", "answered", "shown"),
    [
        pytest.param(b"", {}, {MSS: 536}, id="none"),
        pytest.param(bytes.fromhex("220a0102030405060708 fe08d431c0000201 1e0c008100000000000000ff 0101"), {}, {MSS: 536},
                     id="kinds it does not know, and its own"),
        pytest.param(MSS_1460 + bytes.fromhex("01010408"), {MSS: 1452}, {MSS: 1452}, id="one that is cut off"),
        pytest.param(MSS_1460 + bytes.fromhex("03000402"), {MSS: 1452}, {MSS: 1452}, id="one of length 0"),
        pytest.param(40 * NOP, {}, {MSS: 536}, id="40 bytes of nothing"),
        pytest.param(bytes.fromhex("02040000"), {MSS: 1452}, {MSS: 536}, id="MSS 0"),
        pytest.param(MSS_1460 + bytes.fromhex("0103030f"), {MSS: 1452, SCALE: 7}, {MSS: 1452, SCALE: 14}, id="shift of 15"),
    ],
)  # fmt: skip
def test_a_syn_with_odd_options(lab: RunningLab, options: bytes, answered: dict[int, int], shown: dict[int, int]) -> None:
    """Each client gets its connection. Unknown options are neither echoed to the client nor shown to the real server."""
    with raw_addresses(lab, RAW_ADDRESS), RawClient(lab, RAW_ADDRESS, next(RAW_PORTS)) as client, ExitStack() as stack:
        captures = [stack.enter_context(Capture(lab, role)) for role in REAL_SERVERS]
        client.send("S", options=options)
        syn_ack = client.receive("S")
        client.send("A")
        answer = client.ask()
        syn = next(packet for capture in captures for packet in capture.take_arrived() if packet.flags & dpkt.tcp.TH_SYN)
    assert answer["client"] == client.name
    assert numbers(dict(dpkt.tcp.parse_opts(syn_ack.opts))) == answered
    assert numbers(syn.options) == shown


def numbers(options: dict[int, bytes]) -> dict[int, int]:
    """The values of options other than padding and the client's address."""
    return {kind: int.from_bytes(data, "big") for kind, data in options.items() if kind not in {0, 1, TOA}}


@pytest.mark.parametrize("ip_options", ["01010100", "070b04000000000000000000"], ids=["nothing", "record route"])
def test_ip_options_are_dropped_by_name(lab: RunningLab, ip_options: str) -> None:
    """The same SYN without IP options is answered."""
    drops, ext = Totals(lab, "drops"), Totals(lab, "ext")
    port = next(RAW_PORTS)
    source, destination = pack_endpoint(IPv4Address(RAW_ADDRESS), port), pack_endpoint(IPv4Address(lab.vip), lab.port)
    syn = dpkt.ip.IP(tcp(source, destination, "S", seq=1000))
    syn.opts = bytes.fromhex(ip_options)
    syn.hl, syn.len, syn.sum = 5 + len(syn.opts) // 4, syn.len + len(syn.opts), 0
    with raw_addresses(lab, RAW_ADDRESS):
        with RawClient(lab, RAW_ADDRESS, port) as client, namespaces.call_inside(lab.namespace("client"), raw_socket) as sender:
            sender.sendto(bytes(syn), (lab.vip, 0))
            drops.wait_for("ip_options", 1)
            assert not client.has_heard_something()
        with RawClient(lab, RAW_ADDRESS, port) as client:
            client.connect()
    ext.wait_for("synproxy_syn_cnt", 1)
    assert drops.growth("ip_options") == (1,)
    assert ext.growth("synproxy_syn_cnt") == (1,)


def raw_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


@contextmanager
def half_open(lab: RunningLab, count: int) -> Iterator[SegmentClient]:
    """Send so many SYNs from as many ports, and nothing else. After the block, the sessions they opened end soon."""
    with raw_addresses(lab, RAW_ADDRESS):
        client = SegmentClient(lab, RAW_ADDRESS)
        try:
            for _ in range(count):
                client.send(next(RAW_PORTS), "S", seq=1000)
            yield client
        finally:
            client.close()
            with lab.changed(tcp_timeout_syn_recv=1000):
                lab.wait_until("they are gone", lambda: not in_syn_recv(lab))


def in_syn_recv(lab: RunningLab) -> int:
    return sum(row["state"] == "SYN_RECV" for row in lab.api_json("/stats/ip_vs_conn"))


def cookie_edges_in_log(lab: RunningLab, service_name: str) -> set[str]:
    """The words "began" and "stopped", as far as the log has said them of the SYN cookies of a service."""
    log = (Path(lab.environment["LAB_DIR"]) / "appliance.log").read_text()
    return set(re.findall(rf"service {service_name} (began|stopped) \w+(?: \w+)? with SYN cookies", log))


def engaged(lab: RunningLab) -> set[str]:
    """The services that say so themselves."""
    return {service["name"] for service in lab.api_json("/stats/ip_vs")["services"] if service["engaged"]}


def test_auto_engages_while_too_many_handshakes_are_open(lab: RunningLab) -> None:
    auto, ext, queues = at_port(lab, AUTO), Totals(lab, "ext"), Totals(lab, "queues")
    edges = ("syncookies_engaged", "syncookies_disengaged")
    assert auto.script("client", "http_load.py", "100", "8")["ok"] == 100
    with lab.changed(tcp_max_syn_backlog=16):
        with half_open(auto, 200):
            ext.wait_for("synproxy_syn_cnt", 200 - 16)
            assert ext.growth("synproxy_syn_cnt") == (200 - 16,), "no cookies without need"
            assert in_syn_recv(lab) == 16
            assert auto.script("client", "http_load.py", "300", "8")["clients"] == {"right": 300}
            ext.wait_for("synproxy_ok_ack", 300)
            assert queues.growth(*edges) == (SHARDS, 0)
            lab.wait_until("the service says so", lambda: "auto" in engaged(lab))
        with_cookies = ext.growth("synproxy_ok_ack", "synproxy_null_ack")
        assert auto.script("client", "http_load.py", "300", "4")["clients"] == {"right": 300}
        queues.wait_for("syncookies_disengaged", SHARDS)
    assert queues.growth(*edges) == (SHARDS, SHARDS)
    lab.wait_until("the service says so", lambda: "auto" not in engaged(lab))
    lab.wait_until("the log names the service", lambda: {"began", "stopped"} <= cookie_edges_in_log(lab, "auto"))
    assert not any(cookie_edges_in_log(lab, name) for name in ("proxied", "plain", "mail"))
    assert ext.growth("synproxy_ok_ack", "synproxy_null_ack") == with_cookies


def test_a_surplus_client_is_refused_where_there_are_no_cookies(lab: RunningLab) -> None:
    """The client uses ports without a session: a closing session is replaced by a new connection, however full the backlog is."""
    auto, drops, ext = at_port(lab, AUTO), Totals(lab, "drops"), Totals(lab, "ext")
    with (
        lab.changed(tcp_max_syn_backlog=16, tcp_syncookies=0, tcp_abort_on_overflow=1, conn_early_drop=0),
        kernel_setting(lab, ("client",), "net.ipv4.ip_local_port_range", "10000 19999"),
    ):
        with half_open(auto, 60) as client:
            resets = 0
            while resets < 60 - 16:
                segment = client.receive(ANSWER_TIMEOUT_S)
                assert segment is not None
                resets += segment.flags == "RA"
            assert in_syn_recv(lab) == 16
            result = auto.script("client", "http_load.py", "8", "1")
        assert (result["ok"], result["errors"]) == (0, {"Connection refused": 8})
        assert auto.script("client", "http_load.py", "8", "1")["ok"] == 8, "there is room again"
        drops.wait_for("syn_backlog_full", 60 - 16 + 8)
    assert (drops.growth("syn_backlog_full"), ext.growth("synproxy_syn_cnt")) == ((60 - 16 + 8,), (0,))
