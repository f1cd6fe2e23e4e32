"""A shard whose services have two real servers, and new clients that come to it."""

from dataclasses import replace
from typing import Any

from appliance.ipc.plan import Plan
from appliance.model import verdicts
from appliance.model.verdict import Verdict
from appliance.wire.flow import destination_of
from tests.support.addresses import C0, CLIENT, VIP
from tests.support.segments import tcp
from tests.support.world import World, plan

RS1_SLOT, RS2_SLOT, UDP_RS1_SLOT, UDP_RS2_SLOT = range(4)


def scene(*, backups: tuple[int, ...] = (), weights: tuple[int, ...] = (1, 1), synproxy: str = "never", **settings: Any) -> Plan:
    """A TCP and a UDP service with two real servers; those whose place is in `backups` are backups."""
    made = plan(weights=weights, with_udp=True, synproxy=synproxy)
    services = []
    for service in made.services:
        servers = tuple(replace(server, backup=place in backups) for place, server in enumerate(service.real_servers))
        services.append(replace(service, real_servers=servers, **settings))
    return replace(made, services=tuple(services))


def client(number: int) -> bytes:
    return CLIENT[:4] + (40_000 + number).to_bytes(2, "big")


def destinations(world: World, count: int = 6, first: int = 0) -> set[bytes]:
    """The real servers that this many new TCP clients come to."""
    found = set()
    for number in range(first, first + count):
        if world.put(tcp(client(number), VIP, "S", seq=C0)) is verdicts.TO_REAL_SERVER:
            found.add(destination_of(world._on_the_wire.pop()[12:24]))
    return found


def syn(world: World, number: int = 0) -> Verdict:
    return world.put(tcp(client(number), VIP, "S", seq=C0))
