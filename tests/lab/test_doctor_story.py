"""A gateway with five faults at once: the doctor names all five, the commands that it prints mend them, and it is content."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import director_pid

LOCAL_ADDRESS = "10.77.0.10"

CONFIG = f"""
[gateway]
client_interface = "client0"
server_interface = "server0"

[sysctl]
fullnat_lport_min = 7001
fullnat_lport_max = 7008
fullnat_timestamp_remove_entry = 0

[local_addresses]
default = ["{LOCAL_ADDRESS}"]

[[service]]
name = "web"
vip = "203.0.113.10"
port = 80

[[service.real_server]]
address = "192.0.2.101"
port = 8080

[[service.real_server]]
address = "192.0.2.102"
port = 8080
"""
"""Two of the faults: a port pool of eight, and timestamps of all clients behind one address."""

RIVAL = """
table ip rival {
    chain zones {
        type filter hook prerouting priority -250;
        ct zone set 7
    }
}
"""
"""A rule as those of container networks: it takes packets back into connection tracking."""

CLIENTS = """
import errno, socket, sys
held = []
for _ in range(20):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex((sys.argv[1], int(sys.argv[2])))
    held.append(client)
print("asked", flush=True)
sys.stdin.read()
"""

FAULTS = {
    "real_server_silent": "192.0.2.101",
    "rp_filter_strict": "server0",
    "local_ports_run_out": "default",
    "services_tracked": "",
    "timestamps_kept": "",
}

BIN = str(Path(sys.executable).parent)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RunningLab]:
    config = tmp_path / "lvs.toml"
    config.write_text(CONFIG)
    yield from running_lab("--config", str(config), "--shards", "1", "--lane", "off")


def doctor(lab: RunningLab) -> tuple[int, dict[str, Any]]:
    """Exit code and report of `appliance doctor`, asked as an operator on the gateway asks."""
    command = [f"{BIN}/appliance", "doctor", "--json", "--api", lab.environment["LAB_API"]]
    done = subprocess.run(lab.enter("gateway", *command), env=lab.environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report


def named(report: dict[str, Any]) -> dict[str, str]:
    """What is worse than a note: names, and what each is about."""
    return {one["name"]: one["about"] for one in report["findings"] if one["severity"] != "note"}


def type_in(lab: RunningLab, role: str, command: str) -> None:
    """Run a printed command as it is, in a shell on a host of the lab."""
    environment = lab.environment | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(lab.enter(role, "sh", "-ec", command), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)


def sysctls_are_read_only(lab: RunningLab) -> None:
    """As in a container: the appliance can put back no kernel parameter."""
    there = ["nsenter", f"--mount=/proc/{director_pid(lab)}/ns/mnt", "--"]
    for mount in (["--bind", "/proc/sys", "/proc/sys"], ["-o", "remount,bind,ro", "/proc/sys"]):
        subprocess.run([*there, "mount", *mount], check=True)


@contextmanager
def clients(lab: RunningLab) -> Iterator[None]:
    """Twenty clients that try to connect, for the block."""
    command = lab.enter("client", sys.executable, "-c", CLIENTS, lab.vip, str(lab.port))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        yield
        process.stdin.close()


def test_five_faults_are_named_and_mended_by_the_printed_commands(lab: RunningLab) -> None:
    lab.run("rs1", "ip", "route", "del", f"{LOCAL_ADDRESS}/32")
    sysctls_are_read_only(lab)
    lab.run("gateway", "sysctl", "-qw", "net.ipv4.conf.server0.rp_filter=1")
    subprocess.run(lab.enter("gateway", "nft", "-f", "-"), input=RIVAL, text=True, check=True)

    def all_are_named() -> bool:
        code, report = doctor(lab)
        return code == 20 and named(report) == FAULTS

    with clients(lab):
        lab.wait_until("all five faults are named", all_are_named)
        _, report = doctor(lab)

    for finding in report["findings"]:
        assert finding["commands"] or finding["severity"] == "note", finding
        for command in finding["commands"] if finding["severity"] != "note" else ():
            type_in(lab, {"": "gateway", "192.0.2.101": "rs1"}[finding["run_on"]], command)

    for _ in range(40):
        assert lab.run("client", "curl", "--silent", "--show-error", "--max-time", "10", f"http://{lab.vip}:{lab.port}/")
    lab.wait_until("the doctor is content", lambda: doctor(lab)[0] == 0)
    assert named(doctor(lab)[1]) == {}
