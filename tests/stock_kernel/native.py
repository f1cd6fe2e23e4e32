"""The native steering, on a kernel that has the nft `queue` statement. Runs as the client of a lab that has a TCP and a UDP
service on one VIP and port; prints a line for each check.

One Python process does all checks, because under emulation starting a process costs seconds. The last line is
"N passed, N failed".
"""

import collections
import ctypes
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.wire.checksum import checksum
from appliance.wire.craft import ip_packet
from appliance.wire.flow import destination_of, source_of
from appliance.wire.show import show_endpoint

VIP, PORT = os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])
REQUESTS = int(os.environ.get("REQUESTS", "40"))

_CLONE_NEWNET = 0x40000000
_HOST_UNREACHABLE = bytes((3, 1))
_TTL_EXCEEDED = bytes((11, 0))
_QUESTION = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"

Session = dict[str, str]


@contextmanager
def inside(role: str) -> Iterator[None]:
    """Be in another of the lab's namespaces for the block; sockets opened there stay there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as home, open(f"/run/netns/{os.environ[f'LAB_{role.upper()}_NS']}") as there:
        if libc.setns(there.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace of {role}")
        try:
            yield
        finally:
            libc.setns(home.fileno(), _CLONE_NEWNET)


def api(method: str, path: str, body: str | None = None) -> bytes:
    """One request to the appliance's API."""
    host, _, port = os.environ["LAB_API"].removeprefix("http://").rpartition(":")
    with inside("gateway"):
        conn = http.client.HTTPConnection(host, int(port))
        conn.request(method, path, body)
        return conn.getresponse().read()


def sessions(state: str) -> list[Session]:
    """The sessions of TCP in ESTABLISHED, or those of UDP."""
    rows: list[Session] = json.loads(api("GET", "/stats/ip_vs_conn?format=json"))
    return [row for row in rows if row["state"] == state]


def ask(conn: http.client.HTTPConnection) -> dict[str, str]:
    """One request through the VIP."""
    conn.request("GET", "/")
    answer: dict[str, str] = json.loads(conn.getresponse().read())
    return answer


def connections(count: int) -> list[http.client.HTTPConnection]:
    """So many open sessions, each with one answered request."""
    opened = [http.client.HTTPConnection(VIP, PORT) for _ in range(count)]
    for conn in opened:
        ask(conn)
    return opened


def udp_clients(count: int) -> tuple[list[socket.socket], list[dict[str, str]]]:
    """So many UDP sessions and their answers. All requests are sent before the first answer is read."""
    clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for client in clients:
        client.connect((VIP, PORT))
        client.send(b"?")
    return clients, [json.loads(client.recv(2048).partition(b"\n")[0]) for client in clients]


def errors_about(flows: list[tuple[str, str]], sender: str, receiver: str, protocol: int = socket.IPPROTO_TCP) -> list[str]:
    """Send an ICMP error about a packet of each flow from one namespace. Returns what the errors quote that arrive in the
    other."""
    with inside(receiver):
        listener = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with inside(sender):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with listener, raw:
        for flow in flows:
            (source, sport), (destination, dport) = (_packed(end) for end in flow)
            message = _HOST_UNREACHABLE + bytes(6) + ip_packet(source, destination, protocol, sport + dport + bytes(16))
            total = checksum(message).to_bytes(2, "big")
            raw.sendto(message[:2] + total + message[4:], (socket.inet_ntoa(source), 0))
        return quotes_of(listener, _HOST_UNREACHABLE, len(flows))


def quotes_of(listener: socket.socket, kind: bytes, count: int) -> list[str]:
    """What ICMP errors of this type and code quote, once `count` different ones have come."""
    quotes: set[str] = set()
    while len(quotes) < count:
        packet = listener.recv(2048)
        if packet[20:22] == kind:
            quoted = packet[28:]
            ends = (show_endpoint(source_of(quoted[12:24])), show_endpoint(destination_of(quoted[12:24])))
            quotes.add(" > ".join(ends))
    return sorted(quotes)


def _packed(text: str) -> tuple[bytes, bytes]:
    address, _, port = text.rpartition(":")
    return socket.inet_aton(address), int(port).to_bytes(2, "big")


def queue_statement_is_loaded() -> None:
    """The ruleset uses the nft `queue` statement, and there are no iptables rules."""
    with inside("gateway"):
        ruleset = subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout
    assert "queue to 0" in ruleset or "queue num 0" in ruleset, ruleset
    assert "table ip raw" not in ruleset, ruleset


def requests_are_answered_by_both_real_servers() -> None:
    """A connection for each request: all shards take part, the lane carries, and real servers see local addresses only."""
    answers = [ask(http.client.HTTPConnection(VIP, PORT)) for _ in range(REQUESTS)]
    assert {answer["real_server"] for answer in answers} == {"rs1", "rs2"}
    assert {answer["peer"].split(":")[0] for answer in answers} <= {"192.0.2.10", "192.0.2.11"}
    totals = json.loads(api("GET", "/stats/ip_vs_stats?format=json"))["totals"]
    assert min(totals["conns"]["shards"]) > 0, f"a shard saw no connection: {totals['conns']}"
    while not json.loads(api("GET", "/stats/ip_vs_stats?format=json"))["totals"]["out_packets"]["lane"]:
        time.sleep(0.1)  # it is added up once a second


def datagrams_are_answered_by_both_real_servers() -> None:
    """Datagrams from as many ports as there are requests are answered by the UDP service on the port of the TCP service."""
    clients, answers = udp_clients(REQUESTS)
    assert {answer["real_server"] for answer in answers} == {"rs1", "rs2"}
    assert {answer["peer"].split(":")[0] for answer in answers} <= {"192.0.2.10", "192.0.2.11"}
    assert {answer["peer"] for answer in answers} == {row["local"] for row in sessions("UDP")}
    for client in clients:
        client.close()


def icmp_errors_reach_the_owning_shard() -> None:
    """Errors about both directions and both protocols arrive, for sessions of every shard."""
    kept = connections(12)
    tcp, udp = sessions("ESTABLISHED"), sessions("UDP")
    assert len(tcp) == len(kept)
    for rows, protocol in ((tcp, socket.IPPROTO_TCP), (udp, socket.IPPROTO_UDP)):
        to_rs1 = [row for row in rows if row["destination"].startswith("192.0.2.101:")]
        assert to_rs1, "some of them go to rs1"
        found = errors_about([(row["local"], row["destination"]) for row in to_rs1], "rs1", "client", protocol)
        assert found == sorted(f"{row['source']} > {row['virtual']}" for row in to_rs1)
        found = errors_about([(row["virtual"], row["source"]) for row in to_rs1], "client", "rs1", protocol)
        assert found == sorted(f"{row['destination']} > {row['local']}" for row in to_rs1)
    for conn in kept:
        conn.close()


def errors_of_the_kernel_itself_reach_the_client() -> None:
    """Errors of the gateway about rewritten packets that it cannot forward arrive; here, their TTL has ended."""
    opened = [conn.sock for conn in connections(4)]
    clients = [*opened, *udp_clients(4)[0]]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as listener:
        for client in clients:
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            client.send(_QUESTION)
        found = quotes_of(listener, _TTL_EXCEEDED, len(clients))
    assert found == sorted("{}:{} > {}:{}".format(*client.getsockname(), VIP, PORT) for client in clients)
    for client in clients:
        client.close()


def idle_sessions_are_reset() -> None:
    """A lowered timeout is in force at once, and the session ends with a RST."""
    api("PUT", "/sysctl/tcp_timeout_established", "1000")
    endings: collections.Counter[str] = collections.Counter()
    for conn in connections(4):
        try:
            conn.sock.recv(1)
            endings["closed"] += 1
        except ConnectionResetError:
            endings["reset"] += 1
    api("PUT", "/sysctl/tcp_timeout_established", "900000")
    assert endings == {"reset": 4}, endings


def fragments_are_dropped_or_put_together() -> None:
    """The kernel drops and counts unsolicited packets, and tracks no connection for them."""
    question = os.urandom(3000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((VIP, PORT))
        client.send(question)
        while json.loads(api("GET", "/stats/ext/defence_ip_frag_drop?format=json"))["kernel"] < len(question) // 1480 + 1:
            time.sleep(0.1)
        assert api("PUT", "/sysctl/defence_frag_drop", "0") == b"0\n"
        client.send(question)
        assert client.recv(1 << 16).partition(b"\n")[2] == question
        assert api("PUT", "/sysctl/defence_frag_drop", "1") == b"1\n"
    tracking = Path("/proc/sys/net/netfilter/nf_conntrack_count")
    with inside("gateway"):
        assert not tracking.exists() or int(tracking.read_text()) == 0


def unsolicited_packets_are_dropped_or_answered() -> None:
    """A port that is no UDP service."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((VIP, PORT + 1))
        client.send(b"?")
        while json.loads(api("GET", "/stats/ext/defence_udp_drop?format=json"))["kernel"] < 1:
            time.sleep(0.1)
        assert api("PUT", "/sysctl/defence_udp_drop", "0") == b"0\n"
        client.send(b"?")
        try:
            raise AssertionError(f"an answer: {client.recv(1 << 16)!r}")
        except ConnectionRefusedError:
            pass
        assert api("PUT", "/sysctl/defence_udp_drop", "1") == b"1\n"


def sessions_survive_a_flush() -> None:
    """The guard outlives a flush of the whole ruleset, the table comes back, and no session is reset meanwhile."""
    kept = connections(8)
    with inside("gateway"):
        subprocess.run(["nft", "flush", "ruleset"], check=True)
        tables = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout
        assert "appliance_guard" in tables, tables
    for conn in kept:
        ask(conn)
        conn.close()
    with inside("gateway"):
        # The lane carries those sessions, so they do not show when the table is back.
        while "queue" not in subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout:
            time.sleep(0.1)


def sources_that_nobody_has_open_no_session() -> None:
    """The rules that look into the routing table (`fib`) and into ranges work on this kernel as well."""
    before = json.loads(api("GET", "/stats/queues?format=json"))["forged_source_drops"]["total"]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for source in ("198.51.100.1", "127.0.0.1", VIP, "192.0.2.10", "192.0.2.101"):
            datagram = (7000).to_bytes(2, "big") + PORT.to_bytes(2, "big") + (9).to_bytes(2, "big") + bytes(2) + b"?"
            packet = ip_packet(socket.inet_aton(source), socket.inet_aton(VIP), socket.IPPROTO_UDP, datagram)
            raw.sendto(packet, (VIP, 0))
    while json.loads(api("GET", "/stats/queues?format=json"))["forged_source_drops"]["total"] < before + 5:
        time.sleep(0.1)


def nothing_was_lost_on_the_way() -> None:
    """There was no overrun, no internal error, and no session was refused."""
    drops = json.loads(api("GET", "/stats/drops?format=json"))
    for name in ("internal_error", "truncated", "bad_header", "no_real_server", "local_ports_exhausted"):
        assert drops[name]["total"] == 0, name
    assert json.loads(api("GET", "/stats/queues?format=json"))["worker_starts"]["total"] == len(drops["truncated"]["shards"])


CHECKS: tuple[Callable[[], None], ...] = (
    queue_statement_is_loaded,
    requests_are_answered_by_both_real_servers,
    datagrams_are_answered_by_both_real_servers,
    icmp_errors_reach_the_owning_shard,
    errors_of_the_kernel_itself_reach_the_client,
    idle_sessions_are_reset,
    fragments_are_dropped_or_put_together,
    unsolicited_packets_are_dropped_or_answered,
    sources_that_nobody_has_open_no_session,
    sessions_survive_a_flush,
    nothing_was_lost_on_the_way,
)


def main() -> int:
    """Run all checks, also after one that failed."""
    failed = 0
    for check in CHECKS:
        try:
            check()
        except (AssertionError, OSError, http.client.HTTPException) as error:
            failed += 1
            print(f"FAILED {check.__name__}: {error!r}", flush=True)
        else:
            print(f"ok     {check.__name__}", flush=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
