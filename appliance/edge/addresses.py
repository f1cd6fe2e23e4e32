"""Adds VIPs and local addresses to the gateway's interfaces, as /32, and removes them: any number of them in one go."""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence

from appliance.edge import rtnetlink
from appliance.edge.errors import EdgeError

_PREFIX_LENGTH = 32

_NEW_ADDRESS, _REMOVE_ADDRESS, _LIST_ADDRESSES = 20, 21, 22  # linux/rtnetlink.h
_OF_INTERFACE = struct.Struct("=BBBBI")
"""struct ifaddrmsg: family, prefix length, flags, scope, interface."""
_ADDRESS, _LOCAL = 1, 2  # linux/if_addr.h

_SHOWN = 5
"""Of how many addresses an error tells the reason."""

Placed = tuple[str, str]
"""An interface, and an address that it has or is to have."""


def missing_interfaces(interfaces: Iterable[str]) -> list[str]:
    """Which of these interfaces do not exist, in their order."""
    return [interface for interface in dict.fromkeys(interfaces) if not _index(interface)]


def all_present() -> set[str]:
    """The IPv4 addresses of all interfaces of this network namespace. Raises EdgeError."""
    listed = rtnetlink.listed(_LIST_ADDRESSES, _OF_INTERFACE.pack(socket.AF_INET, 0, 0, 0, 0))
    return {
        socket.inet_ntoa(value)
        for message in listed
        for kind, value in rtnetlink.attributes(message, _OF_INTERFACE.size)
        if kind == _LOCAL
    }


def add(placed: Sequence[Placed]) -> None:
    """Add IPv4 addresses to interfaces. One that the kernel refuses, or whose interface does not exist, keeps no other from being
    added. Raises EdgeError in the end, with the reasons."""
    _change(_NEW_ADDRESS, rtnetlink.CREATE | rtnetlink.EXCLUSIVE, placed, "cannot add {} to {}: {}")


def remove(placed: Sequence[Placed]) -> None:
    """Remove IPv4 addresses from interfaces, as `add` adds them. One that is gone already, or its interface, is no error."""
    there = [pair for pair in placed if _index(pair[0])]
    _change(_REMOVE_ADDRESS, 0, there, "cannot remove {} from {}: {}", allowed=(0, errno.EADDRNOTAVAIL, errno.ENODEV))


def _change(kind: int, flags: int, placed: Sequence[Placed], words: str, allowed: Sequence[int] = (0,)) -> None:
    indexes = {interface: _index(interface) for interface in {interface for interface, _ in placed}}
    bodies = [_body(indexes[interface], address) for interface, address in placed]
    answers = rtnetlink.exchange(kind, rtnetlink.REQUEST | rtnetlink.ACK | flags, bodies)
    refused = [
        words.format(address, interface, os.strerror(code) if indexes[interface] else "no such interface")
        for (interface, address), code in zip(placed, answers, strict=True)
        if isinstance(code, int) and code not in allowed
    ]
    if refused:
        more = [f"and {len(refused) - _SHOWN} more"] if len(refused) > _SHOWN else []
        raise EdgeError("; ".join(refused[:_SHOWN] + more))


def _body(index: int, address: str) -> bytes:
    packed = socket.inet_aton(address)
    head = _OF_INTERFACE.pack(socket.AF_INET, _PREFIX_LENGTH, 0, 0, index)
    return head + rtnetlink.attribute(_LOCAL, packed) + rtnetlink.attribute(_ADDRESS, packed)


def _index(interface: str) -> int:
    """The number of an interface; 0 when there is none of this name."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return 0
