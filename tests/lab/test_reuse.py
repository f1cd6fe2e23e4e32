"""A client uses a port again while the gateway, the real server or both still remember the connection before."""

import http.client
import json
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import pytest

from appliance.lab import namespaces
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.leaving import (
    leave_in_close,
    leave_in_close_wait,
    leave_in_established,
    leave_in_fin_wait,
    leave_in_last_ack,
    leave_in_time_wait,
)
from tests.lab.raw_client import raw_addresses
from tests.lab.segment_client import ConnectionFailed, SegmentClient, SegmentConnection

CLIENT = "198.51.100.2"
ADDRESS_OF_SEGMENTS = "198.51.100.3"

ROUNDS = 1000
LOOKED_AT = 3
"""So many rounds check the state with the API; the others follow as fast as possible."""

FAILURES_MAX = 5
"""After so many failures a test stops, because the rest would only take long."""

CLOSING_TIMEOUTS_MS = {
    "tcp_timeout_fin_wait": 120_000,
    "tcp_timeout_time_wait": 120_000,
    "tcp_timeout_close": 10_000,
    "tcp_timeout_close_wait": 60_000,
    "tcp_timeout_last_ack": 30_000,
}
"""The defaults of these tunables; their least values are 1000."""


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    yield from running_lab("--shards", "2")


@pytest.fixture(scope="module")
def client(lab: RunningLab) -> Iterator[SegmentClient]:
    with raw_addresses(lab, ADDRESS_OF_SEGMENTS):
        client = SegmentClient(lab, ADDRESS_OF_SEGMENTS)
        yield client
        client.close()


def restarts(lab: RunningLab) -> dict[str, int]:
    """The counters of sessions that were started again."""
    rows = lab.api_json("/stats/ext")
    return {name: row["total"] for name, row in rows.items() if name.startswith("fullnat_conn_reused")}


@contextmanager
def counting_restarts(lab: RunningLab, **expected: int) -> Iterator[None]:
    """Check by how much these counters grow in the block, named by the ends of their names. All others must not change."""
    before = restarts(lab)
    yield
    growth = {name: total - before[name] for name, total in restarts(lab).items() if total != before[name]}
    assert growth == {f"fullnat_conn_{name}": count for name, count in expected.items()}


def session_from(lab: RunningLab, address: str, port: int, state: str) -> dict[str, str]:
    """State, local endpoint and destination of the only session of a client's port, as soon as it has this state: what was sent
    last may still be on its way."""
    found = list[dict[str, str]]()

    def has_state() -> bool:
        found[:] = [row for row in lab.api_json("/stats/ip_vs_conn") if row["source"] == f"{address}:{port}"]
        return [row["state"] for row in found] == [state]

    lab.wait_until(f"the session is in {state}", has_state)
    return {key: found[0][key] for key in ("state", "local", "destination")}


class Left(NamedTuple):
    """A way to leave a connection: the state, the end of the name of the counter of restarts from it, a port to do it with."""

    state: str
    counter: str
    leave: Callable[[SegmentConnection], None]
    port: int


LEFT = (
    Left("CLOSE", "close", leave_in_close, 40001),
    Left("TIME_WAIT", "timewait", leave_in_time_wait, 40002),
    Left("FIN_WAIT", "finwait", leave_in_fin_wait, 40003),
    Left("CLOSE_WAIT", "closetimeout", leave_in_close_wait, 40004),
    Left("LAST_ACK", "lastack", leave_in_last_ack, 40005),
    Left("ESTABLISHED", "estab", leave_in_established, 40006),
)


def connect_and_leave(client: SegmentClient, left: Left, count: int) -> Counter[str]:
    """Open connections one after the other, and leave each; returns how often each outcome was seen."""
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        connection = SegmentConnection(client, left.port)
        try:
            connection.open()
            left.leave(connection)
        except ConnectionFailed as failure:
            outcomes[str(failure)] += 1
            if outcomes.total() - outcomes["answered"] == FAILURES_MAX:
                break
        else:
            outcomes["answered"] += 1 if connection.received.startswith(b"HTTP/1.1 200 ") else 0
        outcomes["challenged"] += connection.challenges
    return +outcomes


class Answered:
    """Checks connections of a port, and remembers how many challenges there were."""

    def __init__(self, challenges: int) -> None:
        """`challenges` are those that each connection gets."""
        self._challenges = challenges
        self._count = self._seen = 0

    def check(self, outcomes: Counter[str], count: int) -> None:
        """Check that so many connections were answered."""
        seen = outcomes.pop("challenged", 0)
        assert outcomes == {"answered": count}
        assert seen >= count * self._challenges
        self._count, self._seen = self._count + count, self._seen + seen

    def check_all(self) -> None:
        """Check that there were not many more challenges than connections. On a busy machine, a real server sends data of the old
        session again meanwhile, which looks like one more."""
        assert self._seen <= 2 * self._count * self._challenges


@pytest.mark.parametrize("left", LEFT, ids=lambda left: left.state)
def test_a_port_a_thousand_times_over(lab: RunningLab, client: SegmentClient, left: Left) -> None:
    """Each connection is opened by its only SYN. A client gets a challenge while an end of its old session may wait for data."""
    answered = Answered(challenges=0 if left.state in ("CLOSE", "TIME_WAIT") else 1)
    with counting_restarts(lab, **{"reused": ROUNDS, f"reused_{left.counter}": ROUNDS}):
        assert connect_and_leave(client, left, 1) == {"answered": 1}
        session = session_from(lab, ADDRESS_OF_SEGMENTS, left.port, left.state)
        for _ in range(LOOKED_AT):
            answered.check(connect_and_leave(client, left, 1), 1)
            again = session_from(lab, ADDRESS_OF_SEGMENTS, left.port, left.state)
            assert again == session, "same local port and real server"
        rest = ROUNDS - LOOKED_AT - 1
        answered.check(connect_and_leave(client, left, rest), rest)
        # The last connection is closed: a real server that waits for its client would not end with the lab.
        answered.check(connect_and_leave(client, left._replace(leave=leave_in_close), 1), 1)
    answered.check_all()


def test_nothing_counts_as_restarted_when_that_is_switched_off(lab: RunningLab, client: SegmentClient) -> None:
    """A reset connection leaves nothing at the real server that a new one could conflict with."""
    lab.set_tunable("fullnat_conn_reused_entry", 0)
    try:
        with counting_restarts(lab):
            assert connect_and_leave(client, Left("CLOSE", "", leave_in_close, 40010), 20) == {"answered": 20}
    finally:
        lab.set_tunable("fullnat_conn_reused_entry", 1)


def test_a_port_of_a_real_client_a_thousand_times_over(lab: RunningLab) -> None:
    retransmitted = client_counter(lab, "TCPSynRetrans")
    with counting_restarts(lab, reused=ROUNDS - 1, reused_close=ROUNDS - 1):
        assert as_client(lab, partial(connect, ROUNDS, port=40011)) == {"answered": ROUNDS}
    assert client_counter(lab, "TCPSynRetrans") == retransmitted


def test_a_real_client_that_forgot_its_connections(lab: RunningLab) -> None:
    """Its connections end without a packet, as after a power failure. Its kernel answers the challenge with the proof."""
    lab.run("client", "nft", POWER_FAILURE)
    try:
        with counting_restarts(lab, reused=199, reused_estab=199):
            assert as_client(lab, partial(connect, 200, port=40012)) == {"answered": 200}
    finally:
        lab.run("client", "nft", "delete table ip own")


POWER_FAILURE = """
table ip own {
    chain output {
        type filter hook output priority filter
        ip daddr 203.0.113.10 tcp flags & (rst | ack) == (rst | ack) drop
    }
}
"""
"""A kernel sets ACK in a RST that ends one of its connections, and not in one that answers a segment without a connection."""


def test_few_local_ports_that_rest_at_the_real_server(lab: RunningLab) -> None:
    """Each local port is used again while the real server still has TIME_WAIT for it, and no SYN is sent twice.

    There are 512 combinations of 128 ports, two local addresses and two real servers. Each is unused for a second.
    """
    for name in CLOSING_TIMEOUTS_MS:
        lab.set_tunable(name, 1000)
    lab.set_tunable("fullnat_lport_max", 5127)
    try:
        retransmitted = client_counter(lab, "TCPSynRetrans")
        assert as_client(lab, partial(connect, 3000, per_s=250)) == {"answered": 3000}
        assert client_counter(lab, "TCPSynRetrans") == retransmitted
        assert 256 < resting(lab) <= 512, "connections in TIME_WAIT were replaced, again and again"
    finally:
        lab.set_tunable("fullnat_lport_max", 65535)
        for name, default_ms in CLOSING_TIMEOUTS_MS.items():
            lab.set_tunable(name, default_ms)


def resting(lab: RunningLab) -> int:
    """How many connections from the few local ports are in TIME_WAIT at the real servers."""
    few = ("dport", ">=", ":5000", "dport", "<=", ":5127")
    return sum(len(lab.run(role, "ss", "-Htn", "state", "time-wait", *few).splitlines()) for role in ("rs1", "rs2"))


def test_a_blind_attacker_disturbs_nothing(lab: RunningLab) -> None:
    """A guessed SYN is answered with a challenge, which the client's kernel ignores. A guessed RST does not have the right
    number.

    The client's window must not change either: a window of 0 would stop the client until it probes.
    """
    conn = http.client.HTTPConnection(lab.vip, lab.port)
    conn.auto_open = 0  # this one connection has to last
    conn.sock = namespaces.call_inside(lab.namespace("client"), partial(socket.create_connection, (lab.vip, lab.port)))
    port: int = conn.sock.getsockname()[1]
    probes = client_counter(lab, "TCPWinProbe")
    with counting_restarts(lab):
        peers, challenges = {peer_of(conn)}, Counter[str]()
        for _ in range(50):
            attacker = SegmentClient(lab, CLIENT)
            attacker.send(port, "S", seq=random.getrandbits(32))
            while (answer := attacker.receive(ATTACKER_PATIENCE_S)) and answer.data:
                pass  # to the client itself, whom a busy machine lets have it late
            assert answer is not None
            challenges[answer.flags] += 1
            attacker.send(port, "R", seq=(answer.ack + random.randrange(*WRONG_BY)) % 2**32)
            peers.add(peer_of(conn))
            attacker.close()
        session = session_from(lab, CLIENT, port, "ESTABLISHED")
    conn.close()
    assert challenges == {"A": 50}
    assert client_counter(lab, "TCPWinProbe") == probes
    assert peers == {session["local"]}, "one connection answered every request"


ATTACKER_PATIENCE_S = 60.0
WRONG_BY = (1 << 24, (1 << 32) - (1 << 24))
"""A guess that is right by accident is left out, so that the test has the same result every time."""


def peer_of(conn: http.client.HTTPConnection) -> str:
    """Ask the real server where the connection comes from."""
    conn.request("GET", "/")
    answer: dict[str, str] = json.loads(conn.getresponse().read())
    return answer["peer"]


def as_client(lab: RunningLab, use: Callable[[tuple[str, int]], Counter[str]]) -> Counter[str]:
    """Use the service from the client's namespace, with its kernel's TCP."""
    return namespaces.call_inside(lab.namespace("client"), partial(use, (lab.vip, lab.port)))


def connect(count: int, service: tuple[str, int], *, port: int = 0, per_s: float = float("inf")) -> Counter[str]:
    """Open connections one after the other, at most so many a second; returns how often each outcome was seen.

    From any port, the server closes each connection; from a given port, the client resets it.
    """
    next_at = time.monotonic()
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        time.sleep(max(0.0, next_at - time.monotonic()))
        next_at = max(next_at, time.monotonic() - 1 / per_s) + 1 / per_s  # what a busy machine was late is not made up for
        try:
            outcomes[connect_once(service, port)] += 1
        except OSError as error:
            outcomes[repr(error)] += 1
        if outcomes.total() - outcomes["answered"] == FAILURES_MAX:
            break
    return outcomes


def connect_once(service: tuple[str, int], port: int) -> str:
    with socket.socket() as conn:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)  # one SYN should be enough
        conn.bind(("", port))
        conn.connect(service)
        conn.sendall(b"GET /%s HTTP/1.1\r\nHost: lab\r\n\r\n" % (b"" if port else b"?close=1"))
        answer = b""
        while not answer.endswith(b"}") and (piece := conn.recv(4096)):
            answer += piece
        if port:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        elif conn.recv(1):
            return "more than an answer"
    return "answered" if answer.startswith(b"HTTP/1.1 200 ") else f"the answer began {answer[:40]!r}"


RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def client_counter(lab: RunningLab, name: str) -> int:
    """A TCP counter of the client's kernel, by its name in `nstat`."""
    lines = lab.run("client", "cat", "/proc/net/netstat").splitlines()
    names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
    return int(values[names.index(name)])
