"""Services that are added, removed, moved and changed while their shard has sessions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from appliance.ipc.plan import Plan, RealServerPlan, ServicePlan
from appliance.ipc.queries import CUT
from appliance.model import verdicts
from appliance.model.verdict import Verdict
from appliance.sessions import service_changes
from appliance.state.services import ALWAYS, AUTO, NEVER
from appliance.wire.flow import destination_of, pack_endpoint, source_of
from tests.support.addresses import C0, CLIENT, LIP1, LIP2, R0, RS1, RS1_ADDRESS, RS2_ADDRESS, VIP, VIP_ADDRESS
from tests.support.lane_maps import FakeMaps, check_lane
from tests.support.segments import read_tcp, tcp, udp
from tests.support.shard_invariants import check_sessions
from tests.support.world import World, plan

(WEB,) = plan().services
OTHER_VIP = pack_endpoint(VIP_ADDRESS, 81)
OTHER = replace(WEB, name="other", port=81, real_servers=(RealServerPlan(str(RS2_ADDRESS), 8080, 100, 1),))


def with_services(*services: ServicePlan) -> Plan:
    return replace(plan(), services=services)


def client(number: int) -> bytes:
    return CLIENT[:4] + (40000 + number).to_bytes(2, "big")


def connect(world: World, vip: bytes = VIP, number: int = 0) -> tuple[bytes, bytes]:
    """A client connects; returns the real server and the local endpoint of its session."""
    assert world.put(tcp(client(number), vip, "S", seq=C0)) is verdicts.TO_REAL_SERVER
    session = next(session for session in world.sessions() if source_of(session.client_key) == client(number))
    rs, local = source_of(session.server_key), destination_of(session.server_key)
    world.put(tcp(rs, local, "SA", seq=R0, ack=session.isn + 1))
    assert world.put(tcp(client(number), vip, "A", seq=C0 + 1, ack=R0 + 1)) is verdicts.TO_REAL_SERVER
    world._on_the_wire.clear()
    return rs, local


def goes_on(world: World, vip: bytes = VIP, number: int = 0) -> bool:
    sent = world.put(tcp(client(number), vip, "PA", seq=C0 + 1, ack=R0 + 1, data=b"x")) is verdicts.TO_REAL_SERVER
    world._on_the_wire.clear()
    return sent


def resets(world: World) -> set[bytes]:
    """Where RSTs go to at this moment; nothing else is on the wire."""
    seen = [read_tcp(raw) for raw in world._on_the_wire]
    assert all("R" in segment.flags for segment in seen)
    return {segment.destination for segment in seen}


def asks(world: World, vip: bytes = VIP, number: int = 9) -> Verdict:
    return world.put(tcp(client(number), vip, "S", seq=C0))


def test_a_new_service_takes_sessions_and_the_others_go_on() -> None:
    world = World(with_services(WEB))
    connect(world)
    assert asks(world, OTHER_VIP) is verdicts.NO_SERVICE
    world.change(with_services(WEB, OTHER))
    assert goes_on(world)
    rs, _ = connect(world, OTHER_VIP, 1)
    assert rs[:4] == RS2_ADDRESS.packed
    assert world.destination(1)["conns"] == 1
    assert world.put(tcp(OTHER_VIP, VIP, "S", seq=C0)) is verdicts.LAND
    check_sessions(world, are_settled=True)


def test_a_new_service_begins_with_the_real_servers_that_are_down() -> None:
    world = World(with_services(WEB))
    world.shard.change_health([1])
    world.change(with_services(WEB, OTHER))
    assert asks(world, OTHER_VIP) is verdicts.NO_REAL_SERVER
    world.shard.change_health([])
    assert asks(world, OTHER_VIP, 8) is verdicts.TO_REAL_SERVER


def test_a_new_service_knows_the_mtu_to_its_real_servers() -> None:
    world = World(with_services(WEB))
    world.shared.set_mtus({1: 1280})
    world.change(with_services(WEB, OTHER))
    other = world.inside.service("tcp", OTHER_VIP)
    assert other is not None
    assert other.mtu == 1280


def test_the_sessions_of_a_removed_service_are_reset_at_both_ends_and_no_others() -> None:
    world = World(with_services(WEB, OTHER))
    rs, local = connect(world)
    connect(world, OTHER_VIP, 1)
    world.change(with_services(OTHER))
    world._collect_segments()
    assert resets(world) == {CLIENT, rs}
    to_client, to_rs = sorted(map(read_tcp, world._on_the_wire), key=lambda segment: segment.destination == rs)
    assert (to_client.source, to_client.seq) == (VIP, R0 + 1)
    assert to_rs.source == local
    world._on_the_wire.clear()
    assert asks(world) is verdicts.NO_SERVICE
    assert goes_on(world, OTHER_VIP, 1)
    assert world.counter("sessions_unserved") == 1
    assert world.destination(0)["active_conns"] == 0
    assert world.destination(0)["conns"] == 1, "what it has counted stays"
    check_sessions(world, are_settled=True)
    world.change(with_services())
    world.assert_empty()


def test_a_removed_service_of_udp_takes_no_more_datagrams() -> None:
    (_, dns) = plan(with_udp=True).services
    world = World(with_services(WEB, dns))
    world.put(udp(CLIENT, VIP, b"q"))
    world.change(with_services(WEB))
    assert world.put(udp(CLIENT, VIP, b"q")) is verdicts.NO_SERVICE
    assert len(world.inside.udp) == 0
    world.assert_empty()


def test_many_sessions_of_a_removed_service_end_in_bounded_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two steps a client's packet ends its own session, and a session that has ended meanwhile is passed over."""
    monkeypatch.setattr(service_changes, "_SETTLED_AT_ONCE", 2 * (1 + service_changes._ONE_END))
    world = World(with_services(WEB))
    for number in range(10):
        connect(world, number=number)
    world.shard.change_services(())
    assert len(world.inside.tcp) == 8
    there = {source_of(session.client_key) for session in world.sessions()}
    (first, second, *_) = [number for number in range(10) if client(number) in there]
    assert not goes_on(world, number=first)
    assert len(world.inside.tcp) == 7
    assert asks(world, number=second) is verdicts.REAL_SERVER_GONE
    assert len(world.inside.tcp) == 6
    assert asks(world, number=99) is verdicts.NOT_OURS
    while world.inside.changes.settle_some():
        assert not world.shard.is_settled()
    assert world.shard.is_settled()
    world.assert_empty()
    assert world.counter("sessions_unserved") == 10


def test_a_service_that_comes_back_before_its_sessions_have_ended_keeps_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_changes, "_SETTLED_AT_ONCE", 1)
    world = World(with_services(WEB))
    for number in range(4):
        connect(world, number=number)
    world.shard.change_services(())
    world.shard.change_services((WEB,))
    connect(world, number=7)
    while world.inside.changes.settle_some():
        pass
    assert [source_of(session.client_key) for session in world.sessions()] == [client(7)]
    assert goes_on(world, number=7)
    assert (world.destination()["active_conns"], world.destination()["conns"]) == (1, 5)
    check_sessions(world, are_settled=True)


def test_a_service_that_moves_counts_on_and_its_sessions_end() -> None:
    """The director sends both for a moment: the new one is there before packets for it come."""
    world = World(with_services(WEB))
    connect(world)
    moved = replace(WEB, port=81)
    world.change(with_services(WEB, moved))
    assert goes_on(world)
    connect(world, OTHER_VIP, 1)
    connect(world, VIP, 2)
    assert (world.destination()["active_conns"], world.destination()["conns"]) == (3, 3)
    world.change(with_services(moved))
    assert not goes_on(world)
    assert goes_on(world, OTHER_VIP, 1)
    assert (world.destination()["active_conns"], world.destination()["conns"]) == (1, 3)
    assert world.by_state()["established"] == 1
    assert "orphan" not in world.by_state(), "those of the service that has gone are none"
    connect(world, OTHER_VIP, 3)
    assert (world.destination()["active_conns"], world.destination()["conns"]) == (2, 4)
    check_sessions(world, are_settled=True)


def test_another_service_in_the_place_of_one_has_none_of_its_sessions() -> None:
    world = World(with_services(WEB))
    connect(world)
    renamed = replace(WEB, name="renamed", real_servers=OTHER.real_servers)
    world.change(with_services(renamed))
    world._on_the_wire.clear()
    assert not goes_on(world)
    rs, _ = connect(world)
    assert rs[:4] == RS2_ADDRESS.packed
    assert [row.service for row in world.rows()] == ["renamed"]


def test_a_plan_that_makes_no_sense_changes_nothing() -> None:
    world = World(with_services(WEB))
    connect(world)
    for bad in (replace(OTHER, scheduler="best"), replace(OTHER, vip="here"), replace(OTHER, local_addresses=("x",))):
        with pytest.raises((KeyError, ValueError)):
            world.shard.change_services((bad,))
    assert goes_on(world)
    assert asks(world, OTHER_VIP) is verdicts.NO_SERVICE
    assert asks(world) is verdicts.TO_REAL_SERVER


def test_tcp_keeps_its_part_of_the_table_as_soon_as_there_is_a_service_of_udp() -> None:
    (_, dns) = plan(with_udp=True).services
    world = World(with_services(dns), conn_max=2, conn_reserved=50, conn_early_drop=0)

    def takes(number: int) -> bool:
        return world.put(udp(client(number), VIP, b"q")) is verdicts.TO_REAL_SERVER

    assert [takes(0), takes(1)] == [True, True]
    world.change(with_services())
    world.change(with_services(WEB, dns))
    assert [takes(2), takes(3)] == [True, False]


def test_a_service_that_asks_for_cookies_from_now_on() -> None:
    world = World(with_services(WEB))
    connect(world)
    world.change(with_services(replace(WEB, synproxy=ALWAYS)))
    assert goes_on(world)
    assert asks(world) is verdicts.COOKIE_SENT
    world.change(with_services(WEB))
    cookie = read_tcp(world._on_the_wire.pop()).seq
    world._on_the_wire.clear()
    assert asks(world, number=8) is verdicts.TO_REAL_SERVER
    world._on_the_wire.clear()
    world.put(tcp(client(9), VIP, "PA", seq=C0 + 1, ack=cookie + 1, data=b"GET"))
    assert read_tcp(world._on_the_wire[-1]).flags == "S", "who has got a cookie before is served all the same"
    world.sleep(300)
    other = world.put(tcp(client(10), VIP, "PA", seq=C0 + 1, ack=cookie + 1, data=b"GET"))
    assert other is verdicts.NO_SESSION, "later on nobody can have one"


def test_another_moment_to_open_proxied_sessions() -> None:
    proxied = replace(WEB, synproxy=ALWAYS, synproxy_defer=1)
    world = World(with_services(proxied))
    asks(world)
    cookie = read_tcp(world._on_the_wire.pop()).seq
    assert world.put(tcp(client(9), VIP, "A", seq=C0 + 1, ack=cookie + 1)) is verdicts.NULL_COOKIE_ACK
    world.change(with_services(replace(proxied, synproxy_defer=0)))
    world.put(tcp(client(9), VIP, "A", seq=C0 + 1, ack=cookie + 1))
    assert read_tcp(world._on_the_wire.pop()).flags == "S"


@pytest.mark.parametrize("services", [(WEB,), ()], ids=["never", "removed"])
def test_a_service_that_has_engaged_is_over_with_it(services: Sequence[ServicePlan]) -> None:
    world = World(with_services(replace(WEB, synproxy=AUTO)), tcp_max_syn_backlog=1)
    asks(world, number=0)
    assert asks(world, number=1) is verdicts.COOKIE_SENT
    assert (world.counter("syncookies_engaged"), world.counter("syncookies_disengaged")) == (1, 0)
    world.change(with_services(*services))
    assert (world.counter("syncookies_engaged"), world.counter("syncookies_disengaged")) == (1, 1)
    world.change(with_services(replace(WEB, synproxy=NEVER)))
    assert (world.counter("syncookies_engaged"), world.counter("syncookies_disengaged")) == (1, 1)


def test_sessions_are_taken_back_from_the_lane_and_go_on() -> None:
    world = World(with_services(WEB, OTHER), FakeMaps())
    connect(world)
    connect(world, OTHER_VIP, 1)
    assert len(world.maps.table) == 4
    world.change(with_services(replace(WEB, lane=False), OTHER))
    assert len(world.maps.table) == 2
    assert {session.service.name for session in world.sessions() if session.entry is not None} == {"other"}
    carried = world.carried
    assert goes_on(world)
    assert world.carried == carried
    assert goes_on(world, OTHER_VIP, 1)
    assert world.carried == carried + 1
    check_sessions(world, are_settled=True)
    check_lane(world.inside.lane, world.maps, world.sessions())


def test_a_removed_service_leaves_the_lane() -> None:
    world = World(with_services(WEB), FakeMaps())
    rs, _ = connect(world)
    world.change(with_services())
    world._collect_segments()
    assert resets(world) == {CLIENT, rs}
    assert not world.maps.table
    world.assert_empty()


def local_addresses(world: World) -> list[bytes]:
    return [session.local_address for session in world.sessions()]


def test_sessions_on_a_local_address_that_goes_are_reset_and_no_others() -> None:
    world = World(with_services(WEB))
    for number in range(4):
        connect(world, number=number)
    assert sorted(local_addresses(world)) == [LIP1.packed] * 2 + [LIP2.packed] * 2
    world.change(with_services(replace(WEB, local_addresses=(str(LIP2),))))
    world._collect_segments()
    assert len(resets(world)) == 3, "two clients and the real server"
    world._on_the_wire.clear()
    assert local_addresses(world) == [LIP2.packed] * 2
    connect(world, number=9)
    assert local_addresses(world) == [LIP2.packed] * 3
    check_sessions(world, are_settled=True)
    world.change(with_services(WEB))
    for number in (10, 11):
        connect(world, number=number)
    assert sorted(local_addresses(world)) == [LIP1.packed] + [LIP2.packed] * 4


def test_sessions_on_a_local_address_of_another_service_stay() -> None:
    first, second = replace(WEB, local_addresses=(str(LIP1),)), replace(OTHER, local_addresses=(str(LIP1),))
    world = World(with_services(first, second))
    connect(world)
    world.change(with_services(replace(first, local_addresses=(str(LIP2),)), second))
    assert goes_on(world)
    connect(world, number=1)
    assert sorted(local_addresses(world)) == [LIP1.packed, LIP2.packed]
    check_sessions(world, are_settled=True)


def rests(world: World, number: int) -> None:
    """A connection that both ends have closed, the client first."""
    rs, local = connect(world, number=number)
    session = next(session for session in world.sessions() if source_of(session.client_key) == client(number))
    world.put(tcp(client(number), VIP, "FA", seq=C0 + 1, ack=R0 + 1))
    world.put(tcp(rs, local, "FA", seq=R0 + 1, ack=session.isn + 2))
    world.put(tcp(client(number), VIP, "A", seq=C0 + 2, ack=R0 + 2))
    world._on_the_wire.clear()


@pytest.mark.parametrize("resting", [1, 3])
def test_no_session_gets_a_port_on_a_local_address_of_an_earlier_pool(resting: int) -> None:
    """Sessions in TIME_WAIT give up their ports for new ones, but those on another service's address are of no use here."""
    first, second = replace(WEB, local_addresses=(str(LIP1),)), replace(OTHER, local_addresses=(str(LIP1),))
    world = World(with_services(first, second), fullnat_lport_min=5000, fullnat_lport_max=5000 + resting)
    for number in range(resting):
        rests(world, number)
    world.change(with_services(replace(first, local_addresses=(str(LIP2),)), second))
    for number in range(resting, 2 * resting + 1):
        connect(world, number=number)
    assert asks(world, number=98) is verdicts.LOCAL_PORTS_EXHAUSTED
    check_sessions(world, are_settled=True)


def test_lost_sessions_of_a_new_service_are_told_as_well() -> None:
    world = World(replace(with_services(OTHER), has_predecessor=True))
    stray: dict[str, Any] = {"seq": R0 + 1, "ack": C0 + 1}
    local = pack_endpoint(LIP1, 5000)
    assert world.put(tcp(RS1, local, "A", **stray)) is verdicts.NOT_OURS
    world.change(with_services(OTHER, WEB))
    assert world.put(tcp(RS1, local, "A", **stray)) is verdicts.LOST_SESSION
    world.change(with_services(OTHER))
    assert world.put(tcp(RS1, local, "A", **stray)) is verdicts.LOST_SESSION, "also of one that is gone again"


def test_an_address_that_only_a_removed_service_had_may_be_a_clients() -> None:
    world = World(with_services(WEB, replace(OTHER, vip="203.0.113.11")))
    source = pack_endpoint(type(VIP_ADDRESS)("203.0.113.11"), 5000)
    assert world.put(tcp(source, VIP, "S", seq=C0)) is verdicts.LAND
    world.change(with_services(WEB))
    assert world.put(tcp(source, VIP, "S", seq=C0)) is verdicts.TO_REAL_SERVER


def test_a_removed_real_server_is_forgotten_when_it_has_no_session() -> None:
    """Another one may count in its place from then on: nothing of it is written there any more."""
    world = World(with_services(WEB))
    connect(world)
    gone = [("web", str(RS1_ADDRESS), 8080)]
    with pytest.raises(ValueError, match="has sessions"):
        world.shard.forget_real_servers(gone)
    world.change(with_services(replace(WEB, real_servers=OTHER.real_servers)))
    with pytest.raises(ValueError, match="has sessions"):
        world.shard.forget_real_servers(gone)
    world.walk_all(CUT)
    world.shard.forget_real_servers(gone)
    world.shared.give_up(0, 3)
    assert (world.destination(0)["conns"], world.destination(3)["conns"]) == (0, 1)
    successor = RealServerPlan("192.0.2.103", 8080, 100, 0)
    world.change(with_services(replace(WEB, real_servers=(successor,))))
    connect(world, number=1)
    connect(world, number=2)
    assert (world.destination(0)["conns"], world.destination(0)["active_conns"]) == (2, 2)
    world.change(with_services(replace(WEB, real_servers=(successor, replace(WEB.real_servers[0], slot=2)))))
    for number in (3, 4):
        connect(world, number=number)
    assert [world.destination(slot)["conns"] for slot in (0, 2, 3)] == [3, 1, 1]
    check_sessions(world, are_settled=True)


def test_a_real_server_without_a_service_or_unknown_is_forgotten_already() -> None:
    world = World(with_services())
    world.shard.forget_real_servers([("web", str(RS1_ADDRESS), 8080)])
    world.assert_empty()


def test_a_part_of_a_change_leaves_all_other_services_alone() -> None:
    world = World(with_services(WEB, OTHER))
    connect(world, VIP, 1)
    connect(world, OTHER_VIP, 2)
    world.shard.change_services((replace(OTHER, local_addresses=WEB.local_addresses[:1]),), gone=())
    assert goes_on(world, VIP, 1)
    world.shard.change_services((), gone=(OTHER.key, ("udp", str(VIP_ADDRESS), 9)))  # nobody knows the second one
    assert asks(world, OTHER_VIP) is verdicts.NO_SERVICE
    assert world.put(tcp(OTHER_VIP, VIP, "S", seq=C0)) is verdicts.LAND, "its VIP is that of the other one too"
    assert goes_on(world, VIP, 1)
    check_sessions(world, are_settled=True)


def test_health_is_of_the_services_that_are_there_after_each_part_of_a_change() -> None:
    """The slot of a real server that was removed may belong to another service afterwards."""
    world = World(with_services(WEB, OTHER))
    (server,) = OTHER.real_servers
    world.shard.change_services((replace(OTHER, real_servers=()),), gone=())
    changes = world.inside.changes
    assert changes._service_of.keys() == {server.slot for server in WEB.real_servers}, "nobody is kept for a slot of nobody"
    third = replace(WEB, name="third", port=82, real_servers=(server,))
    world.shard.change_services((third,), gone=())
    world.shard.change_services((), gone=(OTHER.key,))
    world.shard.change_health((server.slot,))
    assert asks(world, pack_endpoint(VIP_ADDRESS, 82)) is verdicts.NO_REAL_SERVER
    world.shard.change_health(())
    assert asks(world, pack_endpoint(VIP_ADDRESS, 82), 5) is verdicts.TO_REAL_SERVER
    assert asks(world, VIP, 6) is verdicts.TO_REAL_SERVER


def test_a_service_that_moves_in_two_parts_counts_on() -> None:
    world = World(with_services(WEB))
    connect(world)
    world.shard.change_services((replace(WEB, port=82),), gone=())
    connect(world, pack_endpoint(VIP_ADDRESS, 82), 3)
    world.shard.change_services((), gone=(WEB.key,))
    while world.shard.on_tick(world.now, 100):
        pass
    world.shard.publish_counts()
    slots = [server.slot for server in WEB.real_servers]
    assert sum(world.destination(slot)["conns"] for slot in slots) == 2
    assert goes_on(world, pack_endpoint(VIP_ADDRESS, 82), 3)
