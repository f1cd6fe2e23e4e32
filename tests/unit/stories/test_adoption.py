"""A worker ends without a word, and the next one adopts its sessions: all of them, with all that was known of them."""

from dataclasses import replace

import pytest

from appliance.ipc.plan import Plan
from appliance.ipc.session_record import OFFSETS, RECORD_BYTES, SessionRecord
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model import verdicts
from appliance.model.tcp_state import TcpState
from appliance.model.tunables import TUNABLES
from appliance.shard.shard import Shard
from appliance.state.session import Session
from appliance.wire.flow import destination_of, source_of
from tests.support.addresses import C0, CLIENT, LIP1, LIP2, R0, RS2, VIP
from tests.support.lane_maps import FakeMaps, check_lane
from tests.support.proxied import opens
from tests.support.segments import read_tcp, tcp, udp
from tests.support.shard_invariants import check_sessions, sessions_of
from tests.support.world import World, plan


def client(number: int) -> bytes:
    return CLIENT[:4] + (40000 + number).to_bytes(2, "big")


def busy_world(scene: Plan | None = None, **tunables: int) -> World:
    """Sessions that wait for an answer, are half-open, established, closing, closed and in TIME_WAIT."""
    world = World(scene or plan(weights=(1, 1), with_udp=True), FakeMaps(), **tunables)
    for number in range(7):
        world.now += 0.01
        world.put(tcp(client(number), VIP, "S", seq=C0))
    by_client = {source_of(session.client_key): session for session in world.sessions()}
    for number in range(1, 7):
        session = by_client[client(number)]
        here, there = source_of(session.server_key), destination_of(session.server_key)
        isn = session.isn
        world.put(tcp(here, there, "SA", seq=R0, ack=isn + 1))
        if number > 1:
            world.put(tcp(client(number), VIP, "PA", seq=C0 + 1, ack=R0 + 1, data=b"GET"))
        if number > 2:
            world.put(tcp(here, there, "PA", seq=R0 + 1, ack=isn + 4, data=b"answer"))
        if number in (4, 6):
            world.put(tcp(client(number), VIP, "FA", seq=C0 + 4, ack=R0 + 7))
        if number in (5, 6):
            world.put(tcp(here, there, "FA", seq=R0 + 7, ack=isn + 4 + (number == 6)))
        if number == 5:
            world.put(tcp(client(number), VIP, "FA", seq=C0 + 4, ack=R0 + 8))
            world.put(tcp(here, there, "A", seq=R0 + 8, ack=isn + 5))
        if number == 6:
            world.put(tcp(client(number), VIP, "A", seq=C0 + 5, ack=R0 + 8))
        world.now += 0.01
    if world.inside.service("udp", VIP) is not None:
        world.put(udp(CLIENT, VIP, b"q"))
        (session,) = (session for bucket in world.inside.udp.walk() for session in bucket)
        world.put(udp(source_of(session.server_key), destination_of(session.server_key), b"a"))
        world.put(udp(CLIENT, VIP, b"more"))
    world.reconcile()
    return world


def check(world: World) -> None:
    check_sessions(world, are_settled=True)
    check_lane(world.inside.lane, world.maps, sessions_of(world.inside))


def test_all_sessions_are_what_they_were() -> None:
    world = busy_world()
    before, gauges = world.rows(), world.by_state()
    states = ["CLOSE", "CLOSE_WAIT", "ESTABLISHED", "ESTABLISHED", "SYN_RECV", "SYN_RECV", "TIME_WAIT", "UDP"]
    assert sorted(row.state for row in before) == states
    assert all(0 < row.age_s < 1 for row in before)
    world.restart()
    after = world.rows()
    assert {row.chosen for row in before} == {"rr"}
    assert {row.chosen for row in after} == {""}, "the only thing that no record says"
    assert [row._replace(expires_s=0, chosen="rr") for row in sorted(after)] == [
        row._replace(expires_s=0) for row in sorted(before)
    ]
    assert all(abs(one.expires_s - other.expires_s) < 1e-6 for one, other in zip(sorted(after), sorted(before), strict=True))
    assert world.by_state() == gauges
    assert world.counter("sessions_adopted") == 8
    check(world)


def test_what_the_kernel_did_last_is_adopted_as_well() -> None:
    """The worker has not looked at it any more."""
    world = busy_world()
    session = next(session for session in world.sessions() if session.state == TcpState.ESTABLISHED)
    key = session.client_key
    world.put(tcp(source_of(key), VIP, "FA", seq=session.words[1] % 2**32, ack=R0 + 1))
    assert session.state == TcpState.ESTABLISHED
    world.restart()
    assert {session.client_key: session.state for session in world.sessions()}[key] == TcpState.CLOSE_WAIT
    assert not any(world.maps.changed)
    check(world)


def test_they_go_on_and_end_as_if_nothing_had_happened() -> None:
    world = busy_world().restart()
    world.complete(client(0))
    world.put(tcp(client(2), VIP, "PA", seq=C0 + 4, ack=R0 + 1, data=b"more"))
    assert read_tcp(world._on_the_wire[-1]).data == b"more"
    world.reconcile()
    assert world.by_state()["established"] == 3
    check(world)
    world.sleep(1000)
    world.assert_empty()
    assert not world.maps.table
    assert world.counter("sessions_expired") == 8


def test_their_ports_are_taken_and_their_real_servers_last_numbers_kept() -> None:
    world = busy_world()
    taken = {(session.local_address, session.real_server.endpoint, session.local_port) for session in world.sessions()}
    world.restart()
    pools = world.inside.local_ports("tcp")
    assert {(local, rs, port) for local, rs, pool in pools for port in pool._ports.tolist() if pool.is_in_use(port)} == taken
    session = next(session for session in world.sessions() if session.state == TcpState.ESTABLISHED)
    key, acked, isn = session.client_key, session.words[5], session.isn
    world.put(tcp(source_of(session.server_key), destination_of(session.server_key), "RA", seq=R0 + 1, ack=acked))
    world.reconcile()
    assert acked != isn
    world.put(tcp(source_of(key), VIP, "S", seq=5 * C0))
    again = next(session for session in world.sessions() if session.client_key == key)
    assert (again.isn - acked) & 0xFFFFFFFF >= 1 << 26, "the next number on that port lies beyond the last one"


def test_a_port_outside_the_range_stays_with_its_session() -> None:
    world = busy_world().restart(fullnat_lport_min=20_000, fullnat_lport_max=20_300)
    assert len(world.rows()) == 8
    check(world)
    world.sleep(1000)
    world.assert_empty()


def test_what_is_kept_oldest_first_stays_so() -> None:
    world = busy_world().restart()
    for session in world.inside.by_state.time_wait:
        assert session.since == pytest.approx(record_of(world, session).last_seen_ns / 1e9)
        assert 1000 < session.since < world.now
    world.now += 1
    world.shared.set_tunables({"conn_max": 8})
    world.put(tcp(client(30), VIP, "S", seq=C0))
    assert client(0) not in {source_of(session.client_key) for session in world.sessions()}, "the oldest half-open one had to go"


def test_half_open_sessions_are_in_the_order_in_which_they_came() -> None:
    """And not in that of their entries, which is that of their ports."""
    world = World(None, FakeMaps())
    for number in range(12):
        world.now += 0.01
        world.put(tcp(client(number), VIP, "S", seq=C0))
    entries = [session.entry for session in half_open(world)]
    assert entries != sorted(entry or 0 for entry in entries)
    world.restart()
    assert [source_of(session.client_key) for session in half_open(world)] == [client(number) for number in range(12)]
    assert [session.since for session in half_open(world)] == pytest.approx([1000.01 + number / 100 for number in range(12)])
    assert world.inside.by_state.now == world.now


def half_open(world: World) -> list[Session]:
    service = world.inside.service("tcp", VIP)
    assert service is not None
    return list(service.half_open)


def record_of(world: World, session: Session) -> SessionRecord:
    assert session.entry is not None
    return world.maps.record(session.entry)


def test_sources_are_counted() -> None:
    world = busy_world().restart(source_conn_max=7)
    assert world.put(tcp(client(30), VIP, "S", seq=C0)) is verdicts.SOURCE_LIMIT


def test_a_proxied_session_keeps_its_numbers_windows_and_cookie() -> None:
    world = World(plan(synproxy="always"), FakeMaps())
    cookie = opens(world)
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 19, data=b"answer")
    world.client.gets("PA", seq=cookie + 1, data=b"answer")
    world.restart()
    assert world.sessions()[0].cookie == cookie
    world.rs.sends("PA", seq=R0 + 7, ack=C0 + 19, data=b"more")
    world.client.gets("PA", seq=cookie + 7, ack=C0 + 19, data=b"more")
    check(world)


def test_a_session_that_was_held_is_let_go() -> None:
    """Its worker was at a packet, or knew more than the record: that is lost, and the kernel goes on."""
    world = busy_world()
    session = next(session for session in world.sessions() if session.state == TcpState.ESTABLISHED)
    key = session.client_key
    assert world.put(tcp(source_of(key), VIP, "S", seq=9 * C0)) is verdicts.CHALLENGED
    assert world.maps.record(session.entry or 0).is_held
    world.restart()
    again = next(session for session in world.sessions() if session.client_key == key)
    assert not world.maps.record(again.entry or 0).is_held
    check(world)


def test_the_option_goes_on_where_the_opening_was() -> None:
    world = World(None, FakeMaps())
    world.client.connects(C0, R0)
    world.restart()
    (session,) = world.sessions()
    assert session.opening is not None
    assert (session.opening.rs_first_seq, session.opening.syn) == (R0 + 1, None)
    world.carries = lambda: False
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"GET")
    assert world.rs.gets("PA", data=b"GET").raw[40:42] == b"\xfe\x08"
    check(world)


def test_an_old_socket_of_the_real_server_is_reset_and_asked_again_after_a_restart_as_well() -> None:
    world = World(None, FakeMaps())
    world.client.sends("S", seq=C0)
    world.rs.gets("S", seq=C0)
    world.restart()
    assert world.rs.sends("A", seq=1, ack=C0 + 5_000) is verdicts.STALE_ANSWER
    world.rs.gets("R")
    world.rs.gets("S", seq=C0)


@pytest.mark.parametrize("shards", [1, 2])
def test_another_number_of_shards_shares_the_sessions_out(shards: int) -> None:
    world = busy_world()
    count = len(world.rows())
    found = []
    for shard in range(shards):
        world.restart(replace(world.plan, shard=shard, shards=shards))
        found += world.rows()
        assert {session.local_port % shards for session in world.sessions()} <= {shard}
    assert len(found) == count


def test_sessions_of_a_service_that_is_gone_are_reset() -> None:
    world = busy_world()
    established = [row for row in world.rows() if row.state != "UDP"]
    assert established
    world.restart(replace(world.plan, services=world.plan.services[1:]))
    assert [row.protocol for row in world.rows()] == ["UDP"]
    assert world.counter("sessions_unserved") == 7
    assert any(raw[33] & 4 for raw in world._on_the_wire)
    assert len(world.maps.table) == 2
    check(world)


def test_sessions_with_a_local_address_of_another_service_go_on() -> None:
    """The pool of their service has changed while they were there."""
    world = World(plan(), FakeMaps())
    world.client.connects(C0, R0)
    (web,) = world.plan.services
    (local,) = {session.local_address for session in world.sessions()}
    mine, others = (str(LIP1), str(LIP2)) if local == LIP2.packed else (str(LIP2), str(LIP1))
    services = (
        replace(web, local_addresses=(mine,)),
        replace(web, name="other", port=81, local_addresses=(others,), real_servers=()),
    )
    world.restart(replace(world.plan, services=services))
    assert [session.local_address for session in world.sessions()] == [local]
    world.assert_quiet()
    check(world)


def test_sessions_with_a_local_address_that_is_gone_are_reset() -> None:
    world = busy_world()
    held = {address for session in world.sessions() for address in [destination_of(session.server_key)[:4]]}
    assert held == {LIP1.packed, LIP2.packed}
    services = tuple(replace(service, local_addresses=(str(LIP2),)) for service in world.plan.services)
    count = len(world.rows())
    world.restart(replace(world.plan, services=services))
    assert {destination_of(session.server_key)[:4] for session in world.sessions()} == {LIP2.packed}
    assert len(world.rows()) + world.counter("sessions_unserved") == count
    check(world)


def test_sessions_of_a_real_server_that_is_gone_are_those_of_a_removed_one() -> None:
    world = busy_world()
    gone = plan(weights=(1,), with_udp=True)
    world.restart(gone)
    orphans = [session for session in world.sessions() if session.real_server.endpoint == RS2]
    assert orphans
    assert all(session.real_server.is_removed and world.maps.record(session.entry or 0).is_held for session in orphans)
    assert world.by_state()["orphan"] == len(orphans)
    key = orphans[0].client_key
    assert world.put(tcp(source_of(key), VIP, "PA", seq=C0 + 1, ack=R0 + 1, data=b"x")) is verdicts.REAL_SERVER_GONE
    # It comes back with a reload, and counts at its new place.
    world.change(plan(weights=(1, 1), with_udp=True))
    assert world.put(tcp(source_of(key), VIP, "PA", seq=C0 + 1, ack=R0 + 1, data=b"x")) is not verdicts.REAL_SERVER_GONE
    assert world.destination(1)["active_conns"] + world.destination(1)["inactive_conns"] == len(orphans)
    check(world)


def test_a_service_that_has_left_the_lane_takes_its_sessions_along() -> None:
    world = busy_world()
    services = tuple(replace(service, lane=False) for service in world.plan.services)
    world.restart(replace(world.plan, services=services))
    assert len(world.rows()) == 8
    assert not world.maps.table
    check(world)
    world.put(tcp(client(2), VIP, "PA", seq=C0 + 4, ack=R0 + 1, data=b"more"))
    assert read_tcp(world._on_the_wire[-1]).data == b"more"


def test_one_whose_time_is_over_ends_at_the_first_look() -> None:
    world = busy_world()
    world.now += 950
    world.restart()
    world.sleep(0.2)
    assert world.counter("sessions_expired") == 8


def test_a_moment_that_is_yet_to_come_makes_no_session_live_longer() -> None:
    world = busy_world()
    entry = world.sessions()[0].entry or 0
    damage(world, entry, "last_seen_ns", b"\xff" * 8)
    world.restart()
    assert max(row.expires_s for row in world.rows()) <= 900


def test_flows_are_made_those_of_the_sessions() -> None:
    world = busy_world()
    table = dict(world.maps.table)
    lost = list(table)[3]
    del world.maps.table[lost]
    entry = next(iter(world.maps.table.values()))
    foreign = {b"a" * 40: entry, b"b" * 40: world.maps.entries * 2 + 1, b"c" * 40: 7 * 2}
    world.maps.table |= foreign
    world.restart()
    assert world.maps.table == table
    check(world)


def test_flows_of_other_shards_are_left_alone() -> None:
    world = busy_world()
    table = dict(world.maps.table)
    world.restart(replace(world.plan, shard=1, shards=2))
    assert world.maps.table == table


def damage(world: World, entry: int, field: str, value: bytes) -> None:
    start = entry * RECORD_BYTES + OFFSETS[field]
    world.maps.records[start : start + len(value)] = value


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("version", b"\7", "version 7"),
        ("family", b"\5", "family 5"),
        ("state", b"\x63", "state 99"),
        ("state", b"\2", "state 2 is that of no session in the lane"),
        ("local_port", b"\x20\x20", "does not fit the endpoints"),
        ("client_isn", b"\1\1\1\1", "moved by its delta is not isn"),
        ("client_acked", b"\xff" * 8, "client_acked 18446744073709551615 does not fit 32 bits"),
    ],
)
def test_a_record_that_makes_no_sense_is_given_up(field: str, value: bytes, words: str) -> None:
    world = busy_world()
    session = next(session for session in world.sessions() if session.state == TcpState.ESTABLISHED)
    entry, key = session.entry or 0, session.client_key
    damage(world, entry, field, value)
    size = size_bytes(world.plan.shards, world.plan.destinations)
    shared = SharedState.create(memoryview(bytearray(size)), world.plan.shards, world.plan.destinations)
    shared.set_tunables({name: tunable.default for name, tunable in TUNABLES.items()})
    world.shared, world.shard = shared, Shard(world.plan, shared, world.now, world.maps)
    adopted = world.shard.adopt(world.now)
    assert (adopted.sessions, adopted.refused) == (7, 1)
    assert adopted.first_problem.startswith(f"entry {entry}: session record: ")
    assert words in adopted.first_problem
    assert key not in {session.client_key for session in world.sessions()}
    assert world.maps.version(entry) == 0
    check(world)


def test_two_records_of_one_flow_or_one_port_make_one_session() -> None:
    world = busy_world()
    session = next(session for session in world.sessions() if session.state == TcpState.ESTABLISHED)
    entry = session.entry or 0
    copy = next(other for other in world.inside.lane.entries.parts[session.local_port & 255] if not world.maps.version(other))
    record = bytes(world.maps.records[entry * RECORD_BYTES : (entry + 1) * RECORD_BYTES])
    world.maps.records[copy * RECORD_BYTES : (copy + 1) * RECORD_BYTES] = record
    world.restart()
    assert len(world.rows()) == 8
    assert world.counter("records_refused") == 1
    check(world)


def test_a_shard_without_a_lane_adopts_nothing() -> None:
    world = World()
    assert world.shard.adopt(world.now) == (0, 0, 0, "")
