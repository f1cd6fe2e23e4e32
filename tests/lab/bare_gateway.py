"""A gateway without a lab around it: a namespace, and `appliance run` in it, which a test may stop, kill and start again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from tests.conftest import LANE_WORDS


@contextmanager
def bare_namespace() -> Iterator[str]:
    """A namespace with the interfaces of etc/lvs.toml, and with rules and addresses of the host itself that the appliance must
    not change."""
    name = f"test-{os.getpid()}-gateway"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for command in _HOST_OF_ITS_OWN:
            inside(name, *command)
        yield name
    finally:
        for appliance in Appliance.started.pop(name, []):
            appliance.leave_nothing()
        subprocess.run(["ip", "netns", "del", name], check=True)


_HOST_OF_ITS_OWN = (
    ("ip", "link", "set", "lo", "up"),
    *(("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-far") for name in ("client0", "server0")),
    ("ip", "addr", "add", "192.0.2.11/32", "dev", "server0"),
    ("sysctl", "-q", "net.ipv4.conf.all.rp_filter=1"),
    ("nft", "table ip own {\n chain forward {\n type filter hook forward priority 0; policy accept;\n }\n }"),
    ("iptables-nft", "-t", "raw", "-A", "PREROUTING", "-p", "udp", "--dport", "9", "-j", "ACCEPT"),
)


def inside(namespace: str, *command: str) -> str:
    entered = ["nsenter", f"--net=/run/netns/{namespace}", "--", *command]
    return subprocess.run(entered, check=True, capture_output=True, text=True).stdout


class Appliance:
    """`appliance run` in a namespace, without a lab around it."""

    started: ClassVar[dict[str, "list[Appliance]"]] = {}
    """By namespace. What a test that failed has left of them goes with the namespace."""

    def __init__(self, namespace: str, directory: Path, *, host_sysctl: str = "") -> None:
        """`host_sysctl` are lines of the table [host.sysctl]."""
        shipped = (Path(__file__).parents[2] / "etc/lvs.toml").read_text()
        config = directory / "lvs.toml"
        text = shipped.replace("unix:/run/appliance/api.sock", f"unix:{directory}/api.sock")
        config.write_text(text.replace("[host.sysctl]\n", f"[host.sysctl]\n{host_sysctl}\n"))
        self._directory = directory
        self.environment = os.environ | {"RUNTIME_DIRECTORY": str(directory)}
        self._enter = ["nsenter", f"--net=/run/netns/{namespace}", "--", sys.executable, "-m", "appliance"]
        command = [*self._enter, "run", "--config", str(config), "--lane", LANE_WORDS[os.environ["LANE"]]]
        self.process = subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True)
        self.started.setdefault(namespace, []).append(self)

    def wait_until_ready(self) -> list[str]:
        """Returns what it has logged until then."""
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if "appliance.director: ready" in line:
                return lines
        pytest.fail("the appliance did not start:\n" + "".join(lines))

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        self.process.communicate()
        return self.process.returncode

    def cleanup(self) -> None:
        subprocess.run([*self._enter, "cleanup"], env=self.environment, check=True, capture_output=True)

    def leave_nothing(self) -> None:
        """For a test that may have failed at any place."""
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
        unmount(self._directory)


def unmount(directory: Path) -> None:
    """Remove the mount for the lane that an appliance with this runtime directory has left, if there is one."""
    mount = directory / "bpf"
    if mount.is_mount():
        subprocess.run(["umount", str(mount)], check=True)
