"""sessions/farewell.py and the one way in which a session ends: each reason is counted, and tells the ends what it has to."""

from collections.abc import Callable

import pytest

from appliance.model.counters import QUEUE_COUNTERS
from appliance.model.end_reasons import EndReason
from appliance.sessions.farewell import FAREWELLS, reset_all
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.lane_maps import FakeMaps
from tests.support.proxied import opens, proves
from tests.support.segments import read_tcp, tcp, udp
from tests.support.world import World, plan

SILENT: set[str] = set()
BOTH = {"client", "real server"}


def established(**tunables: int) -> World:
    world = World(None, **tunables)
    world.client.connects(C0, R0)
    return world


def half_open() -> World:
    """The client was not answered yet."""
    world = World()
    world.client.sends("S", seq=C0)
    world.rs.gets("S")
    return world


def asked() -> World:
    """The client proved itself, and the real server has not answered."""
    world = World(plan(synproxy="always"))
    proves(world)
    return world


def resting() -> World:
    """In TIME_WAIT."""
    world = established()
    world.rs.sends("FA", seq=R0 + 1, ack=C0 + 1)
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 2)
    world.rs.sends("A", seq=R0 + 2, ack=C0 + 2)
    assert world.state() == "TIME_WAIT"
    return world


def told(world: World, because: EndReason) -> set[str]:
    """Who gets a RST when the only session of a world ends for this reason."""
    (session,) = world.sessions()
    world.inside.end(session, because)
    ends = {"client" if raw[16:20] == CLIENT[:4] else "real server" for raw in world.shard.output.segments}
    assert all(raw[33] & 0x04 for raw in world.shard.output.segments), "nothing but RST"
    world.shard.output.segments.clear()
    world.assert_empty()
    return ends


@pytest.mark.parametrize("because", EndReason)
def test_each_reason_is_counted_once_and_no_other(because: EndReason) -> None:
    world = asked() if because.name.startswith("HANDSHAKE") else established()
    told(world, because)
    moved = {counter.name for counter in QUEUE_COUNTERS if world.counter(counter.name)}
    assert moved == {QUEUE_COUNTERS[because].name}


@pytest.mark.parametrize(
    ("scene", "because", "expected"),
    [
        (established, EndReason.EXPIRED, BOTH),
        (established, EndReason.REPLACED, BOTH),
        (established, EndReason.REAL_SERVER_REMOVED, BOTH),
        (established, EndReason.CUT, BOTH),
        (lambda: established(conn_expire_tcp_rst=0), EndReason.EXPIRED, SILENT),
        (lambda: established(conn_expire_tcp_rst=0), EndReason.CUT, BOTH),
        (half_open, EndReason.EXPIRED, SILENT),
        (half_open, EndReason.CUT, BOTH),
        (half_open, EndReason.DROPPED_EARLY, {"real server"}),
        (asked, EndReason.DROPPED_EARLY, BOTH),
        (half_open, EndReason.DROPPED_FROM_BACKLOG, {"real server"}),
        (asked, EndReason.DROPPED_FROM_BACKLOG, BOTH),
        (asked, EndReason.HANDSHAKE_FAILED, BOTH),
        (asked, EndReason.HANDSHAKE_ABANDONED, {"real server"}),
        (resting, EndReason.EXPIRED, SILENT),
        (resting, EndReason.CUT, SILENT),
        (resting, EndReason.TIME_WAIT_OVERFLOW, SILENT),
        (resting, EndReason.PORT_TAKEN, SILENT),
    ],
)
def test_who_is_told(scene: Callable[[], World], because: EndReason, expected: set[str]) -> None:
    assert told(scene(), because) == expected


def test_every_reason_has_a_farewell_and_a_counter_of_its_own() -> None:
    assert set(FAREWELLS) == set(EndReason)
    assert len({int(because) for because in EndReason}) == len(EndReason)


def waiting(world: World) -> None:
    world.client.sends("S", seq=C0)


def answered(world: World) -> None:
    world.client.sends("S", seq=C0)
    world.rs.gets("S")
    world.rs.sends("SA", seq=R0, ack=C0 + 1)


def busy(world: World) -> None:
    world.client.connects(C0, R0)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"GET")
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 4, data=b"the client has not acknowledged this")


def closing(world: World) -> None:
    world.client.connects(C0, R0)
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 1)


def over(world: World) -> None:
    closing(world)
    world.rs.sends("FA", seq=R0 + 1, ack=C0 + 2)
    world.client.sends("A", seq=C0 + 2, ack=R0 + 2)


def proxied(world: World) -> None:
    cookie = opens(world)
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 19, data=b"answer")
    world.client.sends("A", seq=C0 + 19, ack=cookie + 7)


@pytest.mark.parametrize(
    ("begin", "synproxy", "segments"),
    [
        (waiting, "never", 2),
        (answered, "never", 2),
        (busy, "never", 3),
        (closing, "never", 2),
        (over, "never", 0),
        (proxied, "always", 2),
    ],
)
def test_from_their_records_alone_sessions_are_reset_as_those_that_are_cut(
    begin: Callable[[World], None], synproxy: str, segments: int
) -> None:
    world = World(plan(synproxy=synproxy), FakeMaps())
    begin(world)
    found = [segment for resets in reset_all(world.maps.records) for segment in resets]
    (session,) = world.sessions()
    assert session.entry is not None
    world.inside.end(session, EndReason.CUT)
    assert found == world.shard.output.segments
    assert len(found) == segments
    assert all(read_tcp(segment).flags in ("R", "RA") for segment in found)


def test_records_that_make_no_sense_and_datagrams_are_passed_over() -> None:
    world = World(plan(with_udp=True), FakeMaps())
    world.put(udp(CLIENT, VIP, b"q"))
    there = world._on_the_wire[-1]
    world.put(udp(there[16:20] + there[22:24], there[12:16] + there[20:22], b"a"))
    world.put(udp(CLIENT, VIP, b"q"))
    for port in (5, 6):
        world.put(tcp(CLIENT[:4] + bytes((1, port)), VIP, "S", seq=C0))
    assert len(world.maps.table) == 6
    entry = world.sessions()[0].entry or 0
    world.maps.records[256 * entry + 2] = 9
    resets = list(reset_all(world.maps.records))
    assert sorted(map(len, resets)) == [0, 2]
