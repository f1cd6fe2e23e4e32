"""A service whose real servers are chosen by the client, with the kernel opening sessions of it (`sessions.spares`)."""

import pytest

from appliance.wire.flow import pack_endpoint
from tests.support.addresses import CLIENT_ADDRESS, VIP
from tests.support.segments import tcp
from tests.support.short_lived_scene import Scene
from tests.support.tcp_options import LINUX_SYN

CLIENTS = range(12)
ENTRIES = 16 * 256


def until_scheduled(scene: Scene) -> None:
    """Let the shard look until the kernel has a schedule, and some spare endpoints."""
    for _ in range(50):
        while scene.inside.maglev_tables.build_some():
            pass
        scene.look(0.01)
        if any(ring.has_schedule and scene.short.spares for ring in scene.inside.prepared.rings):
            return
    pytest.fail("the kernel has no schedule")


def client(number: int, port: int = 40000) -> bytes:
    """An endpoint of a client."""
    return pack_endpoint(CLIENT_ADDRESS + number, port)


def opened(scene: Scene, number: int, port: int = 40000) -> int | None:
    """The entry of the session that the kernel opens for a client; None when the SYN goes up."""
    source = client(number, port)
    if not scene.kernel.put(tcp(source, VIP, "S", seq=number, options=LINUX_SYN)):
        return None
    (entry,) = (
        value >> 1
        for key, value in scene.world.maps.table.items()
        if not value & 1 and key[8:12] == source[:4] and key[4:6] == source[4:]
    )
    return entry
