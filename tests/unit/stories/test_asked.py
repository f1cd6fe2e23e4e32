"""Short-lived sessions of proven clients, whose real servers the kernel has asked (`sessions.asked`)."""

from struct import pack_into

from appliance.ipc.session_record import OFFSETS, RECORD_BYTES, Flags
from appliance.model import verdicts
from appliance.model.tcp_state import TcpState
from appliance.sessions.short_lived import HANDSHAKE_MS
from appliance.shard.shard import Shard
from appliance.state.lane_entry import CELLS, HELD_CELL
from tests.support.endpoints import check_endpoints
from tests.support.short_lived_scene import Scene, packet_of

COOKIE = 0x12345678
DATA = b"GET / HTTP/1.0\r\n\r\n"


def proof_of(number: int) -> bytes:
    return packet_of(number, "PA", seq=number + 1, ack=COOKIE + 1, data=DATA)


def asks(scene: Scene, number: int) -> int:
    """The kernel opens a session for a proven client, and asks its real server; returns its entry."""
    entry = scene.opens(number)
    records, at = scene.world.maps.records, entry * RECORD_BYTES
    pack_into("<I", records, at + OFFSETS["cookie"], COOKIE)
    pack_into(
        "<BB", records, at + OFFSETS["state"], TcpState.SYN_SENT, Flags.IS_OPENING | Flags.IN_FIRST_TABLE | Flags.HAS_COOKIE
    )
    scene.world.maps.waiting[entry] = proof_of(number)
    return entry


def is_joined(scene: Scene, entry: int) -> None:
    """The kernel joins both ends."""
    del scene.world.maps.waiting[entry]
    at = entry * RECORD_BYTES + OFFSETS["state"]
    flags = Flags.IS_OPENING | Flags.HAS_ANSWER | Flags.HAS_COOKIE
    pack_into("<BB", scene.world.maps.records, at, TcpState.ESTABLISHED, flags)


def test_one_that_takes_long_comes_into_the_tables_and_all_its_packets_come_up() -> None:
    scene = Scene()
    entry = asks(scene, 1)
    scene.look()
    assert (scene.short.young, len(scene.inside), list(scene.world.maps.waiting)) == (1, 0, [entry])
    scene.look(HANDSHAKE_MS / 1000)
    (session,) = scene.world.sessions()
    assert (session.state, session.entry, session.cookie) == (TcpState.SYN_SENT, entry, COOKIE)
    assert session.opening is not None
    assert session.opening.handshake is not None
    assert session.opening.handshake.held == [proof_of(1)]
    assert scene.cells[entry * CELLS + HELD_CELL]
    assert not scene.world.maps.waiting
    assert scene.world.by_state() == {"syn_sent": 1}
    assert len(scene.service.half_open) == 1


def test_it_is_found_among_the_fresh_ones_when_the_half_open_ones_are_looked_for() -> None:
    scene = Scene()
    asks(scene, 1)
    is_joined(scene, asks(scene, 2))
    scene.look()
    scene.short.look_at_fresh()
    assert [session.state for session in scene.world.sessions()] == [TcpState.SYN_SENT]
    assert scene.short.young == 1
    check_endpoints(scene.inside)


def test_one_that_was_joined_and_is_over_rests_like_others() -> None:
    scene = Scene()
    entry = asks(scene, 1)
    scene.look()
    is_joined(scene, entry)
    scene.moves(entry, TcpState.TIME_WAIT)
    scene.look(HANDSHAKE_MS / 1000)
    assert (scene.short.young, scene.short.resting, len(scene.inside)) == (0, 1, 0)


def test_a_packet_that_comes_up_is_held_by_its_shard() -> None:
    scene = Scene()
    asks(scene, 1)
    scene.look()
    assert scene.world.shard.handle(proof_of(1), scene.world.now) is verdicts.HELD
    assert scene.short.young == 0
    assert scene.world.state() == "SYN_SENT"
    check_endpoints(scene.inside)


def test_the_next_worker_goes_on_with_it() -> None:
    scene = Scene()
    entry = asks(scene, 1)
    scene.look()
    world = scene.world
    world.shard = Shard(world.plan, world.shared, world.now, world.maps)
    assert world.shard.adopt(world.now)[:3] == (1, 0, 0)
    (session,) = world.sessions()
    assert (session.state, session.entry, session.cookie) == (TcpState.SYN_SENT, entry, COOKIE)
    assert not world.maps.waiting
    check_endpoints(scene.inside)
