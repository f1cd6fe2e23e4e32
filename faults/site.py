"""The network that faults happen in: the lab, a service of each protocol, and real servers that check every byte."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from appliance.config.loading import Gateway as GatewayTable
from appliance.model.tunables import TUNABLES
from bench.rig.gateway import service, with_services
from bench.rig.processes import running
from bench.rig.topology import REAL_SERVERS, VIPS, Site, inside, module

VIP = VIPS[0]
STREAM_PORT, UDP_PORT = 9000, 80
_UDP_SERVER_PORT = 8080

NAMES = ("rs1", "rs2")

_SWITCH = "lane"
"""The key of [gateway] that says whether the kernel carries sessions."""


def has_lane() -> bool:
    """Whether this version of the appliance can let the kernel carry sessions."""
    return _SWITCH in GatewayTable.model_fields


def short_timeouts(timeout_ms: int) -> str:
    """A table of configuration in which no state of a session outlasts this time, as far as the tunables allow it."""
    timeouts = (tunable for name, tunable in TUNABLES.items() if name.startswith(("tcp_timeout_", "udp_timeout")))
    return "\n[sysctl]\n" + "".join(f"{one.name} = {min(one.max, max(one.min, timeout_ms))}\n" for one in timeouts)


def configuration(*, lane: bool, real_servers: tuple[str, ...] = REAL_SERVERS, sysctl: str = "") -> str:
    """The appliance's configuration; `real_servers` serve the streams. `sysctl` is a whole table."""
    text = with_services(
        sysctl,
        service("streams", VIP, STREAM_PORT, real_servers, "synproxy = false"),
        service("echo", VIP, UDP_PORT, real_servers, 'protocol = "udp"', server_port=_UDP_SERVER_PORT),
    )
    if not has_lane():
        return text
    return text.replace("[gateway]\n", f'[gateway]\n{_SWITCH} = "{"required" if lane else "off"}"\n')


def lab_configuration() -> str:
    """The lab's own: it gives each real server a UDP server that sends datagrams back. The TCP servers are ours."""
    return with_services(service("echo", VIP, UDP_PORT, REAL_SERVERS, 'protocol = "udp"', server_port=_UDP_SERVER_PORT))


@contextmanager
def servers_running(site: Site) -> Iterator[None]:
    """With a server of streams in both real servers, each ready."""
    with ExitStack() as stack:
        for name, address, namespace in zip(NAMES, REAL_SERVERS, site.real_servers, strict=True):
            told_at = _told_at(site, name)
            command = inside(namespace, *module("faults.stream_server", name, address, str(STREAM_PORT), str(told_at)))
            stack.enter_context(running(command, site.directory / f"{name}-streams.log", partial(_is_up, told_at)))
        yield


def corrupted_at_servers(site: Site) -> int:
    """In how many streams the real servers saw a wrong byte, since their start."""
    return sum(int(_told(_told_at(site, name))["corrupted"]) for name in NAMES)


def _told_at(site: Site, name: str) -> Path:
    return site.directory / f"{name}-streams.sock"


def _is_up(told_at: Path) -> bool:
    try:
        return bool(_told(told_at))
    except OSError:
        return False


def _told(path: Path) -> dict[str, int]:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(path))
        with asking.makefile() as answer:
            told: dict[str, int] = json.loads(answer.readline())
    return told
