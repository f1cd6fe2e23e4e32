"""Clients and real servers behind SYNPROXY that a test with well-behaved ones never shows: each is served, or hears that it is
not; nobody is left in silence."""

import itertools
import random
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

import dpkt
import pytest

from appliance.lab import namespaces
from appliance.wire.flow import destination_of, pack_endpoint, source_of
from tests.lab.capture import Capture
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.leaving import leave_in_close_wait, leave_in_fin_wait, leave_in_last_ack, leave_in_time_wait
from tests.lab.raw_client import RawClient, raw_addresses
from tests.lab.segment_client import ConnectionFailed, SegmentClient, SegmentConnection
from tests.lab.shipped_config import with_synproxy
from tests.support.segments import tcp, udp

CLIENT, ODD_CLIENT = "198.51.100.2", "198.51.100.97"
REAL_SERVERS = ("rs1", "rs2")
PORTS = itertools.count(3000)
"""Ports of the odd client. Each test uses its own."""

KERNEL_PORTS = itertools.count(21_000)
ANSWER_TIMEOUT_S = 60.0
"""Longer than any answer takes: it only ends a test that failed."""

REQUEST = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config: Path = tmp_path_factory.mktemp("attacks-synproxy") / "lvs.toml"
    config.write_text(with_synproxy("true"))
    for lab in running_lab("--config", str(config), "--shards", "2"):
        with raw_addresses(lab, ODD_CLIENT):
            yield lab


@pytest.fixture(scope="module")
def client(lab: RunningLab) -> Iterator[SegmentClient]:
    client = SegmentClient(lab, ODD_CLIENT)
    yield client
    client.close()


def as_client(lab: RunningLab, use: Callable[[tuple[str, int]], bytes]) -> bytes:
    """Use the service from the client's namespace, with its kernel's TCP."""
    return namespaces.call_inside(lab.namespace("client"), partial(use, (lab.vip, lab.port)))


# An ACK storm


@pytest.mark.parametrize("last", ["FA", "RA"])
def test_a_storm_of_acknowledgements_does_not_swallow_the_end(lab: RunningLab, client: SegmentClient, last: str) -> None:
    """The end has the numbers of the acknowledgements before it."""
    connection = SegmentConnection(client, next(PORTS))
    storms = lab.counter("ext", "synproxy_ack_storm")
    with ExitStack() as stack:
        captures = {role: stack.enter_context(Capture(lab, role)) for role in REAL_SERVERS}
        connection.open()
        connection.ask("/")
        connection.wait_until(lambda so_far: so_far.received.endswith(b"}"))
        connection.send("A")
        lab.wait_until("the answer is acknowledged, so that nobody sends it again", lambda: not unacknowledged(lab))
        heard = {role: [packet for packet in capture.take() if packet.is_outgoing] for role, capture in captures.items()}
    ((role, said),) = [(role, packets) for role, packets in heard.items() if packets]
    answer = next(packet for packet in reversed(said) if packet.payload_bytes)
    seq, ack = (int.from_bytes(answer.raw[start : start + 4], "big") for start in (24, 28))
    here, there = source_of(answer.raw[12:24]), destination_of(answer.raw[12:24])
    client.forget_arrived()
    sender = namespaces.call_inside(lab.namespace(role), raw_socket)
    for flags in ["A"] * 15 + [last]:
        packet = tcp(here, there, flags, seq=(seq + answer.payload_bytes) % 2**32, ack=ack, window=500)
        sender.sendto(packet, (socket.inet_ntoa(there[:4]), 0))
    sender.close()
    arrived: list[str] = []
    while last not in arrived:
        segment = client.receive(ANSWER_TIMEOUT_S)
        assert segment is not None, f"only {arrived} arrived"
        arrived.append(segment.flags)
    assert arrived == ["A"] * 10 + [last]
    lab.wait_until("five were dropped", lambda: lab.counter("ext", "synproxy_ack_storm") - storms == 5)
    connection.send("RA")


def unacknowledged(lab: RunningLab) -> int:
    """Bytes that real servers have sent on connections that are open, and may send again."""
    listed = "".join(lab.run(role, "ss", "-Htn", "state", "established") for role in REAL_SERVERS)
    return sum(int(line.split()[1]) for line in listed.splitlines())


def raw_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


# A client that comes back


class Left(NamedTuple):
    """A way to leave a connection, and the tunable that lets the next one take its place."""

    state: str
    switch: str
    leave: Callable[[SegmentConnection], None]


LEFT = (
    Left("FIN_WAIT", "synproxy_conn_reuse_fin_wait", leave_in_fin_wait),
    Left("CLOSE_WAIT", "synproxy_conn_reuse_close_wait", leave_in_close_wait),
    Left("LAST_ACK", "synproxy_conn_reuse_last_ack", leave_in_last_ack),
)


def asked(client: SegmentClient, port: int, isn: int | None = None, *, resets_strays: bool = True) -> SegmentConnection:
    """A new connection whose request was answered. Raises ConnectionFailed when it was not."""
    connection = SegmentConnection(client, port)
    if isn is not None:
        connection._seq = isn
    connection.open(resets_strays=resets_strays)
    connection.ask("/")
    connection.wait_until(lambda so_far: so_far.received.endswith(b"}"))
    return connection


def state_of(lab: RunningLab, port: int) -> str:
    (row,) = [row for row in lab.api_json("/stats/ip_vs_conn") if row["source"] == f"{ODD_CLIENT}:{port}"]
    return str(row["state"])


@pytest.mark.parametrize("left", LEFT, ids=lambda left: left.state)
def test_a_client_that_comes_back_is_reset_or_served(lab: RunningLab, client: SegmentClient, left: Left) -> None:
    port = next(PORTS)
    old = SegmentConnection(client, port)
    old.open()
    left.leave(old)
    lab.wait_until("it is left", lambda: state_of(lab, port) == left.state)
    before = lab.counter("queues", "new_connections_reset")
    with pytest.raises(ConnectionFailed, match="the connection was reset"):
        asked(client, port, resets_strays=False)  # the old one has to last
    lab.wait_until("both of its packets are counted", lambda: lab.counter("queues", "new_connections_reset") == before + 2)
    assert state_of(lab, port) == left.state
    with lab.changed(**{left.switch: 1}):
        connection = asked(client, port)
    assert connection.received.startswith(b"HTTP/1.1 200 ")
    connection.send("RA")


def test_a_kernel_that_lost_its_half_closed_connection_is_told(lab: RunningLab) -> None:
    """Its first connection was closed by the server, and ends without a packet, as after a power failure."""
    port, before = next(KERNEL_PORTS), fin_wait_2(lab)

    def closed_by_the_server(service: tuple[str, int]) -> bytes:
        with connected(service, port) as conn:
            conn.sendall(REQUEST.replace(b"/ ", b"/?close=1 "))
            answer = read_to_the_end(conn)
            lab.wait_until("the FIN is acknowledged", lambda: bool(fin_wait_2(lab) - before))
            lab.run("client", "nft", POWER_FAILURE)
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        lab.run("client", "nft", "delete", "table", "ip", "own")
        return answer

    def once_more(service: tuple[str, int]) -> bytes:
        with connected(service, port) as conn:
            conn.sendall(REQUEST.replace(b"/ ", b"/?close=1 "))
            return read_to_the_end(conn)

    assert as_client(lab, closed_by_the_server).startswith(b"HTTP/1.1 200 ")
    with pytest.raises(ConnectionResetError):
        as_client(lab, once_more)
    with lab.changed(synproxy_conn_reuse_fin_wait=1):
        assert as_client(lab, once_more).startswith(b"HTTP/1.1 200 ")


POWER_FAILURE = """
table ip own {
    chain output {
        type filter hook output priority filter
        ip daddr 203.0.113.10 tcp flags & rst == rst drop
    }
}
"""


def fin_wait_2(lab: RunningLab) -> set[str]:
    """The connections of real servers in this state. One that an earlier test has left may go at any time."""
    return {line for role in REAL_SERVERS for line in lab.run(role, "ss", "-Htn", "state", "fin-wait-2").splitlines()}


def connected(service: tuple[str, int], port: int) -> socket.socket:
    conn = socket.socket()
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    conn.settimeout(ANSWER_TIMEOUT_S)
    try:
        conn.bind(("", port))
        conn.connect(service)
    except OSError:
        conn.close()
        raise
    return conn


def read_to_the_end(conn: socket.socket) -> bytes:
    answer = b""
    while piece := conn.recv(1 << 16):
        answer += piece
    return answer


def test_the_same_sequence_number_again_is_a_new_connection(lab: RunningLab, client: SegmentClient) -> None:
    """Within a minute the client gets the same cookie again."""
    port, isn = next(PORTS), random.getrandbits(32)
    before = lab.counter("ext", "synproxy_conn_reused_timewait")
    for _ in range(20):
        connection = SegmentConnection(client, port)
        connection._seq = isn
        connection.open()
        leave_in_time_wait(connection)
        assert connection.received.startswith(b"HTTP/1.1 200 ")
        lab.wait_until("it is in TIME_WAIT", lambda: state_of(lab, port) == "TIME_WAIT")
    lab.wait_until("all are counted", lambda: lab.counter("ext", "synproxy_conn_reused_timewait") - before == 19)


def test_a_client_that_waits_with_its_first_data_keeps_its_connection(lab: RunningLab) -> None:
    """Its kernel sends keepalive probes, and would give up after the second without an answer."""
    before = lab.counter("drops", "keepalive_answered")

    def wait_and_ask(service: tuple[str, int]) -> bytes:
        with socket.socket() as conn:
            conn.settimeout(ANSWER_TIMEOUT_S)
            for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2)):
                conn.setsockopt(socket.IPPROTO_TCP, option, value)
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            conn.connect(service)
            lab.wait_until("four probes were answered", lambda: lab.counter("drops", "keepalive_answered") >= before + 4)
            conn.sendall(REQUEST.replace(b"/ ", b"/?close=1 "))
            return read_to_the_end(conn)

    assert as_client(lab, wait_and_ask).startswith(b"HTTP/1.1 200 ")


# What a client is told


def test_a_client_with_a_small_mss_may_send_more(lab: RunningLab) -> None:
    """It cannot receive more than 536 bytes in a segment, and uploads in larger ones."""
    with RawClient(lab, ODD_CLIENT, next(PORTS)) as client, ExitStack() as stack:
        captures = [stack.enter_context(Capture(lab, role)) for role in REAL_SERVERS]
        client.send("S", options=bytes.fromhex("02040218"))
        answered = dict(dpkt.tcp.parse_opts(client.receive("S").opts))
        client.send("A")
        assert client.ask()["client"] == client.name
        arrived = (packet for capture in captures for packet in capture.take_arrived())
        # One that is sent again, on a slow machine, is as it was.
        (syn,) = {packet.raw[12:]: packet for packet in arrived if packet.flags & dpkt.tcp.TH_SYN}.values()
    assert answered == {dpkt.tcp.TCP_OPT_MSS: (1452).to_bytes(2, "big")}
    assert syn.options[dpkt.tcp.TCP_OPT_MSS] == (536).to_bytes(2, "big")


def test_a_real_server_behind_a_filter_that_rejects_is_a_refusal(lab: RunningLab) -> None:
    """ICMP "port unreachable" is what a filter rejects with unless told otherwise."""
    errors, silent = lab.counter("ext", "synproxy_rs_error"), lab.counter("queues", "handshakes_failed")

    def ask(service: tuple[str, int]) -> bytes:
        with connected(service, next(KERNEL_PORTS)) as conn:
            conn.sendall(REQUEST)
            return conn.recv(1)

    for role in REAL_SERVERS:
        lab.run(role, "nft", REJECTING)
    try:
        with pytest.raises(ConnectionResetError):
            as_client(lab, ask)
    finally:
        for role in REAL_SERVERS:
            lab.run(role, "nft", "delete", "table", "ip", "own")
    lab.wait_until("it is counted", lambda: lab.counter("ext", "synproxy_rs_error") == errors + 1)
    assert lab.counter("queues", "handshakes_failed") == silent, "the client did not have to wait for all retries"
    assert as_client(lab, ask) == b"H"


REJECTING = """
table ip own {
    chain input {
        type filter hook input priority filter
        tcp flags & (syn | ack) == syn reject
    }
}
"""


@pytest.mark.parametrize("ttl", [1, 2, 64])
def test_a_udp_traceroute_ends_at_the_vip_when_the_defence_allows(lab: RunningLab, client: SegmentClient, ttl: int) -> None:
    def probe() -> None:
        source, destination = (pack_endpoint(IPv4Address(address), 33_434) for address in (ODD_CLIENT, lab.vip))
        client.forget_arrived()
        with namespaces.call_inside(lab.namespace("client"), raw_socket) as sender:
            sender.sendto(udp(source, destination, bytes(32), ttl=ttl), (lab.vip, 0))

    dropped = lab.counter("ext", "defence_udp_drop")
    probe()
    lab.wait_until("it is dropped", lambda: lab.counter("ext", "defence_udp_drop") == dropped + 1)
    assert client.receive_packet(0.1) is None
    with lab.changed(defence_udp_drop=0):
        probe()
        answer = client.receive_packet(ANSWER_TIMEOUT_S)
    assert answer is not None
    assert (answer[9], answer[20:22], answer[12:16]) == (socket.IPPROTO_ICMP, b"\x03\x03", IPv4Address(lab.vip).packed)
