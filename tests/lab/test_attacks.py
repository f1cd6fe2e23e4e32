"""A blind attacker: someone who sees no packet of others, but can send any packet, also with the addresses of others.

Each attack is made while sessions live that the attacker would like to end. Afterwards the gateway must still have all of them in
ESTABLISHED, and each client must be answered on its old connection. Each attack has a control: the same packet with the numbers
that only both ends can know, from where it belongs, does its work. So the packets of the attack are well-formed, and a session
that ends does show.

The attacker on the client's side is played by raw sockets in the client's namespace, the one on the server's side by raw sockets
in that of a real server. Everything is bounded: each test says how many packets it sends, and PACKETS_PER_S how fast.
"""

import json
import random
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from appliance.lab import namespaces
from appliance.wire.flow import flow_key, pack_endpoint
from appliance.wire.layout import ACK, FIN, RST, SYN
from bench.rig.segments import segment
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.floods import waiting
from tests.support.segments import udp

CONFIG = Path(__file__).parent / "tcp_and_udp.toml"

CLIENT = "198.51.100.2"
LOCAL_ADDRESSES = ("192.0.2.10", "192.0.2.11")
REAL_SERVERS = (("192.0.2.101", 8080), ("192.0.2.102", 8080))

SESSIONS = 100
QUESTIONS = 20
GUESSED_AT = 5
"""Sessions of which the attacker knows the client's port."""

LOCAL_PORTS = range(5000, 6000)
"""The range in which local ports are chosen: small, so that a sweep over all of it is short, however they are chosen."""

CLIENT_PORTS = range(32768, 61000)
"""The range in which Linux chooses ports of clients."""

PACKETS_PER_S = 12_000
_BATCH, _BATCHES_BETWEEN_LOOKS = 60, 10
_MOST_WAITING = 300
"""A queue takes some thousands of packets, and its socket not even that many."""

CLOSING_STATES = ("fin_wait", "close_wait", "close", "last_ack", "time_wait")
LEAST_TIMEOUT_MS = 1000
"""A session that is wrongly in a closing state is forgotten after this time, so that a test need not wait for a minute."""

SYN_RECV_TIMEOUT_MS = 5000
"""A sweep with SYNs opens sessions that never become more. They have to be gone before the next test needs their local ports."""

RST_SPACING = 1 << 20
"""4,096 numbers with this distance go round the whole space of sequence numbers."""

ALL_ANSWERED = {"answered": SESSIONS}


class Held:
    """Live sessions of a client, one program for all of them."""

    def __init__(self, lab: RunningLab, program: subprocess.Popen[str], protocol: str) -> None:
        self._lab = lab
        self._protocol = protocol
        self._program = program
        self.ports: list[int] = self._line()

    def _line(self) -> Any:
        assert self._program.stdout is not None
        return json.loads(self._program.stdout.readline() or pytest.fail("the clients ended"))

    def say(self, command: str) -> Any:
        """Give the program a command; returns its answer."""
        assert self._program.stdin is not None
        self._program.stdin.write(f"{command}\n")
        self._program.stdin.flush()
        return self._line()

    def rows(self) -> list[dict[str, str]]:
        """What the gateway knows of them."""
        own = {(self._protocol, f"{CLIENT}:{port}") for port in self.ports}
        return [row for row in self._lab.api_json("/stats/ip_vs_conn") if (row["protocol"], row["source"]) in own]

    def row(self, port: int) -> dict[str, str]:
        """What the gateway knows of one of them."""
        (row,) = (row for row in self.rows() if row["source"] == f"{CLIENT}:{port}")
        return row

    def states(self) -> Counter[str]:
        """How many of them the gateway has in each state."""
        return Counter(row["state"] for row in self.rows())


class Losses(NamedTuple):
    """What an attack did to the sessions."""

    states_after: dict[str, int]
    """By the gateway's table, right after the attack."""
    forgotten: int
    """Sessions that the gateway has no more, after those in closing states have timed out."""
    requests: dict[str, int]
    """The outcome of one more request on each connection."""


NOTHING_LOST = Losses({"ESTABLISHED": SESSIONS}, 0, ALL_ANSWERED)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A TCP service that is always plain, so that the numbers of real servers are those that clients see, and a UDP service."""
    config: Path = tmp_path_factory.mktemp("attacks") / "lvs.toml"
    config.write_text(CONFIG.read_text().replace('name = "web"\n', 'name = "web"\nsynproxy = false\n'))
    for lab in running_lab("--config", str(config), "--shards", "2"):
        lab.set_tunable("fullnat_lport_max", LOCAL_PORTS[-1])
        lab.set_tunable("tcp_timeout_syn_recv", SYN_RECV_TIMEOUT_MS)
        for state in CLOSING_STATES:
            lab.set_tunable(f"tcp_timeout_{state}", LEAST_TIMEOUT_MS)
        yield lab


@contextmanager
def clients(lab: RunningLab, program: str, count: int, protocol: str) -> Iterator[Held]:
    with lab.start("client", program, str(count)) as process:
        yield Held(lab, process, protocol)
        process.communicate("")


@pytest.fixture
def held(lab: RunningLab) -> Iterator[Held]:
    lab.wait_until(
        "the sessions of the last test are gone", lambda: not lab.api_json("/conns/top?by=service&service=web")["conns"]
    )
    with clients(lab, "held_sessions.py", SESSIONS, "TCP") as held:
        assert held.states() == {"ESTABLISHED": SESSIONS}
        yield held


@pytest.fixture
def asking(lab: RunningLab) -> Iterator[Held]:
    with clients(lab, "held_questions.py", QUESTIONS, "UDP") as asking:
        assert asking.states() == {"UDP": QUESTIONS}
        yield asking


def send(lab: RunningLab, role: str, packets: Sequence[bytes]) -> None:
    """Send raw packets from a namespace at PACKETS_PER_S, or as fast as a busy machine judges them. Fails when the gateway did
    not get and judge nearly all of them, because a sweep that is lost on the way proves nothing."""
    interface = "client0" if role == "client" else "server0"
    arrived, lost = received(lab, interface), overruns(lab)
    raw = namespaces.call_inside(lab.namespace(role), lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
    with raw:
        for first in range(0, len(packets), _BATCH):
            next_at = time.monotonic() + _BATCH / PACKETS_PER_S
            for packet in packets[first : first + _BATCH]:
                raw.sendto(packet, (str(IPv4Address(packet[16:20])), 0))
            if first // _BATCH % _BATCHES_BETWEEN_LOOKS == 0:
                lab.wait_until("the queues have room", lambda: waiting(lab) < _MOST_WAITING)
            time.sleep(max(0.0, next_at - time.monotonic()))
    lab.wait_until("the packets have arrived", lambda: received(lab, interface) - arrived >= 0.99 * len(packets))
    lab.wait_until("the queues are empty", lambda: not waiting(lab))
    assert overruns(lab) - lost <= 0.01 * len(packets)


def received(lab: RunningLab, interface: str) -> int:
    """Packets that have come in by an interface of the gateway."""
    (line,) = (
        line for line in lab.run("gateway", "cat", "/proc/net/dev").splitlines() if line.strip().startswith(f"{interface}:")
    )
    return int(line.split()[2])


def overruns(lab: RunningLab) -> int:
    return lab.counter("queues", "queue_full_drops") + lab.counter("queues", "socket_drops")


def losses(lab: RunningLab, held: Held) -> Losses:
    """What has become of the sessions."""
    states = held.states()
    lab.wait_until("those that are closing are forgotten", lambda: held.states().keys() <= {"ESTABLISHED"})
    return Losses(dict(states), SESSIONS - held.states().total(), held.say("ask"))


def endpoint(text: str) -> bytes:
    address, _, port = text.rpartition(":")
    return pack_endpoint(IPv4Address(address), int(port))


def service(lab: RunningLab) -> bytes:
    return endpoint(f"{lab.vip}:{lab.port}")


def from_real_servers(flags: int) -> list[bytes]:
    """A segment with random numbers from each real server to each local port that a session may have."""
    flows = (
        flow_key(pack_endpoint(IPv4Address(address), port), pack_endpoint(IPv4Address(local), local_port))
        for address, port in REAL_SERVERS
        for local in LOCAL_ADDRESSES
        for local_port in LOCAL_PORTS
    )
    return [segment(flow, flags, seq=random.getrandbits(32), ack=random.getrandbits(32)) for flow in flows]


def from_client(lab: RunningLab, ports: Iterable[int], *flags: int) -> list[bytes]:
    """For each port of the client, one segment after the other with these flags and random numbers."""
    made = []
    for port in ports:
        flow = flow_key(endpoint(f"{CLIENT}:{port}"), service(lab))
        made += [segment(flow, each, seq=random.getrandbits(32), ack=random.getrandbits(32)) for each in flags]
    return made


def rst_of_real_server(held: Held, which: int) -> bytes:
    """The RST with which its real server would end the session, with the number that only its ends know.

    A plain service leaves the numbers of real servers as they are.
    """
    row = held.row(held.ports[which])
    _, expected = held.say(f"numbers {which}")
    return segment(flow_key(endpoint(row["destination"]), endpoint(row["local"])), RST, seq=expected, ack=0)


def assert_ended(found: Losses) -> None:
    """Those that were meant are closed, or, on a busy machine, forgotten by now."""
    assert found.states_after["ESTABLISHED"] == SESSIONS - GUESSED_AT
    assert found.states_after.get("CLOSE", 0) + found.states_after["ESTABLISHED"] == sum(found.states_after.values()) <= SESSIONS


@pytest.mark.parametrize("flags", [RST, RST | ACK, FIN | ACK, SYN | ACK, SYN], ids=["RST", "RST-ACK", "FIN", "SYN-ACK", "SYN"])
@pytest.mark.parametrize("side", ["client", "rs2"])
def test_segments_in_the_name_of_real_servers_end_no_session(lab: RunningLab, held: Held, side: str, flags: int) -> None:
    """4,000 packets: every local port there is, from both real servers. From the client's side nobody speaks for a real server;
    from the server's side, where another host can, the numbers have to be right."""
    send(lab, side, from_real_servers(flags))
    assert losses(lab, held) == NOTHING_LOST


def test_from_the_side_of_clients_nobody_speaks_for_a_real_server_even_with_the_right_number(lab: RunningLab, held: Held) -> None:
    send(lab, "client", [rst_of_real_server(held, which) for which in range(GUESSED_AT)])
    assert losses(lab, held) == NOTHING_LOST


def test_control_from_the_side_of_servers_the_same_packets_end_their_sessions(lab: RunningLab, held: Held) -> None:
    resets = [rst_of_real_server(held, which) for which in range(GUESSED_AT)]
    send(lab, "rs2", resets)
    found = losses(lab, held)
    assert_ended(found)
    assert (found.forgotten, found.requests) == (GUESSED_AT, {"answered": SESSIONS - GUESSED_AT, "reset": GUESSED_AT})


SWEEPS = {"FIN": (FIN | ACK,), "FIN-then-SYN": (FIN | ACK, SYN), "RST": (RST,), "RST-ACK": (RST | ACK,)}


@pytest.mark.parametrize("flags", SWEEPS.values(), ids=SWEEPS)
def test_a_sweep_over_the_ports_of_a_client_ends_no_session(lab: RunningLab, held: Held, flags: tuple[int, ...]) -> None:
    """Once or twice 28,232 packets: every port that the client may have chosen."""
    send(lab, "client", from_client(lab, CLIENT_PORTS, *flags))
    assert losses(lab, held) == NOTHING_LOST


def test_damaged_segments_end_no_session(lab: RunningLab, held: Held) -> None:
    """Even with the right numbers: a checksum that is wrong says that they need not be what was sent."""
    damaged = []
    for which in range(GUESSED_AT):
        seq, ack = held.say(f"numbers {which}")
        flow = flow_key(endpoint(f"{CLIENT}:{held.ports[which]}"), service(lab))
        for flags in (FIN | ACK, RST, SYN):
            good = segment(flow, flags, seq=seq, ack=ack)
            damaged.append(good[:36] + bytes((good[36] ^ 0x5A,)) + good[37:])
    send(lab, "client", damaged)
    assert losses(lab, held) == NOTHING_LOST


def test_spaced_resets_end_no_session(lab: RunningLab, held: Held) -> None:
    """20,480 packets: for each of a few sessions whose port is known, 4,096 numbers that go round the whole space. To hit the one
    number that counts, an attacker needs all 4,294,967,296."""
    made = []
    for port in held.ports[:GUESSED_AT]:
        flow, offset = flow_key(endpoint(f"{CLIENT}:{port}"), service(lab)), random.randrange(RST_SPACING)
        made += [segment(flow, RST, seq=offset + step * RST_SPACING, ack=0) for step in range((1 << 32) // RST_SPACING)]
    send(lab, "client", made)
    assert losses(lab, held) == NOTHING_LOST


def test_control_a_client_that_knows_its_numbers_ends_its_sessions(lab: RunningLab, held: Held) -> None:
    resets = []
    for which in range(GUESSED_AT):
        seq, _ = held.say(f"numbers {which}")
        resets.append(segment(flow_key(endpoint(f"{CLIENT}:{held.ports[which]}"), service(lab)), RST, seq=seq, ack=0))
    send(lab, "client", resets)
    found = losses(lab, held)
    assert_ended(found)
    assert found.forgotten == GUESSED_AT
    assert found.requests["answered"] == SESSIONS - GUESSED_AT


def forged_answers() -> list[bytes]:
    """A datagram from each real server to each local port that a session may have."""
    return [
        udp(pack_endpoint(IPv4Address(address), port), pack_endpoint(IPv4Address(local), local_port), b"forged")
        for address, port in REAL_SERVERS
        for local in LOCAL_ADDRESSES
        for local_port in LOCAL_PORTS
    ]


def forged_answer(row: dict[str, str]) -> bytes:
    """A datagram for exactly this session."""
    return udp(endpoint(row["destination"]), endpoint(row["local"]), b"forged")


def test_blind_answers_of_udp_reach_no_client(lab: RunningLab, asking: Held) -> None:
    """4,000 packets: every local port there is, from both real servers. UDP has no numbers: whoever may speak for the real server
    is believed by the client."""
    send(lab, "client", forged_answers())
    assert asking.say("heard") == {}
    assert asking.say("ask") == {"answered": QUESTIONS}


def test_control_a_real_server_can_answer_at_any_time(lab: RunningLab, asking: Held) -> None:
    send(lab, "rs1", [forged_answer(row) for row in asking.rows()])
    heard = Counter[str]()

    def all_have_heard() -> bool:
        heard.update(asking.say("heard"))
        return heard.total() >= QUESTIONS

    lab.wait_until("all have heard it", all_have_heard)
    assert heard == {"forged": QUESTIONS}
    assert asking.say("ask") == {"answered": QUESTIONS}
