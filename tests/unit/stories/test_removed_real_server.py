"""A real server that is removed while it has sessions: LVS behaviour 2.3 (5) and `expire_nodest_conn`."""

from dataclasses import replace

import pytest

from appliance.model import verdicts
from tests.support.addresses import C0, CLIENT, R0, RS1, RS2, VIP
from tests.support.segments import read_tcp, tcp, udp
from tests.support.world import World, plan


def removed(**tunables: int) -> World:
    """A session with the first real server, which is then removed."""
    world = World(plan(weights=(1, 1)), **tunables)
    world.client.connects(C0, R0)
    assert world.rs.here == RS1
    scene = plan(weights=(1, 1))
    (service,) = scene.services
    world.shard.change_services([replace(service, real_servers=service.real_servers[1:])])
    return world


def test_the_clients_packets_are_dropped_and_do_not_keep_the_session_alive() -> None:
    world = removed()
    world.sleep(600)
    assert world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x") is verdicts.REAL_SERVER_GONE
    world.assert_quiet()
    world.sleep(301)
    assert len(world.inside.tcp) == 0, "900 s after the last packet that counted"


def test_what_the_real_server_still_sends_reaches_the_client() -> None:
    world = removed()
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1, data=b"last words")
    world.client.gets("PA", data=b"last words")


def test_with_expire_nodest_conn_the_next_client_packet_ends_the_session_at_both_sides() -> None:
    world = removed(expire_nodest_conn=1)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x")
    assert len(world.inside.tcp) == 0
    reset = read_tcp(world.take(RS1))
    assert (reset.flags, reset.seq) == ("R", (C0 + 1 + world.rs.shift) % 2**32)
    world.client.gets("R", seq=R0 + 1)
    world.sleep(1)
    world.shard.on_tick(world.now + 2000, 10)
    world.assert_empty()


def test_a_new_connection_of_the_same_client_goes_to_another() -> None:
    world = removed()
    world.client.sends("S", seq=C0 + 777)
    world.client.sends("R", seq=world.client.gets("A").ack)
    world.rs.here = RS2
    world.rs.gets("S", seq=C0 + 777, destination=RS2)


def test_a_real_server_that_comes_back_has_its_sessions_and_counters() -> None:
    world = removed()
    before = world.destination(0)
    world.change(plan(weights=(1, 1)))
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x")
    world.rs.gets("PA", data=b"x")
    assert world.destination(0)["in_packets"] == before["in_packets"] + 1
    assert world.destination(0)["active_conns"] == 1


def test_new_real_servers_get_connections_and_weights_change() -> None:
    world = World(plan(weights=(1,)))
    world.change(plan(weights=(0, 1)))
    world.put(tcp(CLIENT, VIP, "S"))
    world.take(RS2)
    world.assert_quiet()
    assert world.destination(1)["conns"] == 1


@pytest.mark.parametrize("expire_nodest", [0, 1])
def test_this_is_so_for_udp_sessions_too(expire_nodest: int) -> None:
    world = World(plan(weights=(1, 1), with_udp=True), expire_nodest_conn=expire_nodest)
    world.put(udp(CLIENT, VIP, b"x"))
    world.take(RS1)
    world.change(plan(weights=(), with_udp=True))
    assert world.put(udp(CLIENT, VIP, b"x")) is verdicts.REAL_SERVER_GONE
    assert len(world.inside.udp) == 1 - expire_nodest
