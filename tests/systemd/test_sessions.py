"""Sessions of the real appliance under systemd, with the shipped units: what a restart, a crash and a stop do to them."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.systemd.machine import HERE, NEEDS_SYSTEMD, UNITS, Machine, accounts, booted

PROJECT = Path(__file__).parents[2]
OBJECT = PROJECT / "build/lane.bpf.o"
pytestmark = [*NEEDS_SYSTEMD, pytest.mark.skipif(not OBJECT.exists(), reason="the lane is not built")]

VIP, REAL_SERVERS = "203.0.113.10", ("192.0.2.101", "192.0.2.102")
CONNECTIONS = 10
REPORTS = "/run/reports"
PYTHON = os.path.realpath(sys.executable)
COMMAND = f"""\
#!/bin/sh
export PYTHONPATH=/opt/appliance/current/lib:/opt/appliance/current/packages PYTHONDONTWRITEBYTECODE=1
exec {PYTHON} -m appliance "$@"
"""
NETWORK = f"""\
set -e
for side in client server; do
    ip netns add $side
    ip link add ${{side}}0 type veth peer name eth0 netns $side
    ip link set ${{side}}0 up
    ip -n $side link set lo up
    ip -n $side link set eth0 up
done
ip addr add 198.51.100.1/24 dev client0
ip -n client addr add 198.51.100.2/24 dev eth0
ip -n client route add default via 198.51.100.1
ip addr add 192.0.2.1/24 dev server0
ip -n server addr add {REAL_SERVERS[0]}/24 dev eth0
ip -n server addr add {REAL_SERVERS[1]}/24 dev eth0
ip -n server route add default via 192.0.2.1
"""
WITHOUT_LANE = """\
[Service]
AmbientCapabilities=
AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW
"""


class Site(NamedTuple):
    """A machine that is a gateway, and a program at each end."""

    machine: Machine
    directory: Path

    def start(self, where: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `stream.py` in a namespace."""
        command = self.machine.command("ip", "netns", "exec", where, PYTHON, "/opt/stream.py", *arguments)
        return subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def report(self, name: str) -> Any:
        """What a program has seen so far."""
        file = self.directory / name
        return json.loads(file.read_text()) if file.exists() else {"open": 0, "lines": 0, "ends": {}, "wrong": []}

    def goes_on(self, lines: int = 10) -> None:
        """Every connection brings so many lines more, and none has ended or gone wrong."""
        before = self.report("client")["lines"]
        self.machine.wait_until("every connection brings more", lambda: self.report("client")["lines"] >= before + lines)
        seen = self.report("client")
        assert (seen["open"], seen["ends"], seen["wrong"]) == (CONNECTIONS, {}, [])

    def api(self, path: str) -> Any:
        """What the API says, once it answers."""
        answers: list[str] = []
        ask = ("curl", "--silent", "--max-time", "20", f"http://127.0.0.1:9380{path}?format=json")

        def has_answer() -> bool:
            answers.append(self.machine.run(*ask, check=False))
            return answers[-1] != ""

        self.machine.wait_until("the API answers", has_answer)
        return json.loads(answers[-1])

    def lane(self) -> Any:
        """How the lane is, as /healthz has it."""
        return self.api("/healthz")["lane"]

    def pid(self) -> int:
        """The director's process, as the machine numbers it; 0 when there is none."""
        return int(self.machine.run("systemctl", "show", "--property=MainPID", "--value", "appliance"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    reports, own = directory / "reports", directory / "machine"
    for made in (reports, own):
        made.mkdir()
    config = (PROJECT / "etc/lvs.toml").read_text()
    files = {
        **accounts(),
        **{str(UNITS / unit.name): unit.read_text() for unit in (PROJECT / "deploy").glob("*.service")},
        "/opt/appliance/current/bin/appliance": COMMAND,
        "/opt/stream.py": (HERE / "stream.py").read_text(),
        "/etc/appliance/lvs.toml": config,
    }
    binds = {
        PROJECT / "appliance": "/opt/appliance/current/lib/appliance",
        OBJECT.parent: "/opt/appliance/current/lib/build",
        Path(sysconfig.get_path("purelib")): "/opt/appliance/current/packages",
        reports: REPORTS,
    }
    with booted(own, files, binds) as machine:
        machine.run("sh", "-c", NETWORK)
        yield Site(machine, reports)


@contextmanager
def streams(site: Site) -> Iterator[None]:
    """Connections through the VIP to both real servers, while they last."""
    for name in ("client", "server"):
        (site.directory / name).unlink(missing_ok=True)
    ends = [site.start("server", "server", "0.0.0.0", "8080", f"{REPORTS}/server")]
    try:
        site.machine.wait_until("the server listens", lambda: (site.directory / "server").exists())
        ends.append(site.start("client", "client", VIP, "80", f"{REPORTS}/client", str(CONNECTIONS)))
        site.machine.wait_until("all are connected", lambda: site.report("client")["open"] == CONNECTIONS)
        yield
    finally:
        for end in ends:
            end.kill()
            end.wait()
        site.machine.run("pkill", "-KILL", "-f", "/opt/stream.py", check=False)


@pytest.fixture
def running(site: Site) -> Iterator[Site]:
    """The appliance started; stopped for good afterwards."""
    site.machine.run("systemctl", "start", "appliance")
    assert site.lane()["state"] == "on"
    yield site
    site.machine.run("systemctl", "stop", "appliance", "appliance-dataplane")


def test_the_doctor_sees_every_fact_with_the_rights_of_the_service(running: Site) -> None:
    """Connection tracking as well."""
    rule = "add table ip other; add chain ip other in { type filter hook input priority 0; }; add rule ip other in ct state new"
    running.machine.run("nft", rule)
    report = running.api("/doctor")
    running.machine.run("nft", "delete table ip other")
    assert report["unseen"].keys() <= {"samples"}
    assert report["findings"] == []


def test_a_restart_keeps_every_session(running: Site) -> None:
    with streams(running):
        running.goes_on()
        before = running.pid()
        running.machine.run("systemctl", "restart", "appliance")
        running.goes_on()
        assert running.lane()["state"] == "on"
        assert running.pid() != before
        carried = running.api("/stats/lane")["counters"]["carried"]
        running.goes_on(1)  # so that what is reported from here on was sent behind that
        running.goes_on(10)
        assert running.api("/stats/lane")["counters"]["carried"] >= carried + 2 * 10 * CONNECTIONS, (
            "a packet each way for each line"
        )


def test_sessions_go_on_while_no_process_is_there(running: Site) -> None:
    running.machine.run("mkdir", "-p", str(UNITS / "appliance.service.d"))
    running.machine.write(str(UNITS / "appliance.service.d/wait.conf"), "[Service]\nRestartSec=1h\n")
    running.machine.run("systemctl", "daemon-reload")
    with streams(running):
        running.goes_on()
        running.machine.run("systemctl", "kill", "--signal=KILL", "appliance")
        running.machine.wait_until("nobody is there", lambda: running.pid() == 0)
        running.goes_on()
        running.machine.run("rm", "-r", str(UNITS / "appliance.service.d"))
        running.machine.run("systemctl", "daemon-reload")
        running.machine.run("systemctl", "start", "appliance")
        running.goes_on()
        assert running.lane()["state"] == "on"
        running.goes_on()


def test_a_stop_resets_both_ends_and_leaves_nothing(running: Site) -> None:
    with streams(running):
        running.goes_on()
        running.machine.run("systemctl", "stop", "appliance")
        are_reset(running)
    nothing_is_left(running)


def test_a_stop_after_a_crash_resets_both_ends_too(running: Site) -> None:
    """The data plane's unit does it, because no director is there."""
    with streams(running):
        running.goes_on()
        running.machine.run("systemctl", "kill", "--signal=KILL", "appliance")
        running.machine.run("systemctl", "stop", "appliance")
        are_reset(running)
    nothing_is_left(running)


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_parameter_of_the_host_is_written_within_the_limits_and_put_back(running: Site, is_killed: bool) -> None:
    """By the director; or by the data plane's unit, when no director is there."""
    path = "/proc/sys/net/ipv4/tcp_fin_timeout"
    before = running.machine.read(path)
    url = "http://127.0.0.1:9380/host/sysctl/tcp_fin_timeout"
    assert running.machine.run("curl", "--silent", "--max-time", "20", "-X", "PUT", "-d", "31", url) == "31\n"
    assert running.machine.read(path) == "31\n"
    if is_killed:
        running.machine.run("systemctl", "kill", "--signal=KILL", "appliance")
    running.machine.run("systemctl", "stop", "appliance")
    nothing_is_left(running)
    assert running.machine.read(path) == before != "31\n"


def test_only_the_director_may_load_programs(running: Site) -> None:
    workers = running.machine.run("pgrep", "-f", "appliance.queue_worker").split()
    assert len(workers) == 2
    assert may_load(running, str(running.pid()))
    assert not any(may_load(running, pid) for pid in workers)


def may_load(site: Site, pid: str) -> bool:
    """Whether a process has CAP_BPF (39) or CAP_PERFMON (38)."""
    [held] = re.findall(r"^CapEff:\s*(\w+)$", site.machine.read(f"/proc/{pid}/status"), re.MULTILINE)
    return bool(int(held, 16) & (3 << 38))


def are_reset(site: Site) -> None:
    def endings() -> list[dict[str, int]]:
        return [site.report(end)["ends"] for end in ("client", "server")]

    site.machine.wait_until("both ends are reset", lambda: endings() == 2 * [{"ConnectionResetError": CONNECTIONS}])


def nothing_is_left(site: Site) -> None:
    run = site.machine.run
    site.machine.wait_until("the data plane has ended", lambda: site.machine.state("appliance-dataplane") == "inactive")
    assert "appliance" not in run("nft", "list", "tables")
    assert VIP not in run("ip", "address")
    for interface in ("client0", "server0"):
        assert "clsact" not in run("tc", "qdisc", "show", "dev", interface)
    assert not site.machine.has("/run/appliance")


def test_without_the_rights_the_appliance_runs_and_says_why(site: Site) -> None:
    drop_in = UNITS / "appliance.service.d"
    site.machine.run("mkdir", "-p", str(drop_in))
    site.machine.write(str(drop_in / "rights.conf"), WITHOUT_LANE)
    site.machine.run("systemctl", "daemon-reload")
    site.machine.run("systemctl", "start", "appliance")
    lane = site.lane()
    assert lane["state"] == "off"
    assert "not permitted" in lane["reason"]
    with streams(site):
        site.goes_on()
    site.machine.run("rm", "-r", str(drop_in))
    site.machine.run("systemctl", "daemon-reload")
    site.machine.run("systemctl", "stop", "appliance", "appliance-dataplane")
