"""A client whose packets are dropped for ten reasons, by shards and by rules of the kernel: `appliance trace` names each."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from appliance.lab import namespaces
from appliance.replay import DIFFERENT
from appliance.wire.flow import pack_endpoint
from appliance.wire.pcapng import CaptureFileError, read_packets
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import reload
from tests.lab.floods import waiting
from tests.lab.raw_client import RawClient, raw_addresses
from tests.support.segments import fragments, tcp

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="once is enough: no packet in it is carried by the lane")

STRANGER = "198.51.100.77"
GUARDED, PROXIED, UNUSED = 8001, 8002, 81


def service(name: str, port: int, keys: str) -> str:
    server = '[[service.real_server]]\naddress = "192.0.2.101"\nport = 8080\n'
    return f'[[service]]\nname = "{name}"\nvip = "203.0.113.10"\nport = {port}\n{keys}\n{server}'


GATEWAY = """
[gateway]
shards = 2
client_interface = "client0"
server_interface = "server0"

[local_addresses]
default = ["192.0.2.10"]

"""
CONFIG = "".join((
    GATEWAY,
    service("web", 80, "synproxy = false\nlane = false"),
    service("guarded", GUARDED, 'allow = ["10.0.0.0/8"]'),
    service("proxied", PROXIED, "synproxy = true"),
))  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = tmp_path_factory.mktemp("trace") / "lvs.toml"
    config.write_text(CONFIG)
    for lab in running_lab("--config", str(config), "--shards", "2"):
        with raw_addresses(lab, STRANGER):
            assert lab.script("client", "http_load.py", "20", "4")["errors"] == {}, "all neighbours are known from here on"
            yield lab


class Shown(NamedTuple):
    """What the commands have shown of the story."""

    items: list[dict[str, Any]]
    """Of `appliance trace --json`."""
    capture: Path
    """Of `appliance capture`."""

    @property
    def drops(self) -> dict[str, str]:
        """The stage of each packet that was dropped, by its reason."""
        return {item["reason"]: item["stage"] for item in self.items if item.get("verdict") == "drop"}


@contextmanager
def running(lab: RunningLab, out: Path, *command: str) -> Iterator[None]:
    """A command of `appliance` about the stranger's packets, for the block; Ctrl-C ends it."""
    whole = lab.enter("gateway", sys.executable, "-m", "appliance", *command, "--client", STRANGER)
    environment = lab.environment | {"APPLIANCE_API": lab.environment["LAB_API"]}
    with out.open("w") as file, subprocess.Popen(whole, env=environment, stdout=file, stderr=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()


def items_in(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]]


def comments_in(capture: Path) -> list[str]:
    """What is in a capture that may still grow."""
    found = []
    with suppress(CaptureFileError, FileNotFoundError), capture.open("rb") as stream:
        for packet in read_packets(stream):
            found.append(packet.comment)  # noqa: PERF401  # those in front of half a block count
    return found


@pytest.fixture(scope="module")
def shown(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The whole story, once for all tests."""
    folder = tmp_path_factory.mktemp("shown")
    trace, capture = folder / "trace.jsonl", folder / "c.pcapng"

    def has(reason: str) -> bool:
        in_trace = any(item["reason"] == reason for item in items_in(trace) if item["kind"] == "packet")
        return in_trace and any(f"drop {reason} (" in comment for comment in comments_in(capture))

    with (
        closing(Stranger(lab)) as stranger,
        running(lab, trace, "trace", "--json"),
        running(lab, folder / "nothing", "capture", str(capture)),
    ):
        story(lab, stranger, has)
    return Shown(items_in(trace), capture)


class Stranger:
    """Sends whole packets to the VIP."""

    def __init__(self, lab: RunningLab) -> None:
        self._lab = lab
        self._socket = namespaces.call_inside(
            lab.namespace("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        )

    def close(self) -> None:
        self._socket.close()

    def segment(
        self, flags: str, port: int = 80, source_port: int = 4000, seq: int = 1000, ack: int = 0, data: bytes = b""
    ) -> bytes:
        """A segment of his."""
        here = pack_endpoint(IPv4Address(STRANGER), source_port)
        return tcp(here, pack_endpoint(IPv4Address(self._lab.vip), port), flags, seq=seq, ack=ack, data=data)

    def send(self, *packets: bytes) -> None:
        for packet in packets:
            self._socket.sendto(packet, (self._lab.vip, 0))

    def syns(self, count: int) -> None:
        """SYNs from so many ports, the same ones each time."""
        self.send(*(self.segment("S", source_port=20_000 + number) for number in range(count)))


def cut_all(lab: RunningLab) -> None:
    """End all sessions, which the kernel of the client cannot."""
    lab.api("/conns?all=1", "-X", "DELETE")


@contextmanager
def limited(lab: RunningLab, **tunables: int) -> Iterator[None]:
    """No session makes room for another one, and there is little room, for the block. No session is left behind it."""
    with lab.changed(conn_early_drop=0, **tunables):
        yield
        lab.wait_until("all that was sent is judged", lambda: not waiting(lab))
    cut_all(lab)


def damaged(packet: bytes) -> bytes:
    """With a wrong TCP checksum."""
    return packet[:36] + bytes([packet[36] ^ 1]) + packet[37:]


@contextmanager
def without_its_real_server(lab: RunningLab) -> Iterator[RawClient]:
    """A connection whose real server was removed."""
    with RawClient(lab, STRANGER, 5000) as client:
        client.connect()
        lab.wait_until("it is open", lambda: "ESTABLISHED" in lab.api("/conns"))
        other = CONFIG.replace("192.0.2.101", "192.0.2.102")
        reload(lab, other)
        yield client
        cut_all(lab)
        reload(lab, CONFIG)


def story(lab: RunningLab, stranger: Stranger, has: Callable[[str], bool]) -> None:
    """Send what is dropped for each of ten reasons; go on to the next when `has` says that the one was seen."""

    def until_seen(reason: str, act: Callable[[], None]) -> None:
        def is_seen() -> bool:
            act()
            return has(reason)

        lab.wait_until(f"{reason} is shown", is_seen)

    until_seen("no_session", lambda: stranger.send(stranger.segment("A", ack=6)))
    with without_its_real_server(lab) as client:
        until_seen("real_server_gone", lambda: client.send("A"))
    until_seen("defence_tcp_drop", lambda: stranger.send(stranger.segment("S", UNUSED)))
    until_seen("not_allowed_drops", lambda: stranger.send(stranger.segment("S", GUARDED)))
    until_seen("bad_checksum", lambda: stranger.send(damaged(stranger.segment("S"))))
    until_seen("defence_ip_frag_drop", lambda: stranger.send(*fragments(stranger.segment("S"), 8)))
    until_seen("bad_cookie", lambda: stranger.send(stranger.segment("PA", PROXIED, ack=6, data=b"x")))
    with limited(lab, tcp_max_syn_backlog=16):
        until_seen("syn_backlog_full", lambda: stranger.syns(64))
    with limited(lab, conn_max=2, tcp_timeout_syn_recv=60_000):
        stranger.syns(2)
        # Shards that open sessions at the same moment may overrun the limit; a replay has one packet behind the other.
        lab.wait_until("the table is full", lambda: len(lab.api_json("/conns")) == 2)
        until_seen("table_full", lambda: stranger.syns(32))
    with limited(lab, fullnat_lport_max=5001):
        until_seen("local_ports_exhausted", lambda: stranger.syns(32))


STAGES = {
    "no_session": "first packet",
    "defence_tcp_drop": "kernel rules",
    "not_allowed_drops": "kernel rules",
    "bad_checksum": "first packet",
    "defence_ip_frag_drop": "kernel rules",
    "bad_cookie": "synproxy",
    "syn_backlog_full": "first packet",
    "table_full": "first packet",
    "local_ports_exhausted": "first packet",
    "real_server_gone": "session",
}


def test_a_trace_names_the_reason_of_each_drop_and_leaves_nothing_behind(lab: RunningLab, shown: Shown) -> None:
    assert shown.drops == STAGES
    packets = [item for item in shown.items if item["kind"] == "packet"]
    assert {item["shard"] for item in packets} == {None, 0, 1}, "of both shards and of the kernel"
    assert [item["at_s"] for item in packets] == sorted(item["at_s"] for item in packets)
    lab.wait_until(
        "the tables of the traces are gone", lambda: "appliance_trace" not in lab.run("gateway", "nft", "list", "tables")
    )


def test_packets_of_which_the_kernel_does_not_tell_are_counted(lab: RunningLab, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"

    def is_said() -> bool:
        stranger.send(*(stranger.segment("S", UNUSED) for _ in range(500)))
        return "packets came beyond 200 a second" in trace.read_text()

    with closing(Stranger(lab)) as stranger, running(lab, trace, "trace", "--json"):
        lab.wait_until("it is said", is_said)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_shows_verdict_and_reason_as_the_comment_of_each_packet(shown: Shown) -> None:
    fields = ("frame.interface_name", "frame.comment", "ip.src", "tcp.dstport")
    command = ["tshark", "-r", str(shown.capture), "-T", "fields", *(word for field in fields for word in ("-e", field))]
    lines = [line.split("\t") for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()]
    came, went = ([line for line in lines if line[0] == interface] for interface in ("in", "out"))
    assert {comment for _, comment, _, _ in came} >= {f"drop {reason} ({stage})" for reason, stage in STAGES.items()}
    assert all(comment.startswith(("drop ", "rewritten ")) for _, comment, _, _ in came)
    sent = [line for line in went if line[1] == "as it went on: rewritten to_real_server (session)"]
    assert {(source, port) for _, _, source, port in sent} == {("192.0.2.10", "8080")}


def test_a_replay_without_rights_and_configuration_gives_the_same_verdicts(lab: RunningLab, shown: Shown) -> None:
    """Limits that were set while the appliance ran, a real server that was removed, and sessions that an operator has ended."""
    command = [sys.executable, "-m", "appliance", "replay", str(shown.capture)]
    # Without any right, and in a network namespace of its own, which has nothing.
    without_rights = ["unshare", "--net", "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--", *command]
    done = subprocess.run(without_rights, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode in (0, DIFFERENT), done.stderr
    # Packets of real servers come at any time, also while a change is made; those of the stranger never do in this story.
    of_stranger = [line for line in done.stdout.splitlines() if f" > {lab.vip}:" in line]
    assert [line for line in of_stranger if "# the file says" in line] == []
    judged = {line.partition(" ")[2].partition(": ")[0] for line in of_stranger}
    assert {f"drop {reason} ({stage})" for reason, stage in STAGES.items() if stage != "kernel rules"} <= judged
    assert sum("not replayed (a rule of the kernel dropped it)" in line for line in of_stranger) >= 3
