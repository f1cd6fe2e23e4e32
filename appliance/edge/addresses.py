"""Adds VIPs and local addresses to the gateway's interfaces, as /32, and removes them."""

import errno
from collections.abc import Iterable

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from appliance.edge.errors import EdgeError

_PREFIX_LENGTH = 32


def missing_interfaces(interfaces: Iterable[str]) -> list[str]:
    """Which of these interfaces do not exist, in their order."""
    with IPRoute() as ipr:
        return [interface for interface in dict.fromkeys(interfaces) if not ipr.link_lookup(ifname=interface)]


def all_present() -> set[str]:
    """The IPv4 addresses of all interfaces of this network namespace."""
    with IPRoute() as ipr:
        return {message.get_attr("IFA_LOCAL") for message in ipr.get_addr(family=2)}


def add(interface: str, address: str) -> None:
    """Add an IPv4 address to an interface. Raises EdgeError when the kernel refuses it, or when there is no such interface."""
    with IPRoute() as ipr:
        index = _index(ipr, interface)
        try:
            ipr.addr("add", index=index, address=address, prefixlen=_PREFIX_LENGTH)
        except NetlinkError as error:
            raise EdgeError(f"cannot add {address} to {interface}: {error}") from error


def remove(interface: str, address: str) -> None:
    """Remove an IPv4 address from an interface. Raises EdgeError when the kernel refuses; it is no error when the address or the
    interface is gone already."""
    with IPRoute() as ipr:
        indexes = ipr.link_lookup(ifname=interface)
        if not indexes:
            return
        try:
            ipr.addr("del", index=indexes[0], address=address, prefixlen=_PREFIX_LENGTH)
        except NetlinkError as error:
            if error.code != errno.EADDRNOTAVAIL:
                raise EdgeError(f"cannot remove {address} from {interface}: {error}") from error


def _index(ipr: IPRoute, interface: str) -> int:
    indexes: list[int] = ipr.link_lookup(ifname=interface)
    if not indexes:
        raise EdgeError(f"interface {interface} does not exist")
    return indexes[0]
