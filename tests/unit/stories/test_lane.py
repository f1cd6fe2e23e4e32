"""Sessions in the lane: the kernel carries what Python decided, and Python knows what the kernel has seen before it acts."""

from dataclasses import replace
from unittest.mock import Mock

import pytest

from appliance.ipc.plan import Plan
from appliance.ipc.queries import CUT
from appliance.ipc.session_record import Flags
from appliance.model import verdicts
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import TcpState
from appliance.sessions.lane import LEAST_INTERVAL_S
from appliance.state.lane_entry import CELLS, HELD_CELL, STATE_CELL
from appliance.state.session import Session
from appliance.wire.flow import destination_of, source_of
from appliance.wire.seq import add
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.lane_maps import FakeMaps
from tests.support.lane_scene import asked, check, only, record
from tests.support.proxied import opens, proves
from tests.support.segments import tcp, udp
from tests.support.tcp_options import MSS_1460
from tests.support.world import World, plan


def lane_world(scene: Plan | None = None, maps: FakeMaps | None = None, /, **tunables: int) -> World:
    return World(scene, maps or FakeMaps(), **tunables)


def established(scene: Plan | None = None, **tunables: int) -> World:
    world = lane_world(scene, **tunables)
    world.client.connects(C0, R0)
    world.carried = 0
    return world


def closed() -> World:
    """One whose session was closed by its client, then by its real server, all in the kernel."""
    world = established()
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 1)
    world.rs.sends("FA", seq=R0 + 1, ack=C0 + 2)
    world.client.sends("A", seq=C0 + 2, ack=R0 + 2)
    return world


def client(number: int) -> bytes:
    return CLIENT[:4] + (40_000 + number).to_bytes(2, "big")


# How a session comes into the lane, and leaves it.


def test_everything_after_the_syn_is_carried_by_the_kernel() -> None:
    world = lane_world()
    world.client.connects(C0, R0)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"GET")
    world.rs.gets("PA", data=b"GET")
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 4, data=b"answer")
    world.client.gets("PA", data=b"answer")
    world.client.sends("FA", seq=C0 + 4, ack=R0 + 7)
    world.rs.sends("FA", seq=R0 + 7, ack=C0 + 5)
    world.client.sends("A", seq=C0 + 5, ack=R0 + 8)
    assert world.carried == 7
    world.reconcile()
    assert world.by_state() == {"close": 1}
    check(world)


def test_the_answer_to_a_syn_already_finds_the_session_let_go() -> None:
    world = lane_world()
    world.client.sends("S", seq=C0)
    found = record(world)
    assert not found.is_held
    assert found.flags == Flags.IS_OPENING | Flags.IN_FIRST_TABLE
    assert (found.state, found.isn, found.client_next_seq) == (TcpState.SYN_RECV, only(world).isn, C0 + 1)
    assert found.last_seen_ns == 1000 * 10**9
    check(world)


def test_a_proxied_session_comes_when_it_is_joined() -> None:
    world = lane_world(plan(synproxy="always"))
    proves(world)
    assert not world.maps.table
    world.rs.sends("SA", seq=R0, ack=C0 + 1, options=MSS_1460)
    found = record(world)
    assert (found.is_held, found.state, found.cookie) == (False, TcpState.ESTABLISHED, only(world).cookie)
    assert found.rs_first_seq == R0 + 1, "as the real server counts"
    check(world)


def test_a_session_whose_real_server_was_removed_before_it_is_joined_stays_held() -> None:
    scene = plan(synproxy="always")
    world = lane_world(scene)
    proves(world)
    world.shard.change_services((replace(scene.services[0], real_servers=()),))
    world.rs.sends("SA", seq=R0, ack=C0 + 1, options=MSS_1460)
    assert record(world).is_held
    check(world)


def test_a_udp_session_comes_when_its_client_has_sent_again_after_an_answer() -> None:
    world = lane_world(plan(with_udp=True))
    world.put(asked(world))
    assert not world.maps.table, "a flood of forged sources takes no entries"
    world.put(udp(CLIENT, VIP, b"q"))
    assert not record(world).is_held
    assert record(world).last_seen_ns == pytest.approx(world.now * 1e9)
    check(world)
    world.put(udp(CLIENT, VIP, b"q"))
    assert world.carried == 1


def test_a_datagram_that_comes_up_keeps_its_session_alive() -> None:
    world = lane_world(plan(with_udp=True))
    answer = asked(world)
    world.put(answer)
    world.put(udp(CLIENT, VIP, b"q"))
    world.now += 200
    world.carries = lambda: False
    world.put(answer)
    (row,) = world.rows()
    assert row.expires_s == pytest.approx(300)
    assert record(world).last_seen_ns == pytest.approx(world.now * 1e9)


def test_nothing_of_its_last_session_is_left_in_an_entry() -> None:
    world = lane_world(plan(with_udp=True), FakeMaps(256), fullnat_lport_min=5000, fullnat_lport_max=5000)
    world.client.connects(C0, R0)
    world.reconcile()
    world.walk_all(CUT)
    world.sleep(2.1)
    world.put(asked(world))
    world.put(udp(CLIENT, VIP, b"q"))
    found = record(world)
    assert (found.flags, found.rs_first_seq, found.inbound_packets) == (Flags.IN_FIRST_TABLE, None, 2)


def test_a_service_that_opts_out_stays_with_python() -> None:
    scene = plan()
    world = established(replace(scene, services=(replace(scene.services[0], lane=False),)))
    assert not world.maps.table
    assert not only(world).needs_slow_path or only(world).opening
    # With a reload it comes in, and what is opened from then on.
    world.shard.change_services(scene.services)
    world.put(tcp(client(7), VIP, "S", seq=C0))
    assert len(world.maps.table) == 2


def is_outside(world: World) -> bool:
    """Whether the kernel is told that the shard has sessions for which the lane has no room."""
    return bool(world.maps.outside[0])


@pytest.mark.parametrize("maps", [FakeMaps(256), FakeMaps(room=2)], ids=["entries", "flows"])
def test_without_a_free_entry_or_flow_a_session_stays_with_python(maps: FakeMaps) -> None:
    """One entry a slot, and ports of one slot only; or a table that is full."""
    world = lane_world(None, maps, fullnat_lport_min=5000, fullnat_lport_max=5000)
    for number in range(2):
        world.put(tcp(client(number), VIP, "S", seq=C0))
    assert world.counter("lane_full") == 1
    assert len(world.maps.table) == 2
    assert is_outside(world), "so the kernel judges none of the packets for which it has no session"
    for number in range(2):
        assert world.complete(client(number)) is verdicts.TO_REAL_SERVER
    world.reconcile()
    check(world)
    world.walk_all(CUT)
    assert not is_outside(world)


@pytest.fixture
def gathering() -> World:
    """One whose flows come and go when they are published."""
    world = lane_world()
    world.shard.gather_flows()
    return world


def test_flows_of_several_sessions_come_and_go_at_once(gathering: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world, counts = gathering, list[int]()
    insert, remove = Mock(wraps=world.maps.insert), Mock(wraps=world.maps.remove)
    monkeypatch.setattr(world.maps, "insert", insert)
    monkeypatch.setattr(world.maps, "remove", remove)
    for number in range(3):
        world.put(tcp(client(number), VIP, "S", seq=C0))
    counts.append(len(world.maps.table))
    world.shard.publish_flows()
    counts.append(len(world.maps.table))
    check(world)
    world.walk_all(CUT)
    counts.append(len(world.maps.table))
    world.shard.publish_flows()
    counts.append(len(world.maps.table))
    check(world)
    world.shard.publish_flows()
    assert counts == [0, 6, 6, 0]
    assert (insert.call_count, remove.call_count) == (1, 1)


def test_until_its_flows_have_come_python_has_the_packets_of_a_session(gathering: World) -> None:
    world = gathering
    world.client.connects(C0, R0)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"GET")
    assert (world.carried, world.state()) == (0, "ESTABLISHED")
    world.shard.publish_flows()
    check(world)
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 4, data=b"answer")
    assert world.carried == 1


def test_a_session_that_ends_before_its_flows_have_come_leaves_none(gathering: World) -> None:
    world = gathering
    world.put(tcp(CLIENT, VIP, "S", seq=C0))
    world.walk_all(CUT)
    world.shard.publish_flows()
    assert not world.maps.table
    check(world)
    world.assert_empty()


def test_a_flow_that_goes_and_comes_again_is_that_of_the_new_session(gathering: World) -> None:
    world = gathering
    for _ in range(2):
        world.put(tcp(CLIENT, VIP, "S", seq=C0))
        world.shard.publish_flows()
        world.walk_all(CUT)
        world.put(tcp(CLIENT, VIP, "S", seq=C0 + 99))
        world.shard.publish_flows()
        check(world)
        world.walk_all(CUT)
    world.shard.publish_flows()
    assert not world.maps.table


def test_those_for_which_there_is_no_room_stay_with_python_when_some_come_at_once() -> None:
    world = lane_world(None, FakeMaps(room=4))
    world.shard.gather_flows()
    for number in range(3):
        world.put(tcp(client(number), VIP, "S", seq=C0))
    world.shard.publish_flows()
    world.shard.publish_flows()
    assert (world.counter("lane_full"), len(world.maps.table)) == (1, 4)
    assert is_outside(world)
    check(world)
    assert sorted(session.entry is None for session in world.sessions()) == [False, False, True]
    for number in range(3):
        assert world.complete(client(number)) is verdicts.TO_REAL_SERVER


def test_a_session_that_ends_takes_its_flows_and_its_entry_along() -> None:
    world = established()
    entry = only(world).entry or 0
    world.sleep(1000)
    assert not world.maps.table
    assert world.maps.version(entry) == 0
    check(world)
    world.assert_empty()


@pytest.mark.parametrize(("maps", "stays"), [(FakeMaps(256), False), (FakeMaps(), True)], ids=["short", "enough"])
def test_a_connection_that_is_over_leaves_the_lane_when_entries_are_short(maps: FakeMaps, stays: bool) -> None:
    world = lane_world(None, maps)
    world.client.connects(C0, R0)
    world.reconcile()
    assert world.maps.table
    world.rs.sends("FA", seq=R0 + 1, ack=C0 + 1)
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 2)
    world.rs.sends("A", seq=R0 + 2, ack=C0 + 2)
    world.reconcile()
    assert bool(world.maps.table) is stays
    assert (only(world).entry is not None) is stays
    assert is_outside(world) is not stays
    check(world)
    carried = world.carried
    assert world.rs.sends("A", seq=R0 + 2, ack=C0 + 2) is verdicts.TO_CLIENT
    assert (world.carried > carried) is stays
    world.sleep(200)
    world.assert_empty()
    assert not is_outside(world)


def test_an_entry_rests_a_while_before_another_session_has_it() -> None:
    world = lane_world(None, FakeMaps(256), fullnat_lport_min=5000, fullnat_lport_max=5000)
    world.put(tcp(CLIENT, VIP, "S", seq=C0))
    world.walk_all(CUT)
    world.put(tcp(client(1), VIP, "S", seq=C0))
    assert world.counter("lane_full") == 1
    world.walk_all(CUT)
    world.sleep(2.1)
    world.put(tcp(client(2), VIP, "S", seq=C0))
    assert len(world.maps.table) == 2


# Who has it.


def test_a_packet_that_comes_up_is_judged_with_all_that_the_kernel_knows() -> None:
    """A RST is obeyed only at the number that its receiver waits for: what the kernel has seen counts."""
    world = established()
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"GET")
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 4, data=b"answer")
    world.client.sends("R", seq=C0 + 1)
    assert world.state() == "ESTABLISHED"
    world.client.sends("R", seq=C0 + 4)
    assert world.state() == "CLOSE"
    found = record(world)
    assert (found.state, found.is_held) == (TcpState.CLOSE, False)
    check(world)


def test_a_challenged_session_stays_with_python_until_its_client_goes_on() -> None:
    world = established()
    assert world.client.sends("S", seq=C0 + 9000) is verdicts.CHALLENGED
    assert record(world).is_held
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1, data=b"x")
    assert (world.carried, record(world).is_held) == (0, True)
    world.client.sends("A", seq=C0 + 1, ack=R0 + 2)
    assert not record(world).is_held
    check(world)


def test_a_late_fin_stays_with_python_until_it_is_acknowledged() -> None:
    world = established()
    world.client.sends("FA", seq=C0 + 5, ack=R0 + 1)
    assert record(world).is_held
    world.client.sends("A", seq=C0 + 1, ack=R0 + 1, data=b"late")
    assert record(world).is_held
    world.rs.sends("A", seq=R0 + 1, ack=C0 + 6)
    found = record(world)
    assert (found.is_held, found.state) == (False, TcpState.CLOSE_WAIT)
    check(world)


def test_a_session_whose_real_server_has_an_old_socket_waits_with_python() -> None:
    world = lane_world()
    world.client.sends("S", seq=C0)
    world.rs.gets("S", seq=C0)
    assert world.rs.sends("A", seq=1, ack=C0 + 5_000) is verdicts.STALE_ANSWER
    assert record(world).is_held
    world.rs.sends("SA", seq=R0, ack=C0 + 1)
    assert not record(world).is_held
    check(world)


def test_a_session_that_starts_anew_has_its_new_numbers_in_the_lane() -> None:
    world = closed()
    before = record(world)
    assert world.client.sends("S", seq=C0 + 70_000) is verdicts.TO_REAL_SERVER
    after = record(world)
    assert (after.is_held, after.state, after.client_isn) == (False, TcpState.SYN_RECV, C0 + 70_000)
    assert after.flags == Flags.IS_OPENING | Flags.IN_FIRST_TABLE
    assert after.isn == only(world).isn != before.isn
    assert (after.client_next_seq, after.inbound_packets) == (C0 + 70_001, 1)
    check(world)


def test_a_proxied_session_that_starts_anew_leaves_the_lane_until_it_is_joined() -> None:
    world = lane_world(plan(synproxy="always"), synproxy_conn_reuse=1)
    cookie = opens(world)
    world.client.sends("R", seq=C0 + 19, ack=cookie + 1)
    assert world.state() == "CLOSE"
    world.rs.gets("R")
    proves(world, seq=C0 + 500_000)
    assert not world.maps.table
    assert isinstance(only(world).words[0], int)
    world.rs.sends("SA", seq=R0 + 9, ack=C0 + 500_001)
    assert record(world).client_isn == C0 + 500_000
    check(world)


def test_a_removed_real_servers_session_is_refused_and_stays_with_python() -> None:
    world = established()
    world.change(plan(weights=()))
    world.maps.records[(only(world).entry or 0) * 256 + 12] = 0
    world.carries = lambda: False
    assert world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x") is verdicts.REAL_SERVER_GONE
    assert record(world).is_held
    world.change(plan())
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x")
    assert not record(world).is_held


def test_a_removed_real_servers_datagrams_are_refused() -> None:
    world = lane_world(plan(with_udp=True))
    answer = asked(world)
    world.put(answer)
    world.put(udp(CLIENT, VIP, b"q"))
    world.change(plan(weights=(), with_udp=True))
    world.carries = lambda: False
    assert world.put(answer) is verdicts.TO_CLIENT
    assert world.put(udp(CLIENT, VIP, b"q")) is verdicts.REAL_SERVER_GONE


# Two CPUs at once.


def moved_late(world: World, state: TcpState) -> None:
    """Let a program on another CPU, which did not see that the session is held, move the state once Python has begun."""
    lane = world.inside.lane
    hold = lane.hold

    def hold_and_then_it_moves(session: Session) -> None:
        hold(session)
        cells = world.maps.records.cast("I")
        at = (session.entry or 0) * CELLS + STATE_CELL
        cells[at] = cells[at] & ~0xFF | state

    lane.hold = hold_and_then_it_moves  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("flags", "seq", "by_kernel", "expected"),
    [
        ("UA", C0 + 1, TcpState.FIN_WAIT, "FIN_WAIT"),
        ("FUA", C0 + 1, TcpState.FIN_WAIT, "LAST_ACK"),
        ("FUA", C0 + 1, TcpState.CLOSE, "CLOSE"),
        ("R", C0 + 1, TcpState.FIN_WAIT, "CLOSE"),
    ],
)
def test_what_another_cpu_moves_meanwhile_is_not_lost(flags: str, seq: int, by_kernel: TcpState, expected: str) -> None:
    world = established()
    world.carries = lambda: False
    moved_late(world, by_kernel)
    world.client.sends(flags, seq=seq, ack=R0 + 1)
    assert world.state() == expected
    found = record(world)
    assert (found.state, found.is_held) == (TcpState[expected], False)
    assert world.by_state() == {expected.lower(): 1}
    check(world)


def test_what_another_cpu_moves_is_of_the_old_connection_when_it_has_started_anew() -> None:
    world = closed()
    moved_late(world, TcpState.TIME_WAIT)
    world.client.sends("S", seq=C0 + 70_000)
    assert world.state() == "SYN_RECV"
    assert record(world).flags == Flags.IS_OPENING | Flags.IN_FIRST_TABLE
    check(world)


def test_a_move_that_the_kernel_made_behind_the_last_look_is_seen_at_the_next_packet() -> None:
    """A session that Python has for longer, and a program that was slow."""
    world = established()
    world.client.sends("S", seq=C0 + 9000)
    cells, at = world.maps.records.cast("I"), (only(world).entry or 0) * CELLS
    assert cells[at + HELD_CELL] == 1
    cells[at + STATE_CELL] = cells[at + STATE_CELL] & ~0xFF | TcpState.FIN_WAIT
    world.client.sends("A", seq=C0 + 1, ack=R0 + 1)
    assert world.state() == "FIN_WAIT"
    check(world)


# What is decided by what the kernel knows.


def test_a_session_whose_packets_the_kernel_carries_does_not_expire() -> None:
    world = established()
    for _ in range(3):
        world.sleep(800)
        world.client.sends("A", seq=C0 + 1, ack=R0 + 1)
    assert world.carried == 3
    (row,) = world.rows()
    assert row.expires_s == pytest.approx(900)
    world.sleep(901)
    world.assert_empty()
    assert world.counter("sessions_expired") == 1


def test_a_shorter_time_out_of_the_state_that_the_kernel_found_counts() -> None:
    world = closed()
    assert world.carried == 3
    world.sleep(11)
    world.assert_empty()


def test_both_ends_are_reset_at_the_numbers_that_the_kernel_saw() -> None:
    world = established(conn_expire_tcp_rst=1)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"GET")
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 4, data=b"answer")
    world.client.sends("A", seq=C0 + 4, ack=R0 + 7)
    world._on_the_wire.clear()
    world.walk_all(CUT)
    world.rs.gets("R", seq=C0 + 4)
    world.client.gets("R", seq=R0 + 7)
    world.assert_quiet()


def test_a_session_that_closed_in_the_kernel_is_not_reset_when_it_is_cut() -> None:
    world = closed()
    world._on_the_wire.clear()
    world.walk_all(CUT)
    world.assert_quiet()
    world.assert_empty()


def test_the_end_of_a_session_says_what_the_kernel_knew_of_it() -> None:
    """Without a look before: whoever ends it takes over the state, the numbers and the opening."""
    world = lane_world()
    world.client.sends("S", seq=C0)
    world.rs.gets("S")
    world.rs.sends("SA", seq=R0, ack=C0 + 1)
    world.client.gets("SA")
    session = only(world)
    assert session.state == TcpState.SYN_RECV
    world.inside.end(session, EndReason.DROPPED_EARLY)
    world._collect_segments()
    world.rs.gets("R")
    world.client.gets("R", seq=R0 + 1)
    world.assert_empty()


def test_the_end_of_a_session_that_closed_in_the_kernel_is_told_to_nobody() -> None:
    world = closed()
    world._on_the_wire.clear()
    world.inside.end(only(world), EndReason.CUT)
    world._collect_segments()
    world.assert_quiet()
    world.assert_empty()


def test_a_session_that_has_left_has_words_of_its_own() -> None:
    """Those of its entry are soon another one's."""
    world = established()
    session = only(world)
    words = session.words.tolist()
    world.inside.lane.hold(session)
    world.inside.lane.leave(session)
    world.maps.records[:] = bytes(len(world.maps.records))
    assert session.words.tolist() == words


def test_the_last_number_of_a_port_is_the_one_that_the_kernel_saw() -> None:
    world = established()
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x" * 1000)
    world.rs.sends("A", seq=R0 + 1, ack=C0 + 1001)
    session = only(world)
    last = add(session.isn, 1001)
    port, local, rs = session.local_port, session.local_address, session.real_server.endpoint
    world.walk_all(CUT)
    again = world.inside.local_ports("tcp").acquire_port(local, rs, port)
    assert again is not None
    assert again.last_seq == last


def test_listings_filters_and_counts_see_the_state_in_the_kernel() -> None:
    world = established()
    world.reconcile()
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 1)
    assert only(world).state == TcpState.ESTABLISHED
    assert world.rows(state="ESTABLISHED") == []
    assert [row.state for row in world.rows(state="CLOSE_WAIT")] == ["CLOSE_WAIT"]
    assert world.by_state() == {"close_wait": 1}


def half_open_flood(world: World, count: int) -> None:
    for number in range(count):
        world.put(tcp(client(number), VIP, "S", seq=C0))
    for session in world.sessions():
        here, there = source_of(session.server_key), destination_of(session.server_key)
        world.put(tcp(here, there, "SA", seq=R0, ack=add(session.isn, 1)))
        world.put(tcp(source_of(session.client_key), VIP, "A", seq=C0 + 1, ack=R0 + 1))


def test_a_backlog_is_full_only_of_sessions_that_are_half_open_in_the_kernel_as_well() -> None:
    world = lane_world(tcp_max_syn_backlog=16)
    half_open_flood(world, 16)
    assert len(world.inside.service("tcp", VIP).half_open) == 16  # type: ignore[union-attr]
    assert world.put(tcp(client(50), VIP, "S", seq=C0)) is verdicts.TO_REAL_SERVER
    assert world.counter("backlog_dropped") == 0
    assert world.by_state() == {"established": 16, "syn_recv": 1}


def test_a_service_in_auto_engages_only_when_the_kernel_knows_no_better() -> None:
    world = lane_world(plan(synproxy="auto"), tcp_max_syn_backlog=16)
    half_open_flood(world, 16)
    assert world.put(tcp(client(50), VIP, "S", seq=C0)) is verdicts.TO_REAL_SERVER
    assert world.counter("syncookies_engaged") == 0


def test_nobody_who_is_established_in_the_kernel_is_dropped_for_room() -> None:
    world = lane_world(conn_max=4, tcp_max_syn_backlog=16)
    half_open_flood(world, 3)
    world.put(tcp(client(10), VIP, "S", seq=C0))
    world.now += 1
    assert world.put(tcp(client(11), VIP, "S", seq=C0)) is verdicts.TO_REAL_SERVER
    world.reconcile()
    assert world.by_state() == {"established": 3, "syn_recv": 1}
    assert world.counter("half_open_dropped") == 1
    check(world)


def test_a_port_in_time_wait_in_the_kernel_is_taken_for_a_new_session() -> None:
    scene = plan(local_addresses=("192.0.2.10",))
    world = lane_world(scene, fullnat_lport_min=5000, fullnat_lport_max=5000)
    world.client.connects(C0, R0)
    world.rs.sends("FA", seq=R0 + 1, ack=C0 + 1)
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 2)
    world.rs.sends("A", seq=R0 + 2, ack=C0 + 2)
    assert only(world).state != TcpState.TIME_WAIT
    world.now += 1
    assert world.put(tcp(client(5), VIP, "S", seq=C0)) is verdicts.TO_REAL_SERVER
    assert world.counter("time_wait_ports_taken") == 1


def test_there_are_no_more_in_time_wait_than_there_may_be() -> None:
    world = lane_world(tcp_max_tw_buckets=1)
    for number in range(3):
        world.put(tcp(client(number), VIP, "S", seq=C0))
    for session in world.sessions():
        here, there, isn = source_of(session.server_key), destination_of(session.server_key), session.isn
        world.put(tcp(here, there, "SA", seq=R0, ack=add(isn, 1)))
        world.put(tcp(source_of(session.client_key), VIP, "A", seq=C0 + 1, ack=R0 + 1))
        world.put(tcp(here, there, "FA", seq=R0 + 1, ack=add(isn, 1)))
        world.put(tcp(source_of(session.client_key), VIP, "FA", seq=C0 + 1, ack=R0 + 2))
        world.put(tcp(here, there, "A", seq=R0 + 2, ack=add(isn, 2)))
    world.reconcile()
    assert world.by_state() == {"time_wait": 1}
    assert world.counter("time_wait_overflows") == 2
    check(world)


def test_no_more_sessions_are_looked_at_in_a_turn_than_it_says_and_none_is_left_out() -> None:
    world = lane_world()
    half_open_flood(world, 10)
    looks = 1
    while world.shard.reconcile(3, world.now):
        looks += 1
    assert looks == 4
    assert world.by_state() == {"established": 10}
    assert not any(world.maps.changed)


def test_sessions_whose_state_moves_all_the_time_hold_up_no_others() -> None:
    world = lane_world()
    half_open_flood(world, 6)
    entries = sorted(session.entry or 0 for session in world.sessions())
    seen = set[int]()
    for _ in range(3):
        world.maps.changed[entries[0]] = world.maps.changed[entries[1]] = 1
        world.shard.reconcile(2, world.now)
        seen |= {entry for entry in entries if not world.maps.changed[entry]}
    assert seen == set(entries)


def test_all_entries_are_looked_at_for_room_no_more_often_than_it_says() -> None:
    world = lane_world()
    half_open_flood(world, 2)
    lane = world.inside.lane
    lane.look_for_room(world.now)
    assert not any(world.maps.changed)
    world.maps.changed[only_entry(world)] = 1
    lane.look_for_room(world.now + LEAST_INTERVAL_S / 2)
    assert world.maps.changed[only_entry(world)] == 1
    lane.look_for_room(world.now + 2 * LEAST_INTERVAL_S)
    assert world.maps.changed[only_entry(world)] == 0


def only_entry(world: World) -> int:
    return world.sessions()[0].entry or 0


def test_a_change_of_an_entry_without_a_session_changes_nothing() -> None:
    world = established()
    entry = only(world).entry or 0
    world.walk_all(CUT)
    world.maps.changed[entry] = 1
    assert not world.shard.reconcile(5, world.now)
    assert world.maps.changed[entry] == 0
