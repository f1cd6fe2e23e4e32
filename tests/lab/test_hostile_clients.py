"""Clients that do not behave as clients do, at a service that answers SYNs with cookies: what real servers get, and what it
costs.

A client is unproven until it has returned its cookie with data (`synproxy_defer` is 1). Packets of unproven clients must not
reach a real server, they must not make a session, and nothing of them may be remembered. Clients that prove themselves and are
only unusual get one connection each, and every byte of it."""

import hashlib
import itertools
import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dpkt
import pytest

from appliance.wire import seq
from tests.lab.capture import Capture, Captured
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.raw_client import raw_addresses
from tests.lab.segment_client import SegmentClient
from tests.lab.shipped_config import with_synproxy

HOSTILE, ORDINARY = "198.51.100.66", "198.51.100.2"

FIRST_PORT = 2000
ATTEMPTS = 50
"""Attempts of each sort; few, because a guess is right once in a while."""

MANY_ATTEMPTS = 20_000
WARM_UP_ATTEMPTS = 2_000
MOST_GROWTH_BYTES = 2 << 20
"""About 100 bytes for each attempt. The least that Python needs to remember a client, 12 address bytes in a dict or a set, is
more: 48 bytes for the object and 50 or more for its place in the table. The usual changes of the allocator are a fraction of
this."""

REQUEST = b"GET /?close=1 HTTP/1.1\r\nHost: lab\r\n\r\n"

QUIET_S = 0.2
"""A client that got nothing for so long sends its segments again."""

BODY_BYTES = 3000
SEGMENT_BYTES = 700


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config: Path = tmp_path_factory.mktemp("hostile") / "lvs.toml"
    config.write_text(with_synproxy("true"))
    for lab in running_lab("--config", str(config), "--shards", "2"):
        assert lab.counter("ext", "synproxy_ok_ack") == 0
        # Sessions of the ordinary client, which shows that everything works, must not be in the table when it has finished.
        for state in ("time_wait", "last_ack", "fin_wait", "close_wait", "close"):
            lab.set_tunable(f"tcp_timeout_{state}", 1000)
        with raw_addresses(lab, HOSTILE):
            yield lab


@pytest.fixture(scope="module")
def client(lab: RunningLab) -> Iterator[SegmentClient]:
    client = SegmentClient(lab, HOSTILE)
    yield client
    client.close()


@pytest.fixture(scope="module")
def ports() -> Iterator[int]:
    """Each port of the client is used by one attempt only."""
    return iter(range(FIRST_PORT, 1 << 16))


class Witness:
    """Captures all TCP packets that arrive at either real server."""

    def __init__(self, lab: RunningLab, stack: ExitStack) -> None:
        self._captures = [stack.enter_context(Capture(lab, role)) for role in ("rs1", "rs2")]

    def take(self) -> list[Captured]:
        """Packets that arrived since the last call."""
        return [packet for capture in self._captures for packet in capture.take_arrived()]


@pytest.fixture
def witness(lab: RunningLab) -> Iterator[Witness]:
    lab.wait_until("there is no session", lambda: sessions(lab) == [])
    with ExitStack() as stack:
        yield Witness(lab, stack)


def sessions(lab: RunningLab) -> list[str]:
    """The clients of all sessions."""
    return [row["source"] for row in lab.api_json("/stats/ip_vs_conn")]


def connections(packets: list[Captured]) -> set[bytes]:
    """The connections of these packets. The same local address and port may be in use towards both real servers, so a connection
    is both addresses and the port."""
    return {packet.raw[12:22] for packet in packets}


def syns(packets: list[Captured]) -> int:
    """How many SYNs there are with other ends or another number: on a slow machine, one is sent again."""
    return len({packet.raw[12:28] for packet in packets if packet.flags & dpkt.tcp.TH_SYN})


class Attempt:
    """One attempt at the service, from a port of its own."""

    def __init__(self, client: SegmentClient, port: int) -> None:
        self._client = client
        self.port = port
        self.isn = random.getrandbits(32)
        self.cookie = 0

    def syn(self) -> None:
        self._client.send(self.port, "S", seq=self.isn)

    def send(self, flags: str, data: bytes = b"", *, after_isn: int = 1, after_cookie: int = 1) -> None:
        """Send a segment whose numbers are so far from the initial ones; by default those that end the handshake."""
        ack = seq.add(self.cookie, after_cookie) if "A" in flags else 0
        self._client.send(self.port, flags, seq=seq.add(self.isn, after_isn), ack=ack, data=data)


def asked(client: SegmentClient, ports: Iterator[int], count: int) -> list[Attempt]:
    """Attempts that have sent their SYN and got their cookie."""
    attempts = {port: Attempt(client, port) for port in itertools.islice(ports, count)}
    client.forget_arrived()
    for attempt in attempts.values():
        attempt.syn()
    waiting = dict(attempts)
    while waiting:
        answer = client.receive(60)  # this only ends a test that failed
        assert answer is not None, "a SYN was not answered"
        answered = waiting.pop(int.from_bytes(answer.destination[4:], "big"), None)
        if answered is not None:  # else an answer to an earlier attempt's second SYN
            assert (answer.flags, answer.ack) == ("SA", seq.add(answered.isn, 1))
            answered.cookie = answer.seq
    return list(attempts.values())


# Unproven clients


def never_completes(attempt: Attempt) -> None:
    attempt.syn()  # a second SYN, as a client would send it, and nothing else


def completes_and_is_silent(attempt: Attempt) -> None:
    attempt.send("A")


def random_cookie(attempt: Attempt) -> None:
    attempt.send("PA", REQUEST, after_cookie=random.getrandbits(32))


def cookie_of_another_start(attempt: Attempt) -> None:
    attempt.send("PA", REQUEST, after_isn=2)


def old_sequence_number(attempt: Attempt) -> None:
    attempt.send("PA", REQUEST, after_isn=-100_000)


def next_number(attempt: Attempt) -> None:
    attempt.send("PA", REQUEST, after_cookie=2)


def one_bit_wrong(attempt: Attempt) -> None:
    """Change one of the bits that hold the offer or authenticate it."""
    right = seq.add(attempt.cookie, 1)
    wrong = seq.add((right - 1) ^ 1 << random.randrange(30), 1)
    attempt.send("PA", REQUEST, after_cookie=wrong - attempt.cookie)


def reset(attempt: Attempt) -> None:
    attempt.send("R")


def reset_with_cookie(attempt: Attempt) -> None:
    attempt.send("RA")


def bare_fin(attempt: Attempt) -> None:
    attempt.send("F")


def fin_with_cookie(attempt: Attempt) -> None:
    attempt.send("FA")


def data_without_acknowledgement(attempt: Attempt) -> None:
    attempt.send("P", REQUEST)


def syn_and_cookie_at_once(attempt: Attempt) -> None:
    attempt.send("SPA", REQUEST)


UNPROVEN: dict[Callable[[Attempt], None], tuple[str, str]] = {
    never_completes: ("ext", "synproxy_syn_cnt"),
    completes_and_is_silent: ("ext", "synproxy_null_ack"),
    random_cookie: ("ext", "synproxy_bad_ack"),
    cookie_of_another_start: ("ext", "synproxy_bad_ack"),
    old_sequence_number: ("ext", "synproxy_bad_ack"),
    next_number: ("ext", "synproxy_bad_ack"),
    one_bit_wrong: ("ext", "synproxy_bad_ack"),
    reset: ("drops", "no_session"),
    reset_with_cookie: ("drops", "no_session"),
    bare_fin: ("drops", "bad_flags"),
    fin_with_cookie: ("ext", "synproxy_null_ack"),
    data_without_acknowledgement: ("drops", "bad_flags"),
    syn_and_cookie_at_once: ("drops", "no_session"),
}
"""What each sort does after its SYN was answered, and the counter that counts it."""

GUESSING = (random_cookie, cookie_of_another_start, old_sequence_number, next_number)
"""Guesses that are right once in 2**21 times."""


@pytest.mark.parametrize("behave", UNPROVEN, ids=lambda behave: behave.__name__)
def test_real_servers_hear_nothing_of_unproven_clients(
    lab: RunningLab, client: SegmentClient, ports: Iterator[int], witness: Witness, behave: Callable[[Attempt], None]
) -> None:
    view, counter = UNPROVEN[behave]
    attempts = asked(client, ports, ATTEMPTS)
    before = lab.counter(view, counter)
    for attempt in attempts:
        behave(attempt)
    lab.wait_until("all have been seen", lambda: lab.counter(view, counter) - before >= ATTEMPTS)
    assert lab.counter(view, counter) - before == ATTEMPTS
    assert sessions(lab) == []
    assert witness.take() == []
    assert_ordinary_client_is_served(lab, witness)


def assert_ordinary_client_is_served(lab: RunningLab, witness: Witness) -> None:
    """Check that an ordinary client is served, and that the capture at the real servers saw its connection and no other."""
    result = lab.script("client", "http_load.py", "1", "1")
    assert (result["ok"], result["errors"]) == (1, {})
    heard = witness.take()
    assert (len(connections(heard)), syns(heard)) == (1, 1)


def test_nothing_is_remembered_of_many_unproven_clients(
    lab: RunningLab, client: SegmentClient, ports: Iterator[int], witness: Witness
) -> None:
    sorts = itertools.cycle(behave for behave in UNPROVEN if behave not in GUESSING)
    attempt_in_batches(client, ports, sorts, WARM_UP_ATTEMPTS)
    before = worker_bytes(lab)
    seen = lab.counter("ext", "synproxy_syn_cnt")
    attempt_in_batches(client, ports, sorts, MANY_ATTEMPTS)
    assert lab.counter("ext", "synproxy_syn_cnt") - seen >= MANY_ATTEMPTS
    growth = worker_bytes(lab) - before
    print(f"{MANY_ATTEMPTS} attempts: the workers grew by {growth} bytes")
    assert growth < MOST_GROWTH_BYTES
    assert sessions(lab) == []
    assert witness.take() == []
    assert_ordinary_client_is_served(lab, witness)


def attempt_in_batches(
    client: SegmentClient, ports: Iterator[int], sorts: Iterator[Callable[[Attempt], None]], count: int
) -> None:
    """Make a few hundred attempts at a time, so that no queue and no buffer is full."""
    batch = 200
    for _ in range(count // batch):
        for attempt in asked(client, ports, batch):
            next(sorts)(attempt)


def worker_bytes(lab: RunningLab) -> int:
    """Resident memory of all workers."""
    total = 0
    for shard in lab.api_json("/healthz")["shards"]:
        status = Path(f"/proc/{shard['pid']}/status").read_text()
        total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) * 1024
    return total


# Proven, but odd


class Conversation:
    """A POST of random bytes, cut into segments, that the real server is to digest; and its answer.

    `order` says in which order the client sends its segments; it sends them again, in a new order, until all are acknowledged.
    """

    def __init__(self, client: SegmentClient, attempt: Attempt, port: int, order: Callable[[list[bytes]], list[int]]) -> None:
        self._client = client
        self._attempt = attempt
        self._port = port
        self._order = order
        self.body = random.randbytes(BODY_BYTES)
        head = f"POST /sha256?close=1 HTTP/1.1\r\nHost: lab\r\nContent-Length: {BODY_BYTES}\r\n\r\n".encode()
        request = head + self.body
        self._segments = [request[start : start + SEGMENT_BYTES] for start in range(0, len(request), SEGMENT_BYTES)]
        self._received = b""
        self._is_over = False

    def run(self) -> bytes:
        """The body of the answer. Fails when the connection is reset or does not end."""
        for _ in range(50):
            self._send_all()
            while segment := self._client.receive(QUIET_S):
                if int.from_bytes(segment.destination[4:], "big") != self._port:
                    continue
                assert "R" not in segment.flags, "the connection was reset"
                start = seq.add(self._attempt.cookie, 1 + len(self._received))
                if segment.seq == start and "S" not in segment.flags:
                    self._received += segment.data
                    self._is_over = "F" in segment.flags
            if self._is_over:
                self._send_fin()
                return self._received.partition(b"\r\n\r\n")[2]
        pytest.fail("the connection came to no end")

    def _send_all(self) -> None:
        after_cookie = 1 + len(self._received)
        for place in self._order(self._segments):
            after_isn = 1 + place * SEGMENT_BYTES
            self._attempt.send("PA", self._segments[place], after_isn=after_isn, after_cookie=after_cookie)

    def _send_fin(self) -> None:
        after_isn = 1 + sum(map(len, self._segments))
        self._attempt.send("FA", after_isn=after_isn, after_cookie=2 + len(self._received))


def everything_twice(segments: list[bytes]) -> list[int]:
    return [place for place in range(len(segments)) for _ in range(2)]


def backwards(segments: list[bytes]) -> list[int]:
    return list(reversed(range(len(segments))))


def shuffled(segments: list[bytes]) -> list[int]:
    return random.sample(range(len(segments)), len(segments))


ODD = (everything_twice, backwards, shuffled)

CONVERSATIONS = 10


@pytest.mark.parametrize("order", ODD, ids=lambda order: order.__name__)
def test_odd_clients_get_one_connection_each_and_all_of_it(
    lab: RunningLab, client: SegmentClient, ports: Iterator[int], witness: Witness, order: Callable[[list[bytes]], list[int]]
) -> None:
    before = accepted(lab)
    for port in itertools.islice(ports, CONVERSATIONS):
        (attempt,) = asked(client, iter([port]), 1)
        if order is everything_twice:
            attempt.syn()
            attempt.send("A")
        attempt.send("A")
        conversation = Conversation(client, attempt, port, order)
        answer = json.loads(conversation.run())
        assert answer == {"sha256": hashlib.sha256(conversation.body).hexdigest(), "bytes": BODY_BYTES}
    assert len(connections(witness.take())) == CONVERSATIONS
    assert accepted(lab) - before == CONVERSATIONS


def test_data_with_a_fin_in_the_first_segment_is_answered(
    lab: RunningLab, client: SegmentClient, ports: Iterator[int], witness: Witness
) -> None:
    """A client that closes its side with its first data has proved itself."""
    before = accepted(lab)
    for attempt in asked(client, ports, ATTEMPTS):
        attempt.send("FPA", REQUEST)
        answer = b""
        while not answer.endswith(b"}"):
            segment = client.receive(60)
            assert segment is not None
            if int.from_bytes(segment.destination[4:], "big") != attempt.port:
                continue  # sent again, by a real server that has not got the acknowledgement yet
            assert "R" not in segment.flags
            if segment.seq == seq.add(attempt.cookie, 1 + len(answer)):
                answer += segment.data
        assert answer.startswith(b"HTTP/1.1 200 ")
        attempt.send("A", after_isn=2 + len(REQUEST), after_cookie=2 + len(answer))
    assert len(connections(witness.take())) == ATTEMPTS
    assert accepted(lab) - before == ATTEMPTS


def accepted(lab: RunningLab) -> int:
    """Connections that the kernels of the real servers have accepted since they started."""
    total = 0
    for role in ("rs1", "rs2"):
        names, values = (line.split() for line in lab.run(role, "cat", "/proc/net/snmp").splitlines() if line.startswith("Tcp:"))
        total += int(dict(zip(names, values, strict=True))["PassiveOpens"])
    return total
