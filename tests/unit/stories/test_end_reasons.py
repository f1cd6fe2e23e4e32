"""How each kind of session end comes about, and that it is counted by its own reason and no other."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from appliance.ipc.queries import CUT, Query, SessionFilter
from appliance.model.counters import QUEUE_COUNTERS
from appliance.model.end_reasons import EndReason
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.proxied import proves
from tests.support.segments import tcp, udp
from tests.support.world import World, plan

C1 = C0 + 1_000_000
PROXIED = plan(synproxy="always")


def connected(**tunables: int) -> World:
    world = World(None, **tunables)
    world.client.connects(C0, R0)
    return world


def asked() -> World:
    world = World(PROXIED)
    proves(world)
    return world


def its_time_passes() -> World:
    world = connected(tcp_timeout_established=1000)
    world.sleep(2)
    return world


def an_operator_cuts_it() -> World:
    world = connected()
    list(world.walk(Query(CUT, SessionFilter(client="198.51.100.2"))))
    return world


def a_full_table_needs_its_place() -> World:
    world = World(None, conn_max=1)
    world.client.sends("S", seq=C0)
    world.sleep(1)
    world.put(tcp(CLIENT[:4] + b"\x88\x88", VIP, "S", seq=C1))
    return world


def a_full_service_needs_its_place() -> World:
    scene = plan()
    world = World(replace(scene, services=(replace(scene.services[0], max_conn=1),)))
    world.client.sends("S", seq=C0)
    world.sleep(0.6)
    world.put(tcp(CLIENT[:4] + b"\x70\x01", VIP, "S", seq=C0))
    return world


def a_full_backlog_needs_its_place() -> World:
    world = World(None, tcp_max_syn_backlog=1)
    world.client.sends("S", seq=C0)
    world.sleep(1)
    world.put(tcp(CLIENT[:4] + b"\x88\x88", VIP, "S", seq=C1))
    return world


def a_full_table_needs_the_place_of_one_whose_client_is_not_confirmed() -> World:
    world = World(plan(with_udp=True), conn_max=1)
    world.put(udp(CLIENT, VIP, b"?"))
    world.sleep(1)
    world.put(udp(CLIENT[:4] + b"\x88\x88", VIP, b"?"))
    return world


def rest(world: World, client: bytes) -> None:
    """A connection that is over, in TIME_WAIT."""
    world.put(tcp(client, VIP, "S", seq=C0))
    local, isn = world.rs.gets("S").source, world.rs.isn
    for there, here, flags, seq, ack in (
        (world.rs.here, local, "SA", R0, isn + 1),
        (client, VIP, "A", C0 + 1, R0 + 1),
        (world.rs.here, local, "FA", R0 + 1, isn + 1),
        (client, VIP, "FA", C0 + 1, R0 + 2),
        (world.rs.here, local, "A", R0 + 2, isn + 2),
    ):
        world.put(tcp(there, here, flags, seq=seq, ack=ack))
    world._on_the_wire.clear()


def too_many_rest() -> World:
    world = World(None, tcp_max_tw_buckets=1)
    for port in (b"\x88\x01", b"\x88\x02"):
        rest(world, CLIENT[:4] + port)
    return world


def its_port_is_needed_while_it_rests() -> World:
    world = World(plan(local_addresses=("192.0.2.10",)), fullnat_lport_min=5000, fullnat_lport_max=5000)
    rest(world, CLIENT[:4] + b"\x88\x01")
    world.put(tcp(CLIENT[:4] + b"\x88\x02", VIP, "S", seq=C0))
    return world


def its_real_server_is_silent() -> World:
    world = asked()
    world.sleep(200)
    return world


def its_client_gives_up() -> World:
    world = asked()
    world.client.sends("R", seq=C0 + 1)
    return world


def its_client_begins_anew_while_the_real_server_drains() -> World:
    world = connected()
    world.rs.sends("R", seq=R0 + 1)
    world.change(plan(weights=(0,)))
    world.client.sends("S", seq=C1)
    return world


def its_real_server_was_removed() -> World:
    world = connected(expire_nodest_conn=1)
    world.change(plan(weights=()))
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"hello?")
    return world


def its_real_server_is_down() -> World:
    scene = plan()
    world = World(replace(scene, services=(replace(scene.services[0], on_down="reset"),)))
    world.client.connects(C0, R0)
    world.shard.change_health([0])
    return world


def its_service_was_removed() -> World:
    world = connected()
    world.change(replace(plan(), services=()))
    return world


def its_client_has_all_it_may() -> World:
    scene = plan()
    world = World(replace(scene, services=(replace(scene.services[0], max_conn_per_client=1),)))
    others = [CLIENT[:4] + port for port in (b"\x88\x01", b"\x88\x02")]
    for other in others:
        world.put(tcp(other, VIP, "S", seq=C0))
    for other in others:
        world.complete(other)
    world.reconcile()
    return world


STORIES: dict[Callable[[], World], EndReason] = {
    its_time_passes: EndReason.EXPIRED,
    an_operator_cuts_it: EndReason.CUT,
    a_full_table_needs_its_place: EndReason.DROPPED_EARLY,
    a_full_backlog_needs_its_place: EndReason.DROPPED_FROM_BACKLOG,
    a_full_service_needs_its_place: EndReason.DROPPED_FOR_LIMIT,
    a_full_table_needs_the_place_of_one_whose_client_is_not_confirmed: EndReason.UNCONFIRMED_DROPPED,
    its_port_is_needed_while_it_rests: EndReason.PORT_TAKEN,
    too_many_rest: EndReason.TIME_WAIT_OVERFLOW,
    its_real_server_is_silent: EndReason.HANDSHAKE_FAILED,
    its_client_gives_up: EndReason.HANDSHAKE_ABANDONED,
    its_client_begins_anew_while_the_real_server_drains: EndReason.REPLACED,
    its_real_server_was_removed: EndReason.REAL_SERVER_REMOVED,
    its_real_server_is_down: EndReason.REAL_SERVER_DOWN,
    its_service_was_removed: EndReason.UNSERVED,
    its_client_has_all_it_may: EndReason.CLIENT_FULL,
}


@pytest.mark.parametrize(("story", "because"), STORIES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_session_ends_because(story: Callable[[], World], because: EndReason) -> None:
    world = story()
    ended = {reason for reason in EndReason if world.counter(QUEUE_COUNTERS[reason].name)}
    assert ended == {because}, "\n".join(world.transcript)
    assert world.counter(QUEUE_COUNTERS[because].name) == 1


def test_every_reason_has_its_story() -> None:
    assert set(STORIES.values()) == set(EndReason)
