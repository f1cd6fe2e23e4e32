"""What the doctor wants to know of the host: parameters, counters, interfaces, ways to real servers.
Everything here is read and nothing is changed; all functions block, and raise EdgeError or OSError when they cannot.
"""

import ctypes
import fcntl
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path as File
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from appliance.doctor.facts import Clock, Interface, Path
from appliance.edge import routes
from appliance.edge.errors import EdgeError

_SYSCTLS = File("/proc/sys")
_NETSTAT = File("/proc/net/netstat")
_CLOCK = File("/sys/devices/system/clocksource/clocksource0")

_SIOCETHTOOL, _ETHTOOL_GFLAGS = 0x8946, 0x25  # linux/sockios.h, linux/ethtool.h
_FLAG_LRO = 1 << 15

_NEIGHBOUR_STATES = {
    0x01: "INCOMPLETE",
    0x02: "REACHABLE",
    0x04: "STALE",
    0x08: "DELAY",
    0x10: "PROBE",
    0x20: "FAILED",
    0x40: "NOARP",
    0x80: "PERMANENT",
}  # linux/neighbour.h


def sysctls(paths: Iterable[str]) -> dict[str, str]:
    """The values in force of parameters, by path below /proc/sys; without those that do not exist."""
    values = {}
    for path in paths:
        try:
            values[path] = (_SYSCTLS / path).read_text().strip()
        except FileNotFoundError:
            continue
    return values


def tcp_ext() -> dict[str, int]:
    """`TcpExt` of /proc/net/netstat: counters of this network namespace by name."""
    return parse_tcp_ext(_NETSTAT.read_text())


def parse_tcp_ext(text: str) -> dict[str, int]:
    """A line of names, and below it a line of numbers; both begin with `TcpExt:`."""
    lines = [line.split()[1:] for line in text.splitlines() if line.startswith("TcpExt:")]
    return {name: int(number) for name, number in zip(*lines, strict=False)} if len(lines) == 2 else {}


def clock() -> Clock:
    """The clock source of the machine."""
    words = (_CLOCK / "available_clocksource").read_text().split()
    return Clock((_CLOCK / "current_clocksource").read_text().strip(), tuple(words))


def interfaces(names: Iterable[str]) -> dict[str, Interface]:
    """Those of the interfaces that exist, by name."""
    with _netlink() as ipr:
        links = {link.get_attr("IFLA_IFNAME"): link for link in ipr.get_links()}
        addresses: dict[int, list[str]] = {}
        for message in ipr.get_addr(family=socket.AF_INET):
            addresses.setdefault(message["index"], []).append(f"{message.get_attr('IFA_LOCAL')}/{message['prefixlen']}")
    return {
        name: Interface(
            links[name].get_attr("IFLA_MTU"),
            links[name].get_attr("IFLA_OPERSTATE") in ("UP", "UNKNOWN") and bool(links[name]["flags"] & 1),
            _has_lro(name),
            tuple(addresses.get(links[name]["index"], ())),
        )
        for name in dict.fromkeys(names)
        if name in links
    }


def _has_lro(interface: str) -> bool:
    """Whether large receive offload is on; False where the driver cannot be asked."""
    question = ctypes.create_string_buffer(struct.pack("II", _ETHTOOL_GFLAGS, 0), 8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            fcntl.ioctl(asked, _SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), ctypes.addressof(question)))
        except OSError:
            return False
    _, flags = struct.unpack("II", question.raw)
    return bool(flags & _FLAG_LRO)


def paths(addresses: Iterable[str]) -> dict[str, Path | None]:
    """How the kernel would send to each address; None where it would not."""
    with _netlink() as ipr:
        names = {link["index"]: (link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_MTU")) for link in ipr.get_links()}
    asked = list(addresses)
    answers = routes.ask(asked)
    return {address: _path(answers.get(address), names) for address in asked}


def _path(answer: routes.Answer | None, names: Mapping[int, tuple[str, int]]) -> Path | None:
    if answer is None:  # unreachable, prohibited, a black hole
        return None
    name, mtu = names.get(answer.interface, ("", 0))
    return Path(name, answer.gateway, answer.source, answer.mtu or mtu)


def neighbours() -> dict[str, str]:
    """The state of each IPv4 neighbour by its address."""
    with _netlink() as ipr:
        return {
            neighbour.get_attr("NDA_DST"): _NEIGHBOUR_STATES.get(neighbour["state"], "NONE")
            for neighbour in ipr.get_neighbours(family=socket.AF_INET)
        }


@contextmanager
def _netlink() -> Iterator[Any]:
    try:
        with IPRoute() as ipr:
            yield ipr
    except (NetlinkError, OSError) as error:
        raise EdgeError(f"the kernel cannot be asked: {error}") from error
