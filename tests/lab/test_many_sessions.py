"""As many sessions as there are local ports, every port towards both real servers at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dpkt
import pytest

from appliance.model.tunables import TUNABLES
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.raw_client import raw_addresses
from tests.lab.segment_client import SegmentClient, SegmentConnection

CLIENT = "198.51.100.3"
FIRST_CLIENT_PORT = 10_000

LPORT_MIN, LPORTS = 20_000, 12_500
LOCAL_ADDRESSES, REAL_SERVERS = 2, 2
CAPACITY = LOCAL_ADDRESSES * REAL_SERVERS * LPORTS
SURPLUS = 200
ENDED = 1000

UNREACHABLE_BURST = 50
"""ICMP errors are limited: so many refused clients get one at once, of the others only some do."""

QUIET_S = 1.0
PATIENCE_S = 60.0
"""For errors that have to come. It only ends a test that failed."""

ECHO_PORT = 9000
ECHO_SERVERS = 2
"""Echo servers for each real server. Each can hold 20,000 connections where a process may have that many open files."""

AT_THE_ECHO_SERVERS = f"""
table ip own {{
    chain prerouting {{
        type filter hook prerouting priority raw
        tcp dport 8080 tcp dport set {ECHO_PORT}
    }}
    chain output {{
        type filter hook output priority raw
        tcp sport {ECHO_PORT} tcp sport set 8080
    }}
}}
"""
"""The lab's own servers have the port already; this rule sends connections to the echo servers instead."""


@pytest.fixture
def lab() -> Iterator[RunningLab]:
    """A lab with one shard: several would have equal shares of the ports, but not quite equal shares of the clients."""
    for lab in running_lab("--shards", "1"):
        with ExitStack() as echo_servers:
            for role in ("rs1", "rs2"):
                for _ in range(ECHO_SERVERS):
                    server = echo_servers.enter_context(lab.start(role, "echo_server.py", str(ECHO_PORT)))
                    assert server.stdout is not None
                    assert server.stdout.readline() == "ready\n"
                lab.run(role, "nft", AT_THE_ECHO_SERVERS)
            yield lab


@pytest.fixture
def client(lab: RunningLab) -> Iterator[SegmentClient]:
    with raw_addresses(lab, CLIENT):
        client = SegmentClient(lab, CLIENT)
        yield client
        client.close()


def test_every_local_port_towards_both_real_servers(lab: RunningLab, client: SegmentClient) -> None:
    """50,000 sessions are open, further ones are refused, nobody is disturbed, and ports that become free can be used again."""
    lab.set_tunable("fullnat_lport_max", LPORT_MIN + LPORTS - 1)
    lab.set_tunable("fullnat_lport_min", LPORT_MIN)
    lab.set_tunable("fullnat_lport_tries", LPORTS)
    lab.set_tunable("tcp_timeout_close", 1000)
    lab.set_tunable("tcp_timeout_established", TUNABLES["tcp_timeout_established"].max)  # on a slow machine all this takes long
    client_ports = iter(range(FIRST_CLIENT_PORT, 1 << 16))

    bytes_before = worker_bytes(lab)
    sessions = [opened(client, next(client_ports)) for _ in range(CAPACITY)]
    print(f"a session takes {(worker_bytes(lab) - bytes_before) / CAPACITY:.0f} bytes of its worker")
    wait_for_sessions(lab, CAPACITY)
    assert_every_port_is_used_twice(lab)

    surplus = [next(client_ports) for _ in range(SURPLUS)]
    assert refused(lab, client, surplus) == SURPLUS
    assert_echo(sessions[0])
    wait_for_sessions(lab, CAPACITY)

    for session in sessions[:ENDED]:
        session.send("RA")
    wait_for_sessions(lab, CAPACITY - ENDED)
    assert_echo(*(opened(client, next(client_ports)) for _ in range(ENDED)))
    wait_for_sessions(lab, CAPACITY)
    assert refused(lab, client, surplus) == SURPLUS
    assert_echo(sessions[-1])


def opened(client: SegmentClient, port: int) -> SegmentConnection:
    connection = SegmentConnection(client, port)
    connection.open()
    return connection


def assert_echo(*connections: SegmentConnection) -> None:
    """Check that data passes in both directions."""
    for connection in connections:
        connection.send("PA", b"still here")
        connection.wait_until(lambda so_far: so_far.received == b"still here")
        connection.send("A")


def wait_for_sessions(lab: RunningLab, count: int) -> None:
    """Wait until there are so many sessions, half of them with each real server, all established, and no others."""

    def conns_of_each_real_server() -> list[tuple[int, int]]:
        (service,) = lab.api_json("/stats/ip_vs")["services"]
        return [(row["active_conns"], row["inactive_conns"]) for row in service["real_servers"]]

    lab.wait_until(f"{count} sessions stand", lambda: conns_of_each_real_server() == [(count // 2, 0)] * 2)


def assert_every_port_is_used_twice(lab: RunningLab) -> None:
    rows = lab.api_json("/stats/ip_vs_conn")
    assert {row["state"] for row in rows} == {"ESTABLISHED"}
    assert len({row["source"] for row in rows}) == CAPACITY
    assert len({(row["local"], row["destination"]) for row in rows}) == CAPACITY
    assert set(Counter(row["local"] for row in rows).values()) == {REAL_SERVERS}


def refused(lab: RunningLab, client: SegmentClient, ports: list[int]) -> int:
    """How many of the SYNs from these ports count as refused. Checks the ICMP errors that the client gets."""
    before = lab.counter("drops", "local_ports_exhausted")
    client.forget_arrived()
    for port in ports:
        SegmentConnection(client, port).send("S")

    def counted() -> int:
        return lab.counter("drops", "local_ports_exhausted") - before

    lab.wait_until("all have been judged", lambda: counted() >= len(ports))
    told = list[int]()
    while packet := client.receive_packet(QUIET_S if len(told) >= UNREACHABLE_BURST else PATIENCE_S):
        told.append(refused_port(packet))
    assert set(told) <= set(ports)
    assert len(told) >= UNREACHABLE_BURST
    return counted()


def refused_port(packet: bytes) -> int:
    """The port whose SYN an ICMP "port unreachable" quotes; fails when the packet is anything else."""
    error = dpkt.ip.IP(packet).data
    assert isinstance(error, dpkt.icmp.ICMP)
    assert (error.type, error.code) == (dpkt.icmp.ICMP_UNREACH, dpkt.icmp.ICMP_UNREACH_PORT)
    quoted: int = error.data.data.data.sport
    return quoted


def worker_bytes(lab: RunningLab) -> int:
    """Resident memory of the one worker."""
    (shard,) = lab.api_json("/healthz")["shards"]
    (line,) = (line for line in Path(f"/proc/{shard['pid']}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024
