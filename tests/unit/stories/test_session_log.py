"""What a shard tells of sessions at their end: each reason, the times, the counts, and how many it tells at most."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from appliance.ipc.plan import Plan
from appliance.ipc.queries import CUT
from appliance.ipc.rows import SessionEnd
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import STATE_NAMES, TcpState
from appliance.sessions.ended import BATCH, MOST_WAITING, STARTED_ANEW
from appliance.shard.shard import Shard
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.lane_maps import FakeMaps
from tests.support.proxied import asks, opens, proves
from tests.support.segments import tcp, udp
from tests.support.world import World, plan

PER_S = 100_000


def logged(scene: Plan | None = None, per_s: int = PER_S, services: tuple[str, ...] = ()) -> Plan:
    return replace(scene or plan(), log_per_s=per_s, logged_services=services)


def told(world: World) -> list[SessionEnd]:
    """All that the shard has to tell, of which nothing was left out."""
    world.reconcile()
    rows = list[SessionEnd]()
    while True:
        batch, left_out = world.shard.sessions.ended.take()
        assert not left_out
        if not batch:
            return rows
        rows += batch


def client(number: int) -> bytes:
    return CLIENT[:4] + (20_000 + number).to_bytes(2, "big")


def half_open(world: World, *numbers: int) -> None:
    for number in numbers:
        world.put(tcp(client(number), VIP, "S", seq=C0))
        world.now += 0.6


def connected(scene: Plan | None = None, **tunables: int) -> World:
    world = World(logged(scene), **tunables)
    world.client.connects(C0, R0)
    return world


def close(world: World) -> None:
    """The client first, so that the session rests in TIME_WAIT."""
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 1)
    world.rs.sends("FA", seq=R0 + 1, ack=C0 + 2)
    world.rs.sends("A", seq=R0 + 2, ack=C0 + 2)


def expired() -> World:
    world = connected()
    world.sleep(901)
    return world


def dropped_early() -> World:
    world = World(logged(), conn_max=2)
    half_open(world, 1, 2, 3)
    return world


def time_wait_overflow() -> World:
    world = connected(tcp_max_tw_buckets=1)
    close(world)
    world.put(tcp(client(1), VIP, "S", seq=C0))
    world.complete(client(1))
    session = next(session for session in world.sessions() if session.state == TcpState.ESTABLISHED)
    world.inside.enter(session, TcpState.TIME_WAIT)
    return world


def cut() -> World:
    world = connected()
    world.walk_all(CUT)
    return world


def handshake_failed() -> World:
    world = World(logged(plan(synproxy="always")))
    proves(world)
    world.sleep(20)
    return world


def handshake_abandoned() -> World:
    world = World(logged(plan(synproxy="always")))
    cookie = proves(world)
    world.client.sends("R", seq=C0 + 1 + len(b"GET / HTTP/1.1\r\n\r\n"), ack=cookie + 1)
    return world


def replaced() -> World:
    world = connected(plan(weights=(1, 1)))
    close(world)
    world.change(plan(weights=(0, 1)))
    world.client.sends("S", seq=C0 + 100_000)
    return world


def real_server_removed() -> World:
    world = connected(plan(weights=(1, 1)), expire_nodest_conn=1)
    (service,) = plan(weights=(1, 1)).services
    world.shard.change_services([replace(service, real_servers=service.real_servers[1:])])
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x")
    return world


def dropped_from_backlog() -> World:
    world = World(logged(), tcp_max_syn_backlog=16)
    half_open(world, *range(17))
    return world


def unconfirmed_dropped() -> World:
    world = World(logged(plan(with_udp=True)), conn_max=2)
    for number in range(3):
        world.put(udp(client(number), VIP, b"?"))
        world.now += 0.6
    return world


def port_taken() -> World:
    world = connected(plan(local_addresses=("192.0.2.10",)), fullnat_lport_min=5000, fullnat_lport_max=5000)
    close(world)
    world.put(tcp(client(1), VIP, "S", seq=C0))
    return world


def dropped_for_limit() -> World:
    (service,) = plan().services
    world = World(logged(replace(plan(), services=(replace(service, max_conn=1),))))
    half_open(world, 1, 2)
    return world


def real_server_down() -> World:
    (service,) = plan(weights=(1, 1)).services
    world = connected(replace(plan(), services=(replace(service, on_down="reset"),)))
    world.shard.change_health([0])
    return world


def unserved() -> World:
    world = connected()
    world.shard.change_services(())
    return world


def client_full() -> World:
    (service,) = plan().services
    world = World(logged(replace(plan(), services=(replace(service, max_conn_per_client=1),))))
    for number in (1, 2):
        world.put(tcp(client(number), VIP, "S", seq=C0))
    for number in (1, 2):
        world.complete(client(number))
    return world


WAYS: dict[EndReason, tuple[Callable[[], World], str, str]] = {
    EndReason.EXPIRED: (expired, "ESTABLISHED", ""),
    EndReason.DROPPED_EARLY: (dropped_early, "SYN_RECV", ""),
    EndReason.TIME_WAIT_OVERFLOW: (time_wait_overflow, "TIME_WAIT", "fin"),
    EndReason.CUT: (cut, "ESTABLISHED", ""),
    EndReason.HANDSHAKE_FAILED: (handshake_failed, "SYN_SENT", ""),
    EndReason.HANDSHAKE_ABANDONED: (handshake_abandoned, "SYN_SENT", ""),
    EndReason.REPLACED: (replaced, "TIME_WAIT", "fin"),
    EndReason.REAL_SERVER_REMOVED: (real_server_removed, "ESTABLISHED", ""),
    EndReason.DROPPED_FROM_BACKLOG: (dropped_from_backlog, "SYN_RECV", ""),
    EndReason.UNCONFIRMED_DROPPED: (unconfirmed_dropped, "UDP", ""),
    EndReason.PORT_TAKEN: (port_taken, "TIME_WAIT", "fin"),
    EndReason.DROPPED_FOR_LIMIT: (dropped_for_limit, "SYN_RECV", ""),
    EndReason.REAL_SERVER_DOWN: (real_server_down, "ESTABLISHED", ""),
    EndReason.UNSERVED: (unserved, "ESTABLISHED", ""),
    EndReason.CLIENT_FULL: (client_full, "ESTABLISHED", ""),
}


@pytest.mark.parametrize("reason", EndReason, ids=lambda reason: reason.name.lower())
def test_each_reason_is_told_with_the_state_in_which_it_ended(reason: EndReason) -> None:
    way, state, closed_by = WAYS[reason]
    world = way()
    rows = told(world)
    assert [(row.reason, row.state, row.closed_by) for row in rows] == [(reason.name.lower(), state, closed_by)]
    assert rows[0].is_proxied == (state == "SYN_SENT")
    assert rows[0].protocol == ("udp" if state == "UDP" else "tcp")
    assert rows[0].client.startswith("198.51.100.2:")
    assert rows[0].ended_ms >= rows[0].opened_ms >= 1_000_000


def test_while_it_is_off_nothing_is_told_nor_counted() -> None:
    world = World()
    world.client.connects(C0, R0)
    world.walk_all(CUT)
    assert world.shard.sessions.ended.take() == ([], 0)


@pytest.fixture(params=["python", "lane"])
def world(request: pytest.FixtureRequest) -> World:
    made = World(logged(plan(with_udp=True)), FakeMaps() if request.param == "lane" else None)
    made.now += 0.25
    made.client.connects(C0, R0)
    return made


def test_a_row_has_all_of_the_session(world: World) -> None:
    """Every packet of the whole session counts, whoever carried it, and it has ended with its last one and not with its timer."""
    local = world.rows()[0].local
    world.now += 2
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x" * 100)
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 101, data=b"y" * 1000)
    world.now += 3
    world.client.sends("FA", seq=C0 + 101, ack=R0 + 1001)
    world.rs.sends("FA", seq=R0 + 1001, ack=C0 + 102)
    world.now += 0.125
    world.rs.sends("A", seq=R0 + 1002, ack=C0 + 102)
    assert told(world) == []
    world.sleep(300)
    (row,) = told(world)
    assert row._replace(local="") == SessionEnd(
        "web", "tcp", "198.51.100.2:40000", "203.0.113.10:80", "", "192.0.2.101:8080", "TIME_WAIT", "expired", "fin", False,
        1000_250, 1005_375, row.in_packets, row.in_bytes, row.out_packets, row.out_bytes,
    )  # fmt: skip
    assert row.local == local
    counted = world.destination()
    assert (row.in_packets, row.out_packets) == (4, 4)
    if not world.maps.entries:
        assert (row.in_bytes, row.out_bytes) == (counted["in_bytes"], counted["out_bytes"])
    assert row.in_bytes >= 4 * 40 + 100
    assert row.out_bytes >= 4 * 40 + 1000


def test_what_the_kernel_has_seen_last_counts_when_somebody_ends_it() -> None:
    world = World(logged(), FakeMaps())
    world.client.connects(C0, R0)
    world.now += 4
    close(world)
    (session,) = world.sessions()
    assert STATE_NAMES[session.state] != "TIME_WAIT", "Python does not know yet"
    world.inside.by_state.now = world.now + 50
    world.inside.end(session, EndReason.CUT)
    (row,) = told(world)
    assert (row.state, row.closed_by, row.ended_ms - row.opened_ms) == ("TIME_WAIT", "fin", 4000)


def test_one_that_both_have_closed_and_one_has_not_acknowledged(world: World) -> None:
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 1)
    world.rs.sends("FA", seq=R0 + 1, ack=C0 + 2)
    world.sleep(100)
    (row,) = told(world)
    assert (row.reason, row.state, row.closed_by) == ("expired", "LAST_ACK", "fin")


def test_one_that_is_reset_has_ended_with_the_rst(world: World) -> None:
    world.now += 7
    world.client.sends("R", seq=C0 + 1)
    world.sleep(300)
    (row,) = told(world)
    assert (row.reason, row.state, row.closed_by) == ("expired", "CLOSE", "rst")
    assert row.ended_ms - row.opened_ms == 7000


def test_a_blind_rst_ends_nothing(world: World) -> None:
    world.client.sends("R", seq=C0 + 1 + 5000)
    world.sleep(300)
    assert told(world) == []


def test_an_idle_one_has_ended_with_its_last_packet(world: World) -> None:
    world.now += 1.5
    world.client.sends("A", seq=C0 + 1, ack=R0 + 1)
    world.sleep(1000)
    (row,) = told(world)
    assert (row.reason, row.closed_by, row.ended_ms - row.opened_ms) == ("expired", "", 1500)


def test_one_that_is_cut_has_ended_when_it_was_cut(world: World) -> None:
    world.sleep(10)
    world.walk_all(CUT)
    (row,) = told(world)
    assert (row.reason, row.ended_ms - row.opened_ms) == ("cut", 10_000)


def test_one_that_is_cut_behind_its_end_has_ended_before(world: World) -> None:
    world.now += 1
    world.client.sends("R", seq=C0 + 1)
    world.sleep(2)
    world.walk_all(CUT)
    (row,) = told(world)
    assert (row.reason, row.closed_by, row.ended_ms - row.opened_ms) == ("cut", "rst", 1000)


def test_a_udp_session_has_ended_with_its_last_datagram_confirmed_or_not() -> None:
    world = World(logged(plan(with_udp=True)))
    world.put(udp(client(1), VIP, b"?"))
    world.now += 0.5
    world.put(udp(client(1), VIP, b"once more"))
    world.sleep(1000)
    (row,) = told(world)
    assert (row.protocol, row.service, row.reason, row.in_packets, row.out_packets) == ("udp", "dns", "expired", 2, 0)
    assert row.ended_ms - row.opened_ms == 500


def test_a_connection_that_begins_anew_in_the_place_of_another_is_another_session(world: World) -> None:
    world.now += 1
    world.client.sends("R", seq=C0 + 1)
    world.now += 2
    world.client.sends("S", seq=C0 + 100_000)
    (row,) = told(world)
    assert (row.reason, row.closed_by, row.in_packets, row.ended_ms - row.opened_ms) == (STARTED_ANEW, "rst", 3, 1000)
    world.walk_all(CUT)
    (row,) = told(world)
    assert (row.opened_ms, row.in_packets) == (1003_250, 1)


def test_a_proxied_session_begins_with_the_cookie_that_comes_back() -> None:
    world = World(logged(plan(synproxy="always", synproxy_defer=0)))
    asks(world)
    world.now += 3
    cookie = opens(world)
    assert cookie
    world.now += 1
    world.walk_all(CUT)
    (row,) = told(world)
    assert row.is_proxied
    assert row.opened_ms == 1003_000


def test_what_the_kernel_has_counted_outlives_the_worker_with_the_time_of_opening() -> None:
    world = World(logged(), FakeMaps())
    world.client.connects(C0, R0)
    world.now += 5
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x" * 100)
    assert world.carried
    world.restart()
    world.now += 5
    world.client.sends("PA", seq=C0 + 101, ack=R0 + 1, data=b"x" * 100)
    world.sleep(1000)
    (row,) = told(world)
    assert (row.opened_ms, row.ended_ms, row.in_packets) == (1000_000, 1010_000, 4)


def test_one_whose_service_went_with_the_worker_is_told_without_its_name() -> None:
    world = World(logged(plan(with_udp=True)), FakeMaps())
    world.client.connects(C0, R0)
    (row,) = world.rows()
    world.now += 5
    world.restart(replace(world.plan, services=world.plan.services[1:]))
    (ended,) = told(world)
    assert (ended.service, ended.client, ended.local, ended.reason) == ("", row.client, row.local, "unserved")
    assert (ended.opened_ms, ended.ended_ms, ended.in_packets, ended.out_packets) == (1000_000, 1005_000, 2, 1)


def test_only_sessions_of_the_services_that_are_named() -> None:
    world = World(logged(plan(with_udp=True), services=("dns",)))
    world.client.connects(C0, R0)
    world.put(udp(client(1), VIP, b"?"))
    world.walk_all(CUT)
    assert [row.service for row in told(world)] == ["dns"]


def many(world: World, first: int, number: int) -> None:
    for each in range(first, first + number):
        world.put(udp(client(each), VIP, b"?"))
    world.walk_all(CUT)


def test_beyond_so_many_a_second_they_are_left_out_and_counted() -> None:
    world = World(logged(plan(with_udp=True), per_s=5))
    many(world, 0, 12)
    assert len(world.shard.sessions.ended) == 5
    rows, left_out = world.shard.sessions.ended.take()
    assert (len(rows), left_out) == (5, 7)
    many(world, 100, 1)
    assert world.shard.sessions.ended.take() == ([], 1)
    world.sleep(1.1)
    many(world, 200, 2)
    rows, left_out = world.shard.sessions.ended.take()
    assert (len(rows), left_out) == (2, 0)


def test_no_more_wait_for_a_director_that_takes_none_than_there_is_room_for() -> None:
    world = World(logged(plan(with_udp=True)))
    many(world, 0, MOST_WAITING + 50)
    assert len(world.shard.sessions.ended) == MOST_WAITING
    rows, left_out = world.shard.sessions.ended.take()
    assert (len(rows), left_out) == (BATCH, 50)
    assert len(world.shard.sessions.ended) == MOST_WAITING - BATCH


def test_it_is_switched_while_traffic_flows(world: World) -> None:
    world.shard.sessions.ended.change(0, ())
    world.put(udp(client(1), VIP, b"?"))
    world.walk_all(CUT)
    assert told(world) == []
    world.shard.sessions.ended.change(PER_S, ())
    world.put(udp(client(1), VIP, b"?"))
    world.walk_all(CUT)
    assert [row.service for row in told(world)] == ["dns"]


def test_a_new_worker_begins_as_its_plan_says() -> None:
    world = World()
    assert not world.shard.sessions.ended.is_on
    world.shard = Shard(logged(), world.shared, world.now)
    assert world.shard.sessions.ended.is_on
