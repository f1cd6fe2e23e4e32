"""Real servers that are down: who gets new sessions, what becomes of old ones, and what clients are told."""

from dataclasses import replace

import pytest

from appliance.model import verdicts
from appliance.wire.flow import destination_of
from tests.support.addresses import C0, CLIENT, R0, RS1, RS2, VIP
from tests.support.lane_maps import FakeMaps, check_lane
from tests.support.proxied import proves
from tests.support.segments import read_tcp, tcp, udp
from tests.support.shard_invariants import sessions_of
from tests.support.two_servers import RS1_SLOT, RS2_SLOT, UDP_RS1_SLOT, UDP_RS2_SLOT, client, destinations, scene, syn
from tests.support.world import World


def test_one_that_is_down_gets_no_new_session_and_gets_them_again_when_it_is_up() -> None:
    world = World(scene())
    assert destinations(world) == {RS1, RS2}
    world.shard.change_health([RS1_SLOT])
    assert destinations(world, first=10) == {RS2}
    world.shard.change_health([])
    assert destinations(world, first=20) == {RS1, RS2}


def test_the_same_address_in_another_service_has_a_state_of_its_own() -> None:
    world = World(scene())
    world.shard.change_health([UDP_RS1_SLOT])
    assert destinations(world) == {RS1, RS2}


def test_a_worker_that_starts_knows_who_is_down() -> None:
    world = World(replace(scene(), down=(RS2_SLOT,)))
    assert destinations(world) == {RS1}


def test_a_reload_changes_nobodys_health() -> None:
    world = World(scene())
    world.shard.change_health([RS1_SLOT])
    world.change(scene(weights=(5, 5)))
    assert destinations(world) == {RS2}


def test_one_that_comes_with_a_reload_and_is_down_gets_nothing() -> None:
    world = World(replace(scene(weights=(1,)), down=(RS2_SLOT,)))
    world.change(scene())
    assert destinations(world) == {RS1}
    world.shard.change_health([])
    assert destinations(world, first=10) == {RS1, RS2}


ALL_DOWN = [RS1_SLOT, RS2_SLOT, UDP_RS1_SLOT, UDP_RS2_SLOT]


def test_when_none_is_healthy_new_sessions_are_refused() -> None:
    world = World(scene())
    world.shard.change_health(ALL_DOWN)
    assert syn(world) is verdicts.NO_REAL_SERVER
    assert world.put(udp(client(1), VIP, b"q")) is verdicts.NO_REAL_SERVER
    for _ in range(2):
        answer = world.take(CLIENT)
        assert (answer[9], answer[20], answer[21]) == (1, 3, 3), "ICMP port unreachable"


def test_with_abort_a_refusal_is_a_rst() -> None:
    world = World(scene(), tcp_abort_on_overflow=1)
    world.shard.change_health(ALL_DOWN)
    syn(world)
    assert read_tcp(world.take(CLIENT)).flags == "RA"


@pytest.mark.parametrize("abort", [0, 1])
@pytest.mark.parametrize("synproxy", ["never", "always"])
def test_or_dropped_without_any_answer(synproxy: str, abort: int) -> None:
    world = World(scene(when_none_healthy="drop", synproxy=synproxy), tcp_abort_on_overflow=abort)
    world.shard.change_health(ALL_DOWN)
    assert syn(world) is verdicts.NONE_HEALTHY
    assert world.put(udp(client(1), VIP, b"q")) is verdicts.NONE_HEALTHY
    world.assert_quiet()
    assert world.counter("none_healthy") == 2
    world.shard.change_health([RS1_SLOT])
    assert syn(world) is not verdicts.NONE_HEALTHY


def test_a_client_that_proves_itself_when_all_are_down_by_then_is_dropped_as_well() -> None:
    world = World(scene(when_none_healthy="drop", synproxy="always"), tcp_abort_on_overflow=1)
    world.client.sends("S", seq=C0)
    cookie = world.client.gets("SA").seq
    world.shard.change_health(ALL_DOWN)
    assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=b"x") is verdicts.NONE_HEALTHY
    world.assert_quiet()


def test_or_given_to_all_as_if_they_were_up() -> None:
    world = World(scene(when_none_healthy="all"))
    world.shard.change_health([RS1_SLOT])
    assert destinations(world) == {RS2}
    world.shard.change_health([RS1_SLOT, RS2_SLOT])
    assert destinations(world, first=10) == {RS1, RS2}


def test_a_backup_serves_only_while_no_other_is_up() -> None:
    world = World(scene(backups=(1,)))
    assert destinations(world) == {RS1}
    world.shard.change_health([RS1_SLOT])
    assert destinations(world, first=10) == {RS2}
    world.shard.change_health([])
    assert destinations(world, first=20) == {RS1}


def test_below_its_quorum_a_service_is_down() -> None:
    world = World(scene(quorum=2))
    assert destinations(world) == {RS1, RS2}
    world.shard.change_health([RS2_SLOT])
    assert syn(world, 10) is verdicts.NO_REAL_SERVER


def test_what_belongs_to_health_changes_with_a_reload() -> None:
    world = World(scene())
    world.shard.change_health(ALL_DOWN)
    world.change(scene(when_none_healthy="all"))
    assert destinations(world) == {RS1, RS2}
    world.change(scene(when_none_healthy="drop"))
    assert syn(world, 10) is verdicts.NONE_HEALTHY


def connected(on_down: str, maps: FakeMaps | None = None) -> World:
    """A session with the first real server, which then goes down."""
    world = World(scene(on_down=on_down), maps)
    world.client.connects(C0, R0)
    assert world.rs.here == RS1
    if maps is not None:
        world.kernel.change_services(scene(weights=(1, 1)).services)
    goes_down(world, on_down)
    return world


def goes_down(world: World, on_down: str) -> None:
    if world.maps.entries and on_down != "leave":  # the director forbids the kernel to carry its sessions first
        world.kernel.change_services(
            tuple(replace(service, real_servers=service.real_servers[1:]) for service in scene().services)
        )
    world.shard.change_health([RS1_SLOT])
    while world.inside.changes.settle_some():
        pass
    world._collect_segments()


MAPS = pytest.mark.parametrize("has_lane", [False, True], ids=["without the lane", "in the lane"])


@MAPS
def test_its_sessions_are_left_alone(has_lane: bool) -> None:
    world = connected("leave", FakeMaps() if has_lane else None)
    carried = world.carried
    assert world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x") is verdicts.TO_REAL_SERVER
    world.rs.gets("PA", data=b"x")
    assert world.carried - carried == has_lane
    assert len(world.inside.tcp) == 1


@MAPS
def test_or_end_at_the_next_packet_of_their_client(has_lane: bool) -> None:
    maps = FakeMaps() if has_lane else None
    world = connected("expire", maps)
    world.assert_quiet()
    assert len(world.inside.tcp) == 1
    assert world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x") is verdicts.SERVER_DOWN
    world.client.gets("R", seq=R0 + 1)
    assert read_tcp(world.take(RS1)).flags == "R"
    assert world.counter("sessions_of_down") == 1
    assert len(world.inside.tcp) == 0
    if maps is not None:
        assert not maps.table
        check_lane(world.inside.lane, maps, sessions_of(world.inside))
    world.shard.on_tick(world.now + 2000, 10)
    world.assert_empty()


@MAPS
def test_or_end_at_once(has_lane: bool) -> None:
    maps = FakeMaps() if has_lane else None
    world = connected("reset", maps)
    world.client.gets("R", seq=R0 + 1)
    assert read_tcp(world.take(RS1)).flags == "R"
    assert world.counter("sessions_of_down") == 1
    if maps is not None:
        assert not maps.table
        check_lane(world.inside.lane, maps, sessions_of(world.inside))
    world.shard.on_tick(world.now + 2000, 10)
    world.assert_empty()


@pytest.mark.parametrize("on_down", ["expire", "reset"])
def test_only_sessions_of_the_one_that_is_down_end(on_down: str) -> None:
    world = World(scene(on_down=on_down))
    for number in range(6):
        syn(world, number)
        world.complete(client(number))
    world._on_the_wire.clear()
    goes_down(world, on_down)
    for number in range(6):
        world.put(tcp(client(number), VIP, "PA", seq=C0 + 1, ack=R0 + 1, data=b"x"))
    assert world.counter("sessions_of_down") == 3
    assert {session.real_server.endpoint for session in world.sessions()} == {RS2}


def test_with_all_as_the_last_resort_nobody_has_to_leave() -> None:
    """When checks say that all are dead, the checks may be wrong."""
    world = World(scene(on_down="reset", when_none_healthy="all"))
    world.client.connects(C0, R0)
    world.shard.change_health(ALL_DOWN)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x")
    world.rs.gets("PA", data=b"x")


def test_one_that_is_up_again_keeps_the_sessions_that_have_not_ended() -> None:
    world = connected("expire")
    world.shard.change_health([])
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x")
    world.rs.gets("PA", data=b"x")


def test_a_client_that_begins_anew_gets_another_real_server() -> None:
    world = connected("leave")
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 1)
    world.rs.gets("FA")
    world.rs.sends("FA", seq=R0 + 1, ack=C0 + 2)
    world.client.gets("FA")
    world.client.sends("A", seq=C0 + 2, ack=R0 + 2)
    world.rs.gets("A")
    world.rs.here = RS2
    world.client.sends("S", seq=C0 + 100_000)
    world.rs.gets("S", destination=RS2)


@MAPS
@pytest.mark.parametrize("on_down", ["leave", "expire", "reset"])
def test_a_udp_client_goes_to_another_with_its_next_datagram(on_down: str, has_lane: bool) -> None:
    maps = FakeMaps() if has_lane else None
    world = World(scene(on_down=on_down), maps)
    world.put(udp(CLIENT, VIP, b"1"))
    there = world.take(RS1)
    world.put(udp(destination_of(there[12:24]), there[12:16] + there[20:22], b"a"))
    world.put(udp(CLIENT, VIP, b"2"))
    world._on_the_wire.clear()
    if maps is not None:
        assert maps.table
        world.kernel.change_services(
            tuple(replace(service, real_servers=service.real_servers[1:]) for service in scene().services)
        )
    world.shard.change_health([UDP_RS1_SLOT])
    assert world.put(udp(CLIENT, VIP, b"3")) is verdicts.TO_REAL_SERVER
    world.take(RS2)
    assert world.counter("sessions_of_down") == 1
    assert len(world.inside.udp) == 1
    if maps is not None:
        check_lane(world.inside.lane, maps, sessions_of(world.inside))


def test_a_udp_client_is_refused_when_there_is_no_other() -> None:
    world = World(scene())
    world.put(udp(CLIENT, VIP, b"1"))
    world._on_the_wire.clear()
    world.shard.change_health([UDP_RS1_SLOT, UDP_RS2_SLOT])
    assert world.put(udp(CLIENT, VIP, b"2")) is verdicts.NO_REAL_SERVER
    assert len(world.inside.udp) == 0


def test_what_a_dead_udp_server_still_sends_reaches_its_client() -> None:
    world = World(scene())
    world.put(udp(CLIENT, VIP, b"1"))
    there = world.take(RS1)
    world.shard.change_health([UDP_RS1_SLOT])
    assert world.put(udp(destination_of(there[12:24]), there[12:16] + there[20:22], b"late")) is verdicts.TO_CLIENT


def test_a_proxied_session_whose_real_server_goes_down_while_it_is_asked_ends_too() -> None:
    world = World(scene(on_down="reset", synproxy="always"))
    proves(world)
    asked = world.sessions()[0].real_server.slot
    world.shard.change_health([asked])
    world._collect_segments()
    world.client.gets("R")
    assert len(world.inside.tcp) == 0


def test_many_sessions_end_a_few_at_a_time() -> None:
    world = World(scene(on_down="reset", weights=(1,)))
    for number in range(300):
        syn(world, number)
    world._on_the_wire.clear()
    world.shard.change_health([RS1_SLOT])
    assert 0 < world.counter("sessions_of_down") < 300, "a bounded number between two packets"
    while world.inside.changes.settle_some():
        pass
    assert world.counter("sessions_of_down") == 300
