"""Timestamps of many clients behind one local address (RFC 7323, 5: PAWS), against the real server's Linux.

A real server that closes first keeps a TIME_WAIT for the local address and port, with the last timestamp it saw. When the next
connection from there belongs to another client, whose clock is lower, its SYN looks like an old one and is rejected.
"""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.loss_rules import tcp_ext
from tests.lab.raw_client import MSS_1460, RawClient, raw_addresses

ADDRESSES = tuple(f"198.51.100.{number}" for number in range(101, 109))

LOCAL_ADDRESS = "192.0.2.10"

CONFIG = f"""
[gateway]
client_interface = "client0"
server_interface = "server0"

[sysctl]
fullnat_lport_min = 7001
fullnat_lport_max = 7008
tcp_timeout_syn_recv = 3000
tcp_timeout_time_wait = 1000
tcp_timeout_last_ack = 1000
tcp_timeout_close = 1000
prepared_admissions = 1

[local_addresses]
default = ["{LOCAL_ADDRESS}"]

[[service]]
name = "web"
vip = "203.0.113.10"
port = 80

[[service.real_server]]
address = "192.0.2.101"
port = 8080
"""
"""One local address with as many ports as there are clients, so that each round of clients uses the ports of the round
before; and sessions that end soon, so that the ports are free again long before the real server forgets. The kernel opens
those for which an admission is ready: what the gateway sends a second time has the options of the client then as well."""

NEWEST = 3_000_000_000
BAND = 100_000_000
"""Clocks of a round are within a band of this width. The bands go down from NEWEST, by less than half of all numbers."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config: Path = tmp_path_factory.mktemp("paws") / "lvs.toml"
    config.write_text(CONFIG)
    for lab in running_lab("--config", str(config), "--shards", "1"):
        with raw_addresses(lab, *ADDRESSES):
            yield lab


class Rounds:
    """Rounds of clients, one from each address. Their clocks are unrelated, and all lower than those of the round before."""

    def __init__(self, lab: RunningLab) -> None:
        self._lab = lab
        self._round = 0
        self._random = random.Random(1)
        self._rejections = rejections(lab)

    def is_served(self) -> None:
        """Each client's first SYN opens its connection, which the real server closes first. There is no second SYN."""
        with ExitStack() as stack:
            for client in self._clients(stack):
                client.connect(MSS_1460)
                assert client.ask()["client"] == client.name
        listing = ("ss", "--no-header", "--tcp", "--numeric", "state", "time-wait", "sport", "=", "8080")
        local_port = f"{LOCAL_ADDRESS}:70"
        self._lab.wait_until(
            "the real server remembers each", lambda: self._lab.run("rs1", *listing).count(local_port) == len(ADDRESSES)
        )

    def is_not_answered(self) -> None:
        """No client gets an answer before the gateway ends its session, three seconds after its SYN."""
        with ExitStack() as stack:
            clients = self._clients(stack)
            for client in clients:
                client.send("S", options=MSS_1460)
            self._lab.wait_until("all have been rejected", lambda: rejections(self._lab) - self._rejections >= len(ADDRESSES))
            self._wait_until_ports_are_free()
            assert [client.has_heard_something() for client in clients] == [False] * len(ADDRESSES)

    def new_rejections(self) -> int:
        """How many packets the real server has rejected since the last call."""
        before, self._rejections = self._rejections, rejections(self._lab)
        return self._rejections - before

    def _clients(self, stack: ExitStack) -> list[RawClient]:
        self._wait_until_ports_are_free()
        self._round += 1
        clocks = [NEWEST - self._round * BAND - self._random.randrange(BAND) for _ in ADDRESSES]
        return [
            stack.enter_context(RawClient(self._lab, address, 10_000 + self._round, clock=clock))
            for address, clock in zip(ADDRESSES, clocks, strict=True)
        ]

    def _wait_until_ports_are_free(self) -> None:
        self._lab.wait_until("all local ports are free", lambda: self._lab.api_json("/stats/ip_vs_conn") == [])


def rejections(lab: RunningLab) -> int:
    """Packets that the real server rejected as old: PAWSTimewait, on older kernels PAWSEstab."""
    return sum(total for name, total in tcp_ext(lab, "rs1").items() if name.startswith("PAWS"))


@pytest.fixture
def rounds(lab: RunningLab) -> Iterator[Rounds]:
    """The first round, with timestamps, is over: each local port has a TIME_WAIT that remembers a clock."""
    lab.set_tunable("fullnat_timestamp_remove_entry", 0)
    rounds = Rounds(lab)
    rounds.is_served()
    assert rounds.new_rejections() == 0
    yield rounds
    lab.set_tunable("fullnat_timestamp_remove_entry", 1)


def test_clients_with_older_clocks_are_shut_out_unless_timestamps_are_removed(lab: RunningLab, rounds: Rounds) -> None:
    """A real server that follows RFC 1337 keeps its TIME_WAIT whatever comes, and never serves such clients."""
    lab.run("rs1", "sysctl", "net.ipv4.tcp_rfc1337=1")
    rounds.is_not_answered()
    assert rounds.new_rejections() >= len(ADDRESSES)

    lab.set_tunable("fullnat_timestamp_remove_entry", 1)
    rounds.is_served()
    rounds.is_served()
    assert rounds.new_rejections() == 0


def test_rejected_syns_get_through_at_the_second_attempt_of_the_gateway(lab: RunningLab, rounds: Rounds) -> None:
    """Linux with its defaults answers a rejected SYN with an ACK, and ends its TIME_WAIT at a RST; then it accepts the same
    SYN."""
    lab.run("rs1", "sysctl", "net.ipv4.tcp_rfc1337=0")
    mended = lab.counter("drops", "stale_answer")
    rounds.is_served()
    assert rounds.new_rejections() == len(ADDRESSES)
    assert lab.counter("drops", "stale_answer") - mended == len(ADDRESSES)

    lab.set_tunable("fullnat_timestamp_remove_entry", 1)
    rounds.is_served()
    rounds.is_served()
    assert rounds.new_rejections() == 0
