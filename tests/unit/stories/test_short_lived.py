"""Sessions that the kernel opens and that are over before their shard has to know them (`sessions.short_lived`)."""

from dataclasses import replace
from itertools import pairwise

import pytest

from appliance.ipc.admission_layout import REST_NS
from appliance.ipc.queries import TALLY, Query
from appliance.model import verdicts
from appliance.model.tcp_state import TcpState
from appliance.nat.isn import LEAST_STEP, STEP_RANGE
from appliance.policy.steering import SLOT_MASK
from appliance.sessions.short_lived import HANDSHAKE_MS, YOUNG_MS
from appliance.shard.shard import Shard
from appliance.state.lane_entry import each, flows_in
from appliance.state.progress import RS_ACKED
from appliance.wire.flow import pack_endpoint
from appliance.wire.seq import add
from tests.support.addresses import CLIENT_ADDRESS, R0, VIP
from tests.support.endpoints import check_endpoints, last_numbers
from tests.support.segments import tcp
from tests.support.short_lived_scene import BUSY, SENT_BYTES, Scene, packet_of, port_of, syn_of
from tests.support.tcp_options import LINUX_SYN
from tests.support.world import plan

REST_S = REST_NS / 1e9


def test_a_session_that_is_over_soon_never_comes_into_the_tables() -> None:
    scene = Scene()
    scene.is_over(*range(10))
    scene.look()
    assert (scene.short.young, scene.conns()) == (10, 10)
    assert scene.world.by_state() == {"established": 10}
    scene.look(HANDSHAKE_MS / 1000)
    assert (scene.short.young, scene.short.resting, len(scene.inside)) == (0, 10, 0)
    assert scene.world.by_state() == {"time_wait": 10}
    assert scene.conns() == 10
    assert sum(scene.world.destination(slot)["inactive_conns"] for slot in (0, 1)) == 10
    assert scene.world.shared.session_counts[0] == 10
    scene.world.shard.publish_counts()
    assert list(scene.world.shared.short_lived) == [0, 10, 0]
    assert scene.world.counter("sessions_short") == 10


def test_its_endpoint_goes_to_a_later_session_with_a_number_beyond_its_last_one() -> None:
    scene = Scene()
    before = list(range(scene.kernel.ready))
    scene.is_over(*before)
    scene.take_over_and_look()
    ends = dict(last_numbers(scene.inside))
    assert len(ends) == len(before)
    ports = scene.inside.local_ports("tcp")
    in_use = sum(pool.in_use for _, _, pool in ports)
    scene.look(REST_S)
    renewed = 0
    for number in range(1000, 1000 + 3 * len(before)):
        if not scene.kernel.ready:
            scene.look()
        scene.opens(number)
    scene.inside.prepared.take_in_all()
    for session in scene.world.sessions():
        last = ends.get(session.leaving_key(0))
        if last is not None:
            renewed += 1
            assert LEAST_STEP <= add(session.isn, -last) < LEAST_STEP + STEP_RANGE
            assert session.words[RS_ACKED] == session.isn
    assert renewed == len(before)
    assert sum(pool.in_use for _, _, pool in ports) <= in_use + 2 * len(before) + 2
    assert scene.world.counter("time_wait_ports_taken") == renewed
    check_endpoints(scene.inside)


def test_an_endpoint_rests_before_it_is_used_again() -> None:
    scene = Scene()
    count = scene.kernel.ready
    scene.is_over(*range(count))
    scene.take_over_and_look()
    resting = {key for key, _ in last_numbers(scene.inside)}
    scene.look(REST_S - HANDSHAKE_MS / 1000 - 0.01)
    for number in range(1000, 1000 + count):
        scene.opens(number)
    scene.inside.prepared.take_in_all()
    assert not resting & {session.leaving_key(0) for session in scene.world.sessions()}


def test_shares_are_exact_also_with_endpoints_that_have_rested() -> None:
    (service,) = plan(weights=(1, 3)).services
    scene = Scene(replace(plan(weights=(1, 3)), services=(replace(service, scheduler="wrr"),)))
    number = 0
    for _ in range(12):
        for _ in range(40):
            scene.is_over(number)
            number += 1
        scene.look(REST_S / 4)
        scene.look(HANDSHAKE_MS / 1000)
    assert scene.world.counter("time_wait_ports_taken") > 200
    scene.world.shard.publish_counts()
    assert [scene.world.destination(slot)["conns"] for slot in (0, 1)] == [number // 4, 3 * number // 4]


@pytest.mark.parametrize(
    ("state", "acknowledged"),
    [
        (TcpState.ESTABLISHED, True),
        (TcpState.FIN_WAIT, True),
        (TcpState.LAST_ACK, True),
        (TcpState.TIME_WAIT, False),
        (TcpState.CLOSE, False),
    ],
)
def test_one_that_is_not_over_comes_into_the_tables_in_the_end(state: TcpState, acknowledged: bool) -> None:
    scene = Scene()
    scene.moves(scene.opens(1), state, acknowledged=acknowledged)
    scene.take_over_and_look()
    assert not scene.world.sessions()
    scene.look(YOUNG_MS / 1000)
    (session,) = scene.world.sessions()
    assert session.state == state
    assert scene.short.young == scene.short.resting == 0
    assert scene.conns() == 1
    assert scene.world.by_state() == {state.name.lower(): 1}


def test_one_whose_handshake_takes_long_is_half_open_in_the_tables() -> None:
    scene = Scene()
    scene.opens(1)
    scene.look()
    scene.look((HANDSHAKE_MS - 2) / 1000)
    assert not scene.world.sessions()
    scene.look(0.002)
    assert len(scene.service.half_open) == 1
    assert scene.world.by_state() == {"syn_recv": 1}


@pytest.mark.parametrize("flags", ["S", "R", "A"])
def test_a_packet_that_comes_up_finds_its_young_session(flags: str) -> None:
    scene = Scene()
    for number in (1, 2, 3):
        scene.opens(number)
    scene.look()
    scene.world.put(packet_of(2, flags, seq=2 + (flags != "S"), ack=1))
    (session,) = scene.world.sessions()
    assert session.client_key[8:10] == port_of(2)
    assert (scene.short.young, scene.conns()) == (2, 3)
    check_endpoints(scene.inside)


def test_so_does_a_packet_of_the_real_server() -> None:
    scene = Scene()
    entry = scene.opens(1)
    record = scene.world.maps.record(entry)
    scene.look()
    scene.world.put(tcp(record.real_server.packed, record.local.packed, "RA", ack=add(record.isn, 1)))
    (session,) = scene.world.sessions()
    assert session.state == TcpState.CLOSE
    assert sum(scene.world.destination(slot)["refused_conns"] for slot in (0, 1)) == 1


def test_a_client_that_comes_again_gets_a_new_session_and_its_old_endpoint_is_free() -> None:
    scene = Scene()
    scene.is_over(1)
    scene.take_over_and_look()
    assert scene.short.resting == 1
    assert scene.world.put(packet_of(1, "S", seq=1 << 20, options=LINUX_SYN)) is verdicts.TO_REAL_SERVER
    assert scene.short.resting == 0
    (session,) = scene.world.sessions()
    assert session.state == TcpState.SYN_RECV
    assert scene.world.counter("sessions_replaced") == 1
    check_endpoints(scene.inside)


def test_a_late_copy_of_its_syn_opens_nothing() -> None:
    """A copy that waited in a queue while its connection came and went: a new session would be half-open for a minute."""
    scene = Scene()
    scene.is_over(1)
    scene.take_over_and_look()
    assert scene.world.put(syn_of(1)) is verdicts.TO_REAL_SERVER
    (session,) = scene.world.sessions()
    assert (session.state, scene.short.resting) == (TcpState.TIME_WAIT, 0)
    assert (scene.conns(), scene.world.counter("sessions_replaced")) == (1, 0)
    check_endpoints(scene.inside)


def test_a_late_packet_brings_its_session_into_the_tables_which_carries_it() -> None:
    scene = Scene()
    scene.is_over(1, 2)
    scene.take_over_and_look()
    assert scene.short.resting == 2
    record = scene.world.maps.record(scene.entry_of(1))
    assert record.is_held, "the kernel leaves its packets to the shard, so the entry can be used again"
    late = tcp(record.real_server.packed, record.local.packed, "FA", seq=R0, ack=add(record.isn, 1 + SENT_BYTES + 1))
    assert scene.world.put(late) is verdicts.TO_CLIENT
    (session,) = scene.world.sessions()
    assert (session.state, session.client_key[8:10]) == (TcpState.TIME_WAIT, port_of(1))
    assert not scene.world.maps.record(scene.entry_of(1)).is_held
    assert (scene.short.resting, scene.conns()) == (1, 2)
    assert scene.world.by_state() == {"time_wait": 2}
    assert scene.world.shared.session_counts[0] == 2
    check_endpoints(scene.inside)
    scene.look(REST_S)
    assert len(scene.world.sessions()) == 1, "its endpoint is no more among those that rest"


def test_a_rst_that_nobody_sent_moves_no_session_that_rests() -> None:
    scene = Scene()
    scene.is_over(1)
    scene.take_over_and_look()
    scene.world.put(packet_of(1, "R", seq=1 << 20))
    assert [session.state for session in scene.world.sessions()] == [TcpState.TIME_WAIT]
    check_endpoints(scene.inside)


def test_an_endpoint_is_used_again_in_its_place() -> None:
    """Entry, record and the flow of the real server stay; the client that has gone is forgotten with the next one."""
    scene = Scene(plan(weights=(1,)))
    count = scene.kernel.ready
    scene.is_over(*range(count))
    scene.take_over_and_look()
    before = {scene.entry_of(number) for number in range(count)}
    flows = {flow for flow, value in scene.world.maps.table.items() if value & 1}
    scene.look(REST_S)
    ready = scene.kernel.ready
    again = {scene.opens(1000 + number) for number in range(100)}
    assert scene.kernel.ready == ready, "no ticket is needed"
    assert again <= before
    assert {flow for flow, value in scene.world.maps.table.items() if value & 1} == flows
    scene.look()
    assert scene.short.young == 100
    assert scene.world.counter("time_wait_ports_taken") == 100


def test_those_that_the_kernel_has_opened_and_ended_by_itself_are_counted() -> None:
    scene = Scene(plan(weights=(1, 3)))
    scene.is_over(*range(40))
    scene.take_over_and_look()
    scene.look(REST_S)
    for number in range(100, 120):
        entry = scene.opens(number)
        scene.moves(entry, TcpState.TIME_WAIT)
        scene.kernel.is_over(entry)
        assert scene.world.maps.record(entry).is_held
    scene.look()
    assert (scene.short.young, scene.short.resting) == (0, 40)
    assert (scene.conns(), scene.world.counter("sessions_short")) == (60, 60)
    assert scene.world.by_state() == {"time_wait": 40}
    assert scene.world.shared.session_counts[0] == 40


@pytest.mark.parametrize("is_over_at_last", [False, True])
def test_a_shard_that_did_not_look_for_long_counts_all_that_happened(is_over_at_last: bool) -> None:
    """An endpoint was used, has rested, and was used again meanwhile."""
    scene = Scene(plan(weights=(1,)))
    scene.is_over(*range(4))
    scene.take_over_and_look()
    scene.look(REST_S)
    scene.inside.prepared.take_back()
    scene.inside.prepared.look(scene.world.now)
    for number in range(100, 112):
        entry = scene.opens(number)
        if number < 108 or is_over_at_last:
            scene.moves(entry, TcpState.TIME_WAIT)
            scene.kernel.is_over(entry)
        if number % 4 == 3:
            scene.world.now += REST_S
    scene.look()
    assert (scene.short.young, scene.short.resting) == ((0, 4) if is_over_at_last else (4, 0))
    assert scene.conns() == 16
    assert scene.world.counter("sessions_short") == (16 if is_over_at_last else 12)


@pytest.mark.parametrize("when", ["young", "resting", "used again"])
def test_a_client_that_comes_again_keeps_its_new_session(when: str) -> None:
    """What becomes of its old endpoint does not touch it."""
    scene = Scene(plan(weights=(1,)))
    scene.is_over(*range(30))
    scene.take_over_and_look()
    scene.look(REST_S)
    if when == "young":
        scene.opens(1000)
        number = 1000
    elif when == "resting":
        number = 1
    else:
        numbers = {scene.entry_of(number): number for number in range(30)}
        number = numbers[scene.opens(1000)]
    scene.world.put(syn_of(number))
    scene.look()
    (session,) = (each for each in scene.world.sessions() if each.client_key[8:10] == port_of(number))
    assert session.entry == scene.entry_of(number), "its flow is its own"
    for other in range(2000, 2040):
        scene.opens(other)
    scene.look()
    assert session.entry == scene.entry_of(number)


def test_one_that_came_to_nothing_is_free() -> None:
    scene = Scene(plan(weights=(1,)))
    scene.is_over(*range(30))
    scene.take_over_and_look()
    scene.look(REST_S)
    scene.kernel.is_void = True
    for number in range(1000, 1005):
        assert not scene.kernel.put(syn_of(number))
    scene.look()
    assert (scene.short.young, scene.short.resting, scene.conns()) == (0, 25, 30)


def test_the_kernel_takes_no_more_turns_than_it_was_allowed() -> None:
    scene = Scene(plan(weights=(1,)), tcp_max_syn_backlog=60)
    number = 0
    for _ in range(3):
        scene.is_over(*range(number, number + scene.kernel.ready))
        number += 100
        scene.take_over_and_look()
    scene.look(REST_S)
    opened = 0
    while scene.kernel.put(syn_of(1000 + opened)):
        opened += 1
    assert 20 < opened <= 60
    scene.look()
    assert not scene.kernel.put(syn_of(3000)), "all that were opened are half-open"


def test_no_turn_is_taken_while_a_shard_does_not_look() -> None:
    """What it has allowed is used up, and then SYNs come up."""
    scene = Scene(plan(weights=(1,)))
    scene.is_over(*range(scene.kernel.ready))
    scene.take_over_and_look()
    scene.look(REST_S)
    opened = 0
    while scene.kernel.put(syn_of(1000 + opened)):
        opened += 1
    assert opened < 2 * BUSY * 5


def test_the_last_number_of_an_endpoint_that_is_given_back_is_remembered() -> None:
    low = 5000
    scene = Scene(plan(weights=(1,), local_addresses=("192.0.2.10",)), fullnat_lport_min=low, fullnat_lport_max=low)
    scene.is_over(1)
    scene.take_over_and_look()
    ((key, last),) = last_numbers(scene.inside)
    scene.world.shard.change_health(())
    assert scene.world.put(syn_of(2)) is verdicts.TO_REAL_SERVER
    (session,) = scene.world.sessions()
    assert session.leaving_key(0) == key
    assert LEAST_STEP <= add(session.isn, -last) < LEAST_STEP + STEP_RANGE


def test_a_query_takes_all_that_are_not_over_into_the_tables() -> None:
    scene = Scene()
    scene.is_over(1, 2)
    scene.moves(scene.opens(3), TcpState.ESTABLISHED)
    scene.opens(4)
    scene.look()
    assert sorted(row.state for row in scene.world.rows()) == ["ESTABLISHED", "SYN_RECV", "TIME_WAIT", "TIME_WAIT"]
    assert (len(scene.world.sessions()), scene.short.young, scene.short.resting) == (2, 0, 2)
    assert list(scene.world.walk(Query(TALLY, by="service")))
    check_endpoints(scene.inside)


@pytest.mark.parametrize("change", ["drained", "health", "tunables", "services"])
def test_no_endpoint_of_before_is_used_after_a_change(change: str) -> None:
    scene = Scene()
    count = scene.kernel.ready
    scene.is_over(*range(count - 1))
    scene.opens(count)
    scene.take_over_and_look()
    scene.look(REST_S)
    world = scene.world
    if change == "drained":
        world.shard.change_drained((0,))
    elif change == "health":
        world.shard.change_health((0,))
    elif change == "services":
        world.change(plan(weights=(1, 2)))
    else:
        world.shared.set_tunables({"fullnat_lport_min": 6000, "fullnat_lport_max": 6999})
        world.shard.on_tick(world.now, 10)
    assert len(world.sessions()) == 1
    before = {key for key, _ in last_numbers(scene.inside)}
    assert before
    for _ in range(20):
        scene.inside.prepared.miss(scene.service)
    scene.look()
    assert scene.short.resting == 0, "they are freed by and by"
    for number in range(2000, 2000 + scene.kernel.ready):
        scene.opens(number)
    scene.inside.prepared.take_in_all()
    opened = [session for session in world.sessions() if session.client_key[8:10] >= port_of(2000)]
    assert opened
    if change in ("drained", "health"):
        assert {session.real_server.slot for session in opened} == {1}
    if change == "tunables":
        assert all(6000 <= session.local_port <= 6999 for session in opened)
    check_endpoints(scene.inside)


def test_endpoints_that_rest_too_long_are_free() -> None:
    scene = Scene(tcp_timeout_time_wait=7000)
    scene.is_over(*range(10))
    scene.take_over_and_look()
    for _ in range(6):
        scene.look(1.0)
    assert scene.short.resting + scene.world.counter("time_wait_ports_taken") == 10
    scene.look(1.0)
    assert scene.short.resting == 0
    assert scene.world.shared.session_counts[0] == 0
    assert not scene.short._resting.pools, "and so are their pools"
    scene.world.shard.close()
    assert not any(pool.in_use for _, _, pool in scene.inside.local_ports("tcp"))


def test_a_real_server_whose_pool_was_dropped_gets_one_again() -> None:
    scene = Scene(tcp_timeout_time_wait=7000)
    for first in (0, 100):
        scene.is_over(*range(first, first + 10))
        scene.take_over_and_look()
        assert len(scene.short._resting.pools) == 2
        scene.look(1.0)
        entry = scene.opens(first + 50)
        scene.look()
        assert scene.world.counter("time_wait_ports_taken") == 1 + first // 100
        scene.moves(entry, TcpState.TIME_WAIT)
        scene.kernel.is_over(entry)
        scene.look(8.0)
        assert not scene.short._resting.pools
        for _ in range(100):
            scene.inside.prepared.miss(scene.service)
        scene.look()


def test_local_ports_that_rest_are_there_for_syns_that_come_up() -> None:
    low = 5000
    scene = Scene(plan(weights=(1,), local_addresses=("192.0.2.10",)), fullnat_lport_min=low, fullnat_lport_max=low + 19)
    scene.is_over(*range(20))
    scene.take_over_and_look()
    assert scene.short.resting == 20
    assert scene.world.put(syn_of(99)) is verdicts.TO_REAL_SERVER
    check_endpoints(scene.inside)


@pytest.mark.parametrize("is_leaving", [True, False])
def test_also_to_those_of_another_service_with_the_same_real_server(is_leaving: bool) -> None:
    one = plan(weights=(1,), local_addresses=("192.0.2.10",))
    (web,) = one.services
    (server,) = web.real_servers
    other = replace(web, name="zz", port=81, real_servers=(replace(server, slot=1),))
    scene = Scene(replace(one, services=(web, other), destinations=2), fullnat_lport_min=5000, fullnat_lport_max=5019)
    scene.is_over(*range(20))
    scene.take_over_and_look()
    if is_leaving:
        scene.world.shard.change_health(())
    syn = tcp(pack_endpoint(CLIENT_ADDRESS, 9), VIP[:4] + (81).to_bytes(2, "big"), "S", options=LINUX_SYN)
    assert scene.world.put(syn) is verdicts.TO_REAL_SERVER
    check_endpoints(scene.inside)


def test_no_more_rest_than_may_be_in_time_wait() -> None:
    scene = Scene(tcp_max_tw_buckets=8)
    scene.is_over(*range(20))
    scene.take_over_and_look()
    assert scene.short.resting <= 8
    scene.world.shard.publish_counts()
    assert scene.world.shared.time_wait_counts[0] <= 8


def test_a_flood_of_half_open_ones_is_known_before_the_backlog_is_full() -> None:
    scene = Scene(plan(synproxy="auto", synproxy_defer=0), tcp_max_syn_backlog=60)
    for number in range(60):
        scene.opens(number)
    scene.look()
    assert scene.short.fresh > 0
    scene.inside.by_state.now -= 0.1  # it is late by a tick at most
    assert scene.world.put(syn_of(99)) is verdicts.COOKIE_SENT
    assert len(scene.service.half_open) == 60


def test_those_behind_their_handshake_do_not_count_for_the_backlog() -> None:
    scene = Scene(plan(synproxy="auto", synproxy_defer=0), tcp_max_syn_backlog=60)
    for number in range(60):
        scene.moves(scene.opens(number), TcpState.ESTABLISHED)
    scene.look()
    assert scene.world.put(syn_of(99)) is verdicts.TO_REAL_SERVER


def test_the_order_of_endpoints_changes_each_time_around() -> None:
    scene = Scene(plan(weights=(1,)))
    orders, number = list[list[bytes]](), 0
    scene.inside.prepared.take_back()
    for ring in scene.inside.prepared._active:
        ring.rate = 10.0
    for _ in range(5):
        orders.append([])
        for _ in range(100):
            if not scene.kernel.ready:
                scene.look()
            entry = scene.opens(number)
            orders[-1].append(each(flows_in(scene.world.maps.records, entry))[1])
            scene.moves(entry, TcpState.TIME_WAIT)
            number += 1
        scene.take_over_and_look()
        scene.look(REST_S)
    again = [earlier.index(end) for earlier in orders[:4] for end in orders[4] if end in earlier]
    assert len(again) > 20
    assert sum(later == earlier + 1 for earlier, later in pairwise(again)) < len(again) / 2


def test_where_the_lane_has_few_entries_only_a_part_of_them_rests() -> None:
    scene = Scene(entries=2048)
    number = 0
    for _ in range(24):
        while scene.kernel.ready:
            scene.is_over(number)
            number += 1
        scene.take_over_and_look()
    assert number > 800
    assert 300 < scene.short.resting <= 2048 // 4


def test_when_the_log_is_switched_on_young_sessions_are_in_it() -> None:
    scene = Scene()
    scene.moves(scene.opens(1), TcpState.ESTABLISHED)
    scene.look()
    assert scene.short.young == 1
    scene.inside.ended.change(100, ())
    assert (scene.short.young, len(scene.world.sessions())) == (0, 1)
    scene.look()
    assert scene.kernel.put(syn_of(2))
    scene.look()
    assert (scene.short.young, len(scene.world.sessions())) == (0, 2)


def test_a_source_network_gets_no_more_than_its_share() -> None:
    scene = Scene(source_conn_max=300)
    number = 0
    while number < 290 and scene.kernel.ready:
        scene.opens(number)
        number += 1
    scene.look()
    young = scene.short.young
    assert young > 50
    for more in range(number, 400):
        scene.world.put(syn_of(more))
    scene.inside.prepared.take_in_all()
    assert len(scene.world.sessions()) == 300


@pytest.mark.parametrize("why", ["log", "reuse", "limit", "idle"])
def test_otherwise_each_session_is_taken_into_the_tables_at_once(why: str) -> None:
    scene_plan = plan(weights=(1, 1))
    if why == "log":
        scene_plan = replace(scene_plan, log_per_s=100, logged_services=("web",))
    scene = Scene(scene_plan)
    prepared = scene.inside.prepared
    if why == "log":
        assert scene.inside.ended.is_on
    elif why == "reuse":
        scene.inside.tunables.reuse = False
    elif why == "limit":
        (service,) = scene_plan.services
        scene.world.change(replace(scene_plan, services=(replace(service, max_conn=1000),)))
        assert not scene.kernel.ready
        return
    else:
        for ring in prepared._active:
            ring.rate = 1.0
    assert scene.kernel.put(syn_of(1))
    scene.look()
    assert len(scene.world.sessions()) == 1
    assert scene.short.young == 0


def test_the_next_worker_adopts_what_is_young_and_what_rests() -> None:
    scene = Scene()
    scene.is_over(1, 2)
    scene.take_over_and_look()
    scene.opens(3)
    scene.look()
    world = scene.world
    successor = Shard(world.plan, world.shared, world.now, world.maps)
    assert successor.adopt(world.now)[:3] == (3, 0, 0)
    assert sorted(session.state for bucket in successor._sessions.tcp.walk() for session in bucket) == sorted(
        (TcpState.SYN_RECV, TcpState.TIME_WAIT, TcpState.TIME_WAIT)
    )
    assert not any(successor._sessions.local_ports("udp"))


def test_where_an_entry_is_renewed_its_slot_is_that_of_its_port() -> None:
    scene = Scene()
    scene.is_over(*range(60))
    scene.take_over_and_look()
    scene.look(REST_S)
    for number in range(100, 160):
        if not scene.kernel.ready:
            scene.look()
        scene.opens(number)
    size = scene.world.maps.entries // 256
    for value in scene.world.maps.table.values():
        record = scene.world.maps.record(value >> 1)
        assert (value >> 1) // size == record.local.port & SLOT_MASK


def test_a_removed_service_is_settled_when_nothing_of_it_rests_and_its_counters_say_so() -> None:
    scene = Scene()
    scene.is_over(*range(300))
    scene.take_over_and_look()
    world = scene.world
    world.shard.change_services(())
    assert not world.shard.is_settled()
    world.shard.publish_counts()
    assert 0 < scene.short.resting < 300
    while scene.inside.changes.settle_some():
        pass
    world.shard.publish_counts()
    assert world.shard.is_settled()
    assert scene.short.resting == 0
    assert sum(world.destination(slot)["inactive_conns"] for slot in (0, 1)) == 0


def test_so_is_a_change_by_which_a_local_address_goes() -> None:
    scene = Scene(plan(weights=(1,), local_addresses=("192.0.2.10", "192.0.2.11")))
    scene.is_over(*range(20))
    scene.take_over_and_look()
    scene.world.change(plan(weights=(1,), local_addresses=("192.0.2.11",)))
    assert scene.world.shard.is_settled()
    assert {key[:4] for key, _ in last_numbers(scene.inside)} == {bytes((192, 0, 2, 11))}


def test_those_of_which_nothing_was_read_yet_count_for_the_backlog() -> None:
    scene = Scene(plan(synproxy="auto", synproxy_defer=0), tcp_max_syn_backlog=1000)
    scene.is_over(*range(50))
    scene.take_over_and_look()
    scene.look(REST_S)
    for number in range(1000, 1030):
        scene.opens(number)
    scene.world.now += 0.001
    scene.inside.by_state.now = scene.world.now
    scene.world.shard.reconcile(1000, scene.world.now)
    assert (scene.short.unread, scene.short.young) == (30, 0)
    assert scene.short.fresh == 30
    for more in range(2000, 3000):
        scene.world.put(syn_of(more))
    assert len(scene.service.half_open) == 1000
    assert sum(row.state == "SYN_RECV" for row in scene.world.rows()) == 1000
    check_endpoints(scene.inside)


def test_what_the_kernel_has_done_is_read_when_it_is_much() -> None:
    scene = Scene()
    scene.is_over(*range(50))
    scene.take_over_and_look()
    scene.look(REST_S)
    scene.opens(1000)
    scene.short.unread = 512
    scene.world.now += 0.001
    scene.world.shard.reconcile(1000, scene.world.now)
    assert scene.short.young == 1


def test_a_client_that_the_kernel_lets_come_again_has_its_new_session_alone() -> None:
    """Its endpoint goes on resting, without it: counted as before, listed no more, and free in the end."""
    scene = Scene()
    scene.is_over(1, 2)
    scene.take_over_and_look()
    old, other = scene.entry_of(1), scene.entry_of(2)
    scene.moves(scene.opens(1), TcpState.ESTABLISHED)
    scene.look()
    assert (scene.short.young, scene.short.resting) == (1, 2)
    assert scene.world.by_state() == {"established": 1, "time_wait": 2}
    assert sorted((row.state, row.client[-4:]) for row in scene.world.rows()) == [("ESTABLISHED", "1025"), ("TIME_WAIT", "1026")]
    (session,) = scene.world.sessions()
    assert session.entry not in (old, other)
    assert scene.world.put(packet_of(1, "A", seq=1 + SENT_BYTES + 1, ack=add(R0, 1))) is verdicts.TO_REAL_SERVER
    scene.look(scene.inside.tunables.timeouts_s[TcpState.TIME_WAIT] + 1)
    assert scene.short.resting == 0
    check_endpoints(scene.inside)


def test_a_packet_of_the_real_server_frees_what_rests_without_its_client() -> None:
    scene = Scene()
    scene.is_over(1)
    scene.take_over_and_look()
    record = scene.world.maps.record(scene.entry_of(1))
    scene.opens(1)
    scene.look()
    assert scene.short.resting == 1
    late = tcp(record.real_server.packed, record.local.packed, "FA", seq=R0, ack=record.rs_acked)
    assert scene.world.put(late) is not verdicts.TO_CLIENT
    assert scene.short.resting == 0
    assert scene.world.counter("sessions_replaced") == 1
    assert len(scene.world.rows()) == 1
    check_endpoints(scene.inside)


def test_a_client_whose_second_session_rests_as_well_is_listed_with_that_one() -> None:
    scene = Scene()
    scene.is_over(1)
    scene.take_over_and_look()
    old = scene.entry_of(1)
    scene.is_over(1)
    scene.take_over_and_look()
    resting = scene.short._resting.tickets
    resting[old] = resting.pop(old)  # whichever is found first
    (row,) = scene.world.rows()
    assert (row.state, len(resting)) == ("TIME_WAIT", 2)
