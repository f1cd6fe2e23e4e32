"""routes.py on a kernel that the test plays, and on that of this machine."""

import errno
import socket
import struct

import pytest

from appliance.edge import routes
from appliance.edge.routes import NO_ROUTE, Route
from appliance.edge.rtnetlink import attribute, attributes
from tests.support.rtnetlink_kernel import code, play, told

ROUTE_GET, LINK_GET = 26, 18
NARROW, WIDE = 1280, 9000


def number(value: int) -> bytes:
    return struct.pack("=I", value)


def route_to(destination: bytes, interface: int, *more: bytes) -> bytes:
    return bytes(12) + attribute(1, destination) + attribute(4, number(interface)) + b"".join(more)


def answered(kind: int, place: int, body: bytes) -> list[bytes]:
    """A host with the interfaces 3, whose MTU is WIDE, and 4, which goes away."""
    if kind == LINK_GET:
        (index,) = struct.unpack_from("=i", body, 4)
        return [told(16, place, bytes(16) + attribute(4, number(WIDE))) if index == 3 else code(place, errno.ENODEV)]
    ((_, destination),) = attributes(body, 12)
    of = {
        "10.0.0.1": route_to(destination, 3),
        "10.0.0.2": route_to(destination, 3, attribute(5, socket.inet_aton("10.0.0.254"))),
        "10.0.0.3": route_to(destination, 3, attribute(8, attribute(1, number(7)) + attribute(2, number(NARROW)))),
        "10.0.0.4": route_to(destination, 4),
    }
    found = of.get(socket.inet_ntoa(destination))
    return [told(24, place, found) if found else code(place, errno.EHOSTUNREACH)]


def test_the_way_to_each_address(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, answered)
    assert routes.look(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.1"]) == {
        "10.0.0.1": Route(WIDE, "10.0.0.1"),
        "10.0.0.2": Route(WIDE, "10.0.0.254"),
        "10.0.0.3": Route(NARROW, "10.0.0.3"),
        "10.0.0.4": NO_ROUTE,
        "10.0.0.5": NO_ROUTE,
    }


def test_an_address_is_asked_for_once_and_an_interface_too(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = play(monkeypatch, answered)
    routes.look(["10.0.0.1", "10.0.0.2"] * 1000)
    assert kernel.sent == [2, 1]


def test_nothing_is_asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = play(monkeypatch, answered)
    assert routes.look([]) == {}
    assert kernel.sent == []


def test_this_machine_has_a_way_to_itself() -> None:
    assert routes.look(["127.0.0.1"])["127.0.0.1"] == Route(mtu_of_loopback(), "127.0.0.1")


def mtu_of_loopback() -> int:
    with open("/sys/class/net/lo/mtu") as file:
        return int(file.read())
