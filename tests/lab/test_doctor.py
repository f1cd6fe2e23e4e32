"""Each fault is made in the namespaces of a lab, and the doctor names it; a healthy gateway has none."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.doctor.registry import CHECKS
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import director_pid, outcome, reload, worker_pids
from tests.lab.doctor import BIN, connecting, doctor, make_sysctls_read_only, named, program
from tests.lab.floods import syn_flood
from tests.lab.idle_sessions import IdleSessions
from tests.lab.kernel_settings import kernel_setting
from tests.lab.raw_client import RawClient, raw_addresses
from tests.lab.shipped_config import SHIPPED

pytestmark = pytest.mark.once

GATEWAY = "198.51.100.1"
PORT = 9999

_LISTENING = f"""
import socket, sys
listening = socket.create_server(("{GATEWAY}", {PORT}), backlog=int(sys.argv[1]))
print("begun", flush=True)
sys.stdin.read()
"""

LOCAL_ADDRESSES = ("192.0.2.10", "192.0.2.11")


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    """A lab whose appliance cannot put kernel parameters back; so faults of these stay."""
    for lab in running_lab("--shards", "2"):
        make_sysctls_read_only(lab)
        yield lab


def request(lab: RunningLab, times: int = 1) -> None:
    """Some requests, whatever becomes of them."""
    for _ in range(times):
        lab.run("client", "curl", "-s", "--max-time", "2", "-o", "/dev/null", f"http://{lab.vip}:{lab.port}/", check=False)


def sysctl(lab: RunningLab, name: str, value: str, role: str = "gateway") -> AbstractContextManager[None]:
    return kernel_setting(lab, (role,), name, value)


@contextmanager
def ip(lab: RunningLab, role: str, make: str, undo: str) -> Iterator[None]:
    lab.run(role, "ip", *make.split())
    try:
        yield
    finally:
        lab.run(role, "ip", *undo.split())


@contextmanager
def listening(lab: RunningLab, backlog: int) -> Iterator[None]:
    """A program on the gateway that listens and accepts nobody."""
    with program(lab, "gateway", _LISTENING, str(backlog)):
        yield


@contextmanager
def overflowing(lab: RunningLab) -> Iterator[None]:
    with listening(lab, 0), connecting(lab, 10, GATEWAY, PORT):
        yield


@contextmanager
def cookies(lab: RunningLab) -> Iterator[None]:
    with sysctl(lab, "net.ipv4.tcp_syncookies", "2"), listening(lab, 50), connecting(lab, 5, GATEWAY, PORT):
        yield


@contextmanager
def old_clocks(lab: RunningLab) -> Iterator[None]:
    """A client of the gateway itself that goes on with a lower clock, as another host behind the same address would."""
    there = RunningLab({**lab.environment, "LAB_VIP": GATEWAY, "LAB_PORT": str(PORT)})
    lab.run("gateway", "ethtool", "-K", "client0", "tx", "off")  # else the client sees checksums that are not whole
    with listening(lab, 5), raw_addresses(there, "198.51.100.9"):
        with RawClient(there, "198.51.100.9", 4000, clock=3_000_000_000) as client:
            client.connect()
            client._clock = 2_000_000_000
            for _ in range(30):
                client.send("PA", b"late")
        yield


@contextmanager
def without_arp(lab: RunningLab) -> Iterator[None]:
    with ip(lab, "rs2", "link set eth0 down", "link set eth0 up"):
        request(lab, 4)
        yield


@contextmanager
def silent(lab: RunningLab) -> Iterator[None]:
    """The second real server has no route to the local addresses any more, as behind a wrong router."""
    for address in LOCAL_ADDRESSES:
        lab.run("rs2", "ip", "route", "add", "unreachable", f"{address}/32")
    try:
        with connecting(lab, 10):
            yield
    finally:
        for address in LOCAL_ADDRESSES:
            lab.run("rs2", "ip", "route", "del", "unreachable", f"{address}/32")


@contextmanager
def full_backlog(lab: RunningLab) -> Iterator[None]:
    with lab.changed(tcp_syncookies=0, tcp_max_syn_backlog=16, conn_early_drop=0), silent(lab), connecting(lab, 80):
        yield


@contextmanager
def full_table(lab: RunningLab) -> Iterator[None]:
    with IdleSessions(lab, 20), lab.changed(conn_max=20):
        yield


@contextmanager
def no_real_server(lab: RunningLab) -> Iterator[None]:
    text = SHIPPED.read_text()
    drained = text.replace("\nweight = 100\n", "\nweight = 0\n")
    assert drained != text
    assert outcome(reload(lab, drained)).startswith("configuration read again")
    try:
        request(lab, 2)
        yield
    finally:
        reload(lab, text)


@contextmanager
def stopped_worker(lab: RunningLab) -> Iterator[None]:
    pid = worker_pids(lab)[1]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def overrun(lab: RunningLab) -> Iterator[None]:
    """More packets than a queue holds, while nobody empties it. The kernel answers none of them by itself."""
    with lab.changed(synproxy_in_kernel=0), stopped_worker(lab), syn_flood(lab, 20_000, 3) as flood:
        flood.sent()
    yield  # the worker goes on: one that is stopped for long is killed


@contextmanager
def flushed(lab: RunningLab) -> Iterator[None]:
    """The rules are gone, and the tool that would load them again fails."""
    there = ["nsenter", f"--mount=/proc/{director_pid(lab)}/ns/mnt", "--"]
    tool = str(shutil.which("nft"))
    subprocess.run([*there, "mount", "--bind", "/bin/false", tool], check=True)
    try:
        lab.run("gateway", "nft", "delete", "table", "ip", "appliance")
        yield
    finally:
        subprocess.run([*there, "umount", tool], check=True)


Fault = Callable[[RunningLab], AbstractContextManager[None]]

FAULTS: dict[str, tuple[str, Fault]] = {
    "fin_timeout_lowered": ("", lambda lab: sysctl(lab, "net.ipv4.tcp_fin_timeout", "30")),
    "ip_forward_off": ("", lambda lab: sysctl(lab, "net.ipv4.ip_forward", "0")),
    "rp_filter_strict": ("server0", lambda lab: sysctl(lab, "net.ipv4.conf.server0.rp_filter", "1")),
    "accept_local_off": ("client0", lambda lab: sysctl(lab, "net.ipv4.conf.client0.accept_local", "0")),
    "send_redirects_on": ("server0", lambda lab: sysctl(lab, "net.ipv4.conf.server0.send_redirects", "1")),
    "interface_missing": ("server0", lambda lab: ip(lab, "gateway", "link set server0 down", "link set server0 up")),
    "mtu_too_large": ("client0", lambda lab: ip(lab, "gateway", "link set client0 mtu 4000", "link set client0 mtu 1500")),
    "no_room_for_client_address": ("192.0.2.101", lambda lab: lab.changed(fullnat_mss_adjust_entry=0)),
    "real_server_unreachable": (
        "192.0.2.102",
        lambda lab: ip(lab, "gateway", "route add unreachable 192.0.2.102/32", "route del unreachable 192.0.2.102/32"),
    ),
    "local_port_overlap": (
        "192.0.2.10",
        lambda lab: ip(
            lab, "gateway", "route add 192.0.2.101/32 dev server0 src 192.0.2.10", "route del 192.0.2.101/32 dev server0"
        ),
    ),
    "real_server_no_arp": ("192.0.2.102", without_arp),
    "real_server_silent": ("192.0.2.102", silent),
    "timestamps_kept": ("", lambda lab: lab.changed(fullnat_timestamp_remove_entry=0)),
    "syncookies_sent": ("", cookies),
    "listen_overflows": ("", overflowing),
    "paws_rejections": ("", old_clocks),
    "session_table_full": ("", full_table),
    "syn_backlog_full": ("", full_backlog),
    "connections_refused": ("no_real_server", no_real_server),
    "worker_down": ("shard 1", stopped_worker),
    "queue_drops": ("", overrun),
    "steering_wrong": ("", flushed),
}
"""By the name of the finding: what it is about, and how the fault is made for a block."""


ELSEWHERE = {
    "worker_restarts": "a test of its own, below",
    "addresses_missing": "a test of its own, below",
    "deferred_greeting": "the test without an appliance, below",
    "real_servers_down": "a test of its own, below",
    "real_server_flapping": "a test of its own, below",
    "health_checks_late": "test_many_services.py",
    "access_set_missing": "test_access.py",
    "not_running": "the test without an appliance, below",
    "local_ports_run_out": "test_doctor_story.py",
    "services_tracked": "test_doctor_story.py",
    "lane_not_on": "test_doctor_story.py",
    "admissions_off": "test_prepared.py",
}
NOT_IN_A_NAMESPACE = {
    "duty_failed": "it takes an error of the appliance",
    "internal_errors": "it takes an error of the appliance",
    "client_addresses_left_out": "it takes losses that nobody can time",
    "lro_on": "virtual interfaces have no LRO",
    "conntrack_full": "the limit is that of the whole machine",
    "conntrack_few_buckets": "the buckets are those of the whole machine",
    "tcp_tw_recycle": "it takes a kernel before 4.12",
    "clock_source_slow": "the clock is that of the whole machine",
    "clock_set": "the clock is that of the whole machine",
}
"""Findings that only unit tests make."""


def test_every_finding_has_its_place() -> None:
    assert sorted([*FAULTS, *ELSEWHERE, *NOT_IN_A_NAMESPACE]) == sorted(check.name for check in CHECKS)


def test_a_healthy_gateway_has_no_finding() -> None:
    """Also with traffic, and on interfaces whose GRO is on."""
    for lab in running_lab("--shards", "2", "--lane", "auto", offloads=True):
        lab.run("gateway", "ethtool", "-K", "client0", "gro", "on")
        assert lab.script("client", "http_load.py", "2000", "16")["ok"] == 2000
        code, report = doctor(lab)
        assert (code, report["findings"], report["left_out"], report["unseen"]) == (0, [], [], {})
        with IdleSessions(lab, 50):
            assert lab.script("client", "http_load.py", "2000", "16")["ok"] == 2000
            code, report = doctor(lab)
        assert (code, report["findings"]) == (0, [])
        assert report["running"]
        assert report["watched_s"] > 0


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_while_it_is_there(lab: RunningLab, name: str) -> None:
    about, fault = FAULTS[name]
    assert name not in named(doctor(lab)[1], "note")
    with fault(lab):
        lab.wait_until(f"{name} is named", lambda: named(doctor(lab)[1], "note").get(name) == about)


def test_a_worker_that_has_died_is_named(lab: RunningLab) -> None:
    """Last: it is remembered for ten minutes."""
    assert "worker_restarts" not in named(doctor(lab)[1])
    os.kill(worker_pids(lab)[0], signal.SIGKILL)
    lab.wait_until("it is named", lambda: named(doctor(lab)[1]).get("worker_restarts") == "shard 0")


@pytest.fixture
def unmanaged(tmp_path: Path) -> Iterator[RunningLab]:
    """A lab whose addresses another program adds."""
    file = tmp_path / "lvs.toml"
    file.write_text(SHIPPED.read_text().replace("\nmanage_addresses = true\n", "\nmanage_addresses = false\n"))
    yield from running_lab("--config", str(file), "--shards", "1")


def test_addresses_that_another_program_is_to_add(unmanaged: RunningLab) -> None:
    lab = unmanaged
    assert "addresses_missing" not in named(doctor(lab)[1], "note")
    lab.run("gateway", "ip", "address", "del", f"{lab.vip}/32", "dev", "client0")
    lab.wait_until("it is named", lambda: named(doctor(lab)[1], "note").get("addresses_missing") == lab.vip)


FIRST_REAL_SERVER = "[[service.real_server]]"

CHECKED = """
[service.health_check]
type = "tcp"
interval_s = 1.0
timeout_s = 0.5
rise = 2
fall = 2

"""


@pytest.fixture
def checked(tmp_path: Path) -> Iterator[RunningLab]:
    """A lab whose real servers are checked once a second."""
    file = tmp_path / "lvs.toml"
    file.write_text(SHIPPED.read_text().replace(FIRST_REAL_SERVER, f"{CHECKED}{FIRST_REAL_SERVER}", 1))
    yield from running_lab("--config", str(file), "--shards", "1")


def test_a_real_server_that_is_down_and_one_that_comes_and_goes(checked: RunningLab) -> None:
    def is_down(report: dict[str, Any]) -> bool:
        return named(report).get("real_servers_down") == "web"

    for _ in range(2):
        change_address(checked, "del")
        checked.wait_until("it is down", lambda: is_down(doctor(checked)[1]))
        change_address(checked, "replace")
        checked.wait_until("it is up", lambda: not is_down(doctor(checked)[1]))
    assert named(doctor(checked)[1])["real_server_flapping"] == "192.0.2.102:8080"


def change_address(lab: RunningLab, how: str) -> None:
    lab.run("rs2", "ip", "address", how, "192.0.2.102/24", "dev", "eth0")


UNSERVED = """
[gateway]
client_interface = "eth0"
server_interface = "nowhere0"

[local_addresses]
default = ["192.0.2.10"]

[[service]]
name = "mail"
vip = "203.0.113.10"
port = 25
synproxy = true

[[service.real_server]]
address = "192.0.2.101"
port = 2525
"""


def test_without_an_appliance_the_host_and_the_file_are_looked_at(lab: RunningLab, tmp_path: Path) -> None:
    file = tmp_path / "lvs.toml"
    file.write_text(UNSERVED)
    with sysctl(lab, "net.ipv4.tcp_fin_timeout", "30", "client"):
        command = lab.enter("client", f"{BIN}/appliance", "doctor", "--json", "--config", str(file))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 20
    assert done.stderr == f"no appliance runs here (unix:/run/appliance/api.sock): looking at this host and {file} itself\n"
    report = json.loads(done.stdout)
    assert named(report)["not_running"] == ""
    assert named(report)["deferred_greeting"] == "mail"
    assert named(report)["interface_missing"] == "nowhere0"
    assert "fin_timeout_lowered" in named(report, "note")
    assert report["unseen"] == {"running": "no appliance was asked"}
    assert not report["running"]
    assert report["watched_s"] >= 5
