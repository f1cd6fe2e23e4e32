"""One session in a world with a lane, and what its record says."""

from appliance.ipc.session_record import SessionRecord
from appliance.state.session import Session
from appliance.wire.flow import destination_of, source_of
from tests.support.addresses import CLIENT, VIP
from tests.support.lane_maps import check_lane
from tests.support.segments import udp
from tests.support.shard_invariants import sessions_of
from tests.support.world import World


def asked(world: World) -> bytes:
    """The answer of the real server to a datagram that the client has just sent."""
    world.put(udp(CLIENT, VIP, b"q"))
    there = world._on_the_wire[-1]
    return udp(destination_of(there[12:24]), source_of(there[12:24]), b"a")


def only(world: World) -> Session:
    """The only session that there is."""
    (session,) = sessions_of(world.inside)
    return session


def record(world: World, session: Session | None = None) -> SessionRecord:
    """The record of a session, or of the only one."""
    entry = (session or only(world)).entry
    assert entry is not None
    return world.maps.record(entry)


def check(world: World) -> None:
    """Kernel and Python agree on all sessions."""
    check_lane(world.inside.lane, world.maps, sessions_of(world.inside))
