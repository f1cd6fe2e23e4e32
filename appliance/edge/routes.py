"""The route to each real server, as the kernel has it at this moment: its MTU, and who is next on the way.

The kernel answers as it would for a packet, so the MTU that it has learnt for a path counts. It does not announce when it learns
or forgets an MTU, so a subscription to changes of routes and links is not enough: the kernel has to be asked again and again.
"""

import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

from appliance.edge import rtnetlink
from appliance.edge.rtnetlink import REQUEST, attribute, attributes

_ROUTE_GET, _LINK_GET = 26, 18  # linux/rtnetlink.h
_ROUTE = struct.Struct("=BBBBBBBBI")
"""struct rtmsg; the first fields are family and length of the destination."""
_LINK = struct.Struct("=BxHiII")
"""struct ifinfomsg; the third field is the number of the interface."""
_DESTINATION, _INTERFACE, _GATEWAY, _SOURCE, _METRICS = 1, 4, 5, 7, 8
_METRIC_MTU = 2
_LINK_MTU = 4  # linux/if_link.h
_NUMBER = struct.Struct("=I")


class Route(NamedTuple):
    """The way to one address."""

    mtu: int
    """In bytes; 0 where there is no route."""
    next_hop: str
    """The address of the neighbour that gets the packets: a router's, or the address itself. Empty where there is no route."""


NO_ROUTE = Route(0, "")


class Answer(NamedTuple):
    """What the kernel says of the route to an address. 0 and "" where it says nothing."""

    mtu: int = 0
    interface: int = 0
    """Its number."""
    gateway: str = ""
    source: str = ""
    """The address from which this host would send."""


def ask(addresses: Iterable[str]) -> dict[str, Answer]:
    """What the kernel says of each IPv4 address; those to which there is no route are missing.

    Blocks, for about a hundredth of a millisecond per address. Raises EdgeError when the kernel cannot be asked at all.
    """
    asked = list(dict.fromkeys(addresses))
    head = _ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0)
    bodies = [head + attribute(_DESTINATION, socket.inet_aton(address)) for address in asked]
    return {
        address: _read(answer)
        for address, answer in zip(asked, rtnetlink.exchange(_ROUTE_GET, REQUEST, bodies), strict=True)
        if isinstance(answer, bytes)  # else unreachable, prohibited, or a black hole
    }


def look(addresses: Iterable[str]) -> dict[str, Route]:
    """The route to each IPv4 address. Blocks, and raises EdgeError, as `ask`."""
    asked = list(addresses)
    answers = ask(asked)
    # The MTU of the route itself, or the one learnt for its path, comes before that of the interface, as in forwarding.
    of_interface = _link_mtus({answer.interface for answer in answers.values() if not answer.mtu})
    return {address: _route(address, answers.get(address), of_interface) for address in asked}


def _route(address: str, answer: Answer | None, of_interface: dict[int, int]) -> Route:
    if answer is None:
        return NO_ROUTE
    mtu = answer.mtu or of_interface.get(answer.interface, 0)  # an interface may go away in between
    return Route(mtu, answer.gateway or address) if mtu else NO_ROUTE


def _read(message: bytes) -> Answer:
    mtu, interface, gateway, source = 0, 0, "", ""
    for kind, value in attributes(message, _ROUTE.size):
        if kind == _INTERFACE:
            (interface,) = _NUMBER.unpack(value)
        elif kind == _GATEWAY:
            gateway = socket.inet_ntoa(value)
        elif kind == _SOURCE:
            source = socket.inet_ntoa(value)
        elif kind == _METRICS:
            mtu = next((_NUMBER.unpack(metric)[0] for number, metric in attributes(value, 0) if number == _METRIC_MTU), 0)
    return Answer(mtu, interface, gateway, source)


def _link_mtus(interfaces: Iterable[int]) -> dict[int, int]:
    """The MTU of each interface that is there, by its number."""
    asked = sorted(interfaces)
    answers = rtnetlink.exchange(_LINK_GET, REQUEST, [_LINK.pack(0, 0, index, 0, 0) for index in asked])
    return {
        index: _NUMBER.unpack(value)[0]
        for index, answer in zip(asked, answers, strict=True)
        if isinstance(answer, bytes)
        for kind, value in attributes(answer, _LINK.size)
        if kind == _LINK_MTU
    }
