"""sessions/slabs.py: the objects of tables and pools, and that the size of a session is that of its objects."""

from sys import getsizeof
from typing import Any

from appliance.ipc.rows import Slab
from appliance.model.end_reasons import EndReason
from appliance.sessions.slabs import slabs
from appliance.state.by_state import NOT_IN_ORDER
from appliance.state.session import Session
from appliance.state.session_table import BUCKETS
from tests.support.addresses import C0, CLIENT, R0, RS1, VIP
from tests.support.segments import read_udp, tcp, udp
from tests.support.world import World, plan


def by_name(world: World) -> dict[str, Slab]:
    return {slab.name: slab for slab in slabs(world.inside)}


def taken(thing: Any) -> int:
    return -(-getsizeof(thing) // 16) * 16


def test_the_size_of_a_session_is_that_of_its_objects() -> None:
    """The bytes of all objects that only this session has, so that one more number would be noticed here."""
    world = World(plan(with_udp=True))
    world.client.connects(C0, R0)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 2, data=b"hello")
    world._on_the_wire.clear()
    world.put(udp(CLIENT, VIP, b"?"))
    there = read_udp(world.take(RS1))
    world.put(udp(there.destination, there.source, b"!"))
    world.put(udp(CLIENT, VIP, b"?"))
    tables = by_name(world)
    for name, bucket_walk in (("tcp_conn", world.inside.tcp.walk()), ("udp_conn", world.inside.udp.walk())):
        (session,) = (session for bucket in bucket_walk for session in bucket)
        shared = {"service", "real_server", "counts", "wheel_time", "since"}
        assert session.since is NOT_IN_ORDER
        held = [getattr(session, slot) for slot in Session.__slots__ if slot not in shared]
        # Small integers, None and bools are the interpreter's own.
        own = [thing for thing in held if not (thing is None or (isinstance(thing, int) and -5 <= thing <= 256))]
        expected = taken(session) + sum(map(taken, own)) + 2 * taken(session.client_key)
        assert tables[name].object_bytes == expected


def test_active_goes_down_and_total_stays_at_the_most_there_were() -> None:
    world = World()
    for port in range(3):
        world.put(tcp(CLIENT[:4] + bytes((100, port)), VIP, "S", seq=C0))
    world.inside.end(world.sessions()[0], EndReason.CUT)
    assert by_name(world)["tcp_conn"][1:3] == (2, 3)


def test_pools_are_named_by_what_they_are_between() -> None:
    world = World(plan(with_udp=True), fullnat_lport_min=5000, fullnat_lport_max=5099)
    world.client.connects(C0, R0)
    world.put(udp(CLIENT, VIP, b"?"))
    tables = by_name(world)
    assert tables["tcp_ports:192.0.2.10>192.0.2.101:8080"] == Slab("tcp_ports:192.0.2.10>192.0.2.101:8080", 1, 100, 13)
    assert tables["udp_ports:192.0.2.10>192.0.2.101:8080"].active == 1


def test_buckets_and_timer_slots_in_use() -> None:
    world = World()
    assert by_name(world)["conn_bucket"].active == by_name(world)["timer_slot"].active == 0
    world.client.connects(C0, R0)
    tables = by_name(world)
    assert (tables["conn_bucket"].active, tables["timer_slot"].active) == (2, 1)
    assert (tables["conn_bucket"].total, tables["timer_slot"].total) == (4 * BUCKETS, 1)
