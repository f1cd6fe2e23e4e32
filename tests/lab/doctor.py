"""The doctor of a running lab, asked as an operator on the gateway asks, and the commands that it prints."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.conftest import RunningLab
from tests.lab.director import director_pid

BIN = str(Path(sys.executable).parent)

_CONNECTING = """
import socket, sys
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
held = []
for _ in range(count):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex((address, port))
    held.append(client)
print("begun", flush=True)
sys.stdin.read()
"""


def doctor(lab: RunningLab) -> tuple[int, dict[str, Any]]:
    """Exit code and report of `appliance doctor`."""
    command = [f"{BIN}/appliance", "doctor", "--json", "--api", lab.environment["LAB_API"]]
    done = subprocess.run(lab.enter("gateway", *command), env=lab.environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report


def named(report: dict[str, Any], least: str = "warning") -> dict[str, str]:
    """The findings that are at least so bad: name, and what it is about."""
    bad = {"note": ("note", "warning", "error"), "warning": ("warning", "error")}[least]
    return {one["name"]: one["about"] for one in report["findings"] if one["severity"] in bad}


def type_in(lab: RunningLab, role: str, command: str) -> None:
    """Run a printed command as it is, in a shell on a host of the lab."""
    environment = lab.environment | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(lab.enter(role, "sh", "-ec", command), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)


def make_sysctls_read_only(lab: RunningLab) -> None:
    """As in a container: from now on the appliance can put back no kernel parameter."""
    there = ["nsenter", f"--mount=/proc/{director_pid(lab)}/ns/mnt", "--"]
    for mount in (["--bind", "/proc/sys", "/proc/sys"], ["-o", "remount,bind,ro", "/proc/sys"]):
        subprocess.run([*there, "mount", *mount], check=True)


@contextmanager
def program(lab: RunningLab, role: str, code: str, *arguments: str) -> Iterator[None]:
    """A Python program on a host of the lab, for the block: it says a line when it has begun, and waits for its end of input."""
    command = lab.enter(role, sys.executable, "-c", code, *arguments)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield
        process.stdin.close()


@contextmanager
def connecting(lab: RunningLab, count: int, address: str = "", port: int = 0) -> Iterator[None]:
    """So many clients that try to connect, for the block: to the service, or to an address and a port."""
    with program(lab, "client", _CONNECTING, address or lab.vip, str(port or lab.port), str(count)):
        yield
