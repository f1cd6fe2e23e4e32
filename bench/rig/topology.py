"""The lab as the benchmark uses it: which address belongs to which mode of the gateway, and how to run commands in its
namespaces.

It is the lab of the shipped configuration, plus addresses of our own in the same networks. The ports are the same in every mode,
so that nothing but the destination address differs.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from appliance.lab import namespaces
from bench.rig.cpu import ENVIRONMENT, gateway_group

LAB_CONFIG = Path(__file__).parents[2] / "etc" / "lvs.toml"
"""The configuration that the lab is built from; see `bench.rig.gateway` for that of the appliance in it."""

CLIENT_INTERFACE, SERVER_INTERFACE, END_INTERFACE = "client0", "server0", "eth0"
CLIENT_NETWORK, GATEWAY_TO_SERVERS = "198.51.100.0/24", "192.0.2.1"
CLIENT = "198.51.100.2"

REAL_SERVERS = ("192.0.2.101", "192.0.2.102")
QUEUED_REAL_SERVERS = ("192.0.2.111", "192.0.2.112")
"""Second addresses of the same real servers; packets to them are queued to the queue loop."""

# A NAT remembers a closed connection for two minutes, and a client that comes from the same port again meanwhile is not a new
# connection to it. So there is a second pair of VIPs for every other round. All of them together allow one client 258,000
# connections that differ, and four local addresses have room for 480,000: whatever is measured, local ports cannot run out.
VIPS = ("203.0.113.10", "203.0.113.11", "203.0.113.12", "203.0.113.13")
LOCAL_ADDRESSES = ("192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.13")
NAT_VIPS = ("203.0.113.20", "203.0.113.21", "203.0.113.22", "203.0.113.23")
NAT_LOCAL_ADDRESSES = ("192.0.2.20", "192.0.2.21", "192.0.2.22", "192.0.2.23")
HAPROXY_VIPS = ("203.0.113.30", "203.0.113.31", "203.0.113.32", "203.0.113.33")

UNGUARDED = "203.0.113.99"
"""An address that is routed to the gateway as the VIPs are, and is none of them: what goes there nobody has to judge."""

HTTP_PORT = 8081
BULK_PORT = 5201

_COMMAND_TIMEOUT_S = 30.0


class BenchError(Exception):
    """The benchmark cannot continue; the message is for the person who started it."""


class Site(NamedTuple):
    """The lab around this process: names of its network namespaces, its directory, which is removed with it, and the control
    group of the gateway's processes, where CPU time is accounted."""

    directory: Path
    client: str
    gateway: str
    real_servers: tuple[str, str]
    gateway_group: Path | None = None

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The lab that the environment variables name. Raises KeyError outside of a lab."""
        return cls(
            Path(environment["LAB_DIR"]),
            environment["LAB_CLIENT_NS"],
            environment["LAB_GATEWAY_NS"],
            (environment["LAB_RS1_NS"], environment["LAB_RS2_NS"]),
            gateway_group(Path(environment[ENVIRONMENT])) if ENVIRONMENT in environment else None,
        )


def inside(namespace: str, *command: str) -> tuple[str, ...]:
    """The command that runs `command` in the namespace; it becomes that command, so its process id is the command's."""
    return ("nsenter", f"--net={namespaces.path(namespace)}", "--", *command)


def module(name: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module of this environment."""
    return (sys.executable, "-m", name, *arguments)


def output_of(command: Sequence[str], text: str | None = None, timeout_s: float = _COMMAND_TIMEOUT_S) -> str:
    """Run a command to its end, with `text` as its input. Returns its output. Raises BenchError with its error text when it
    fails."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=timeout_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
