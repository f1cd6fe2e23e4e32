"""Clients who come again while their endpoint rests, in the real program: they get a session, and it goes on resting."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from appliance.ipc.admission_layout import LINE_PLACES, LINES_OF_POOL, PLACE_LET_GO, PLACE_OUT, PLACE_VOID
from appliance.ipc.session_record import decode
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import TcpState
from appliance.model.verdicts import TO_REAL_SERVER
from appliance.sessions.short_lived import HANDSHAKE_MS
from appliance.shard.shard import Shard
from appliance.state.lane_entry import is_session
from appliance.wire.flow import pack_endpoint
from appliance.wire.segment import Segment
from appliance.wire.seq import add
from tests.kernel.gateway import Gateway, close, connect_and_close, later, ready_again, rest, rest_of_one_connection
from tests.kernel.gateway import clear_again as clear_again
from tests.kernel.lane import UP, Lane
from tests.support.addresses import C0, CLIENT, CLIENT_ADDRESS, R0, VIP
from tests.support.endpoints import check_endpoints
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN

SYN = tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN)
AGAIN = tcp(CLIENT, VIP, "S", seq=C0 + 77, options=LINUX_SYN)
OTHER = pack_endpoint(CLIENT_ADDRESS + 77, 54321)
TURNS = min(40, int(os.environ.get("LANE_LIVES", "200")) // 5)
"""Fewer where the machine is slow."""


def damaged(raw: bytes) -> bytes:
    return raw[:-1] + bytes((raw[-1] ^ 0x55,))


def place_of(gateway: Gateway, entry: int) -> int:
    return int(gateway.maps.homes.cast("I")[2 * entry + 1])


def put_place(gateway: Gateway, entry: int, place: int) -> None:
    gateway.maps.homes.cast("I")[2 * entry + 1] = place


def has_client(gateway: Gateway, entry: int) -> bool:
    return is_session(gateway.maps.records.cast("I"), entry)


def test_a_client_whose_endpoint_rests_gets_a_session_as_others_do(lane: Lane) -> None:
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    judged = gateway.put(AGAIN)
    assert judged.verdict == UP
    assert judged.counted == {"carried": 1, "opened": 1, "option_added": 1, "client_returned": 1}
    assert place_of(gateway, entry) < LINES_OF_POOL * LINE_PLACES, "it rests where it was"
    assert not has_client(gateway, entry)
    gateway.shard.reconcile(100, gateway.world.now)
    check_endpoints(gateway.world.inside)
    gateway.world.inside.prepared.take_in_all()
    session = gateway.session()
    assert (session.client_isn, session.entry) != (C0, entry)
    assert session.client_isn == C0 + 77
    check_endpoints(gateway.world.inside)


def test_so_does_one_whose_last_session_was_in_the_tables(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare(20)
    assert all(connect_and_close(lane, pack_endpoint(CLIENT_ADDRESS, 2000 + number)) for number in range(4))
    later(gateway, HANDSHAKE_MS / 1000)
    syn = tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN)
    assert gateway.shard.handle(syn, gateway.world.now) is TO_REAL_SERVER
    entry = gateway.session().entry
    assert entry is not None
    close(lane, CLIENT, Segment.parse(gateway.shard.output.rewritten))
    later(gateway, 0)
    later(gateway, HANDSHAKE_MS / 1000)
    assert not gateway.world.sessions()
    assert place_of(gateway, entry) < LINES_OF_POOL * LINE_PLACES
    judged = gateway.put(AGAIN)
    assert (judged.verdict, judged.counted.get("client_returned")) == (UP, 1)
    assert not has_client(gateway, entry)
    later(gateway, 0)


def test_a_late_copy_of_its_syn_goes_up_and_opens_nothing(lane: Lane) -> None:
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    judged = gateway.put(SYN)
    assert (judged.verdict, judged.raw, set(judged.counted)) == (UP, SYN, {"up_held"})
    assert has_client(gateway, entry)
    assert gateway.shard.handle(SYN, gateway.world.now) is TO_REAL_SERVER
    (session,) = gateway.world.sessions()
    assert (session.entry, session.state) == (entry, TcpState.TIME_WAIT)
    check_endpoints(gateway.world.inside)


def test_it_is_listed_once_with_its_new_session(lane: Lane) -> None:
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    assert [row.state for row in gateway.world.rows()] == ["TIME_WAIT"]
    assert "opened" in gateway.put(AGAIN).counted
    assert [row.state for row in gateway.world.rows()] == ["SYN_RECV"]
    assert entry in gateway.world.inside.prepared.short._resting.tickets


def test_its_endpoint_goes_to_another_client_in_its_turn(lane: Lane) -> None:
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    assert "client_returned" in gateway.put(AGAIN).counted
    gateway.world.inside.prepared.take_in_all()
    ready_again(gateway, entry)
    assert "endpoint_reused" in gateway.put(tcp(OTHER, VIP, "S", seq=1, options=LINUX_SYN)).counted
    assert decode(lane.bytes_of(entry)).client.packed == OTHER
    gateway.world.inside.prepared.take_in_all()
    assert {session.client_key[:4] + session.client_key[8:10] for session in gateway.world.sessions()} == {CLIENT, OTHER}
    assert set(gateway.put(AGAIN).counted) == {"up_flags"}, "the flow of the first one is there"
    check_endpoints(gateway.world.inside)


def test_it_may_get_its_own_endpoint_again(lane: Lane) -> None:
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    ready_again(gateway, entry)
    last = decode(lane.bytes_of(entry)).rs_acked
    assert {"client_returned", "endpoint_reused"} <= gateway.put(AGAIN).counted.keys()
    record = decode(lane.bytes_of(entry))
    assert (record.client.packed, record.client_isn) == (CLIENT, C0 + 77)
    assert 0 < add(record.isn, -last) < 1 << 28
    gateway.world.inside.prepared.take_in_all()
    assert len(gateway.world.sessions()) == 1
    check_endpoints(gateway.world.inside)


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (damaged(AGAIN), "up_checksum"),
        (tcp(CLIENT, VIP, "S", seq=C0 + 77, options=LINUX_SYN, data=b"data"), "up_syn"),
        (tcp(CLIENT, VIP, "A", seq=C0 + 2, ack=R0 + 2), "up_held"),
        (tcp(CLIENT, VIP, "R", seq=C0 + 2), "up_held"),
        (tcp(CLIENT, VIP, "SA", seq=C0 + 77, ack=1, options=LINUX_SYN), "up_held"),
    ],
)
def test_what_is_no_usual_syn_leaves_all_as_it_was(lane: Lane, packet: bytes, why: str) -> None:
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    before, place = lane.bytes_of(entry), place_of(gateway, entry)
    assert set(gateway.put(packet).counted) == {why}
    assert (lane.bytes_of(entry), place_of(gateway, entry)) == (before, place)
    assert has_client(gateway, entry)
    check_endpoints(gateway.world.inside)


def test_a_packet_of_its_real_server_does_not_open_anything(lane: Lane) -> None:
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    record = decode(lane.bytes_of(entry))
    syn = tcp(record.real_server.packed, record.local.packed, "S", seq=1, options=LINUX_SYN)
    assert set(gateway.put(syn, 1).counted) == {"up_held"}
    assert has_client(gateway, entry)


def test_where_nothing_may_be_opened_it_goes_up_and_the_shard_decides(lane: Lane) -> None:
    """Its ring is closed: then nobody but the shard touches its endpoint."""
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    gateway.world.inside.prepared.take_back()
    assert set(gateway.put(AGAIN).counted) == {"up_empty"}
    assert has_client(gateway, entry)
    assert gateway.shard.handle(AGAIN, gateway.world.now) is TO_REAL_SERVER
    assert gateway.session().client_isn == C0 + 77
    check_endpoints(gateway.world.inside)


def test_without_prepared_admissions_for_its_service_it_goes_up(lane: Lane) -> None:
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    lane.set_admissions(VIP, None)
    assert set(gateway.put(AGAIN).counted) == {"up_held"}
    assert has_client(gateway, entry)


def test_where_nothing_is_ready_its_endpoint_is_let_go_and_the_shard_opens_the_session(lane: Lane) -> None:
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    ready_again(gateway, entry)
    pool = gateway.world.inside.prepared.short._resting.pool_of(gateway.world.inside.prepared.short._resting.tickets[entry])
    pool.ring.put_schedule(())
    assert gateway.put(AGAIN).counted == {"client_returned": 1, "up_empty": 1}
    assert not has_client(gateway, entry)
    assert gateway.shard.handle(AGAIN, gateway.world.now) is TO_REAL_SERVER
    gateway.shard.publish_flows()
    assert gateway.session().client_isn == C0 + 77
    check_endpoints(gateway.world.inside)


def test_a_late_packet_of_the_real_server_ends_what_rests_without_a_client(lane: Lane) -> None:
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    assert "client_returned" in gateway.put(AGAIN).counted
    record = decode(lane.bytes_of(entry).replace(lane.bytes_of(entry)[:2], b"\3\0", 1))
    late = tcp(record.real_server.packed, record.local.packed, "FA", seq=R0 + 1, ack=record.rs_acked)
    assert set(gateway.put(late, 1).counted) == {"up_no_session"}
    gateway.shard.handle(late, gateway.world.now)
    assert entry not in gateway.world.inside.prepared.short._resting.tickets
    gateway.world.inside.prepared.take_in_all()
    assert gateway.session().client_isn == C0 + 77, "that of its client goes on"
    check_endpoints(gateway.world.inside)


def test_the_next_worker_begins_without_what_rests_without_a_client(lane: Lane) -> None:
    gateway = Gateway(lane)
    rest_of_one_connection(gateway)
    assert "client_returned" in gateway.put(AGAIN).counted
    world = gateway.world
    world.shard = Shard(world.plan, world.shared, world.now, gateway.maps)
    assert world.shard.adopt(time.monotonic())[:3] == (1, 0, 0)
    assert [session.client_isn for session in world.sessions()] == [C0 + 77]
    check_endpoints(world.inside)


def test_an_endpoint_whose_client_is_just_let_go_is_left_alone_and_void_in_the_end(lane: Lane) -> None:
    """Each half of two programs that meet at an endpoint, by itself."""
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    ready_again(gateway, entry)
    put_place(gateway, entry, PLACE_LET_GO)
    assert set(gateway.put(AGAIN).counted) == {"up_held"}, "somebody else is at it"
    assert set(gateway.put(tcp(OTHER, VIP, "S", seq=1, options=LINUX_SYN)).counted) == {"up_race"}
    assert place_of(gateway, entry) == PLACE_OUT
    gateway.world.inside.prepared.short.read()
    assert entry in gateway.world.inside.prepared.short._resting.tickets, "what comes of it is known in a moment"
    put_place(gateway, entry, PLACE_VOID)
    later(gateway, 1.0)
    assert entry not in gateway.world.inside.prepared.short._resting.tickets


def together(pool: ThreadPoolExecutor, *steps: Callable[[], object]) -> None:
    for done in [pool.submit(step) for step in steps]:
        done.result()


def test_two_cpus_let_each_client_go_once_and_lose_no_endpoint(lane: Lane) -> None:
    """The same clients come again and again, each SYN twice at once, while others take the endpoints that have rested."""
    gateway = Gateway(lane, fullnat_lport_min=5000, fullnat_lport_max=5099)
    world, inside = gateway.world, gateway.world.inside
    clients = [pack_endpoint(CLIENT_ADDRESS + n, 3000) for n in range(24)]
    returned, opened = lane.counts()["client_returned"], lane.counts()["opened"]
    with ThreadPoolExecutor(4) as pool:
        for turn in range(TURNS):
            gateway.prepare(20)
            others = [pack_endpoint(CLIENT_ADDRESS + 100 + n, 4000 + turn) for n in range(8)]
            list(pool.map(partial(connect_and_close, lane), clients))
            gateway.shard.reconcile(1000, world.now)
            later(gateway, HANDSHAKE_MS / 1000)
            rest(gateway)
            gateway.prepare(20)
            syns = [tcp(client, VIP, "S", seq=C0 + 1 + turn, options=LINUX_SYN) for client in (*clients, *clients, *others)]
            together(pool, *(partial(lane.put_only, syn) for syn in syns))
            gateway.shard.reconcile(1000, world.now)
            check_endpoints(inside)
            inside.prepared.take_in_all()
            check_endpoints(inside)
            keys = [session.client_key for session in world.sessions()]
            assert len(set(keys)) == len(keys)
            for session in world.sessions():
                inside.end(session, EndReason.EXPIRED)
            inside.lane.publish_flows()
            world.now = max(world.now, time.monotonic())
    # Some half of the endpoints that rest are taken by others before their own client comes; which, the CPUs' race decides.
    assert lane.counts()["client_returned"] - returned > 8 * TURNS
    assert lane.counts()["opened"] - opened > 25 * TURNS


def test_an_endpoint_of_another_ring_is_left_alone(lane: Lane) -> None:
    """Programs have entered the ring of the client's shard, and that is the one that its shard closes."""
    gateway = Gateway(lane)
    entry = rest_of_one_connection(gateway)
    halves = gateway.maps.homes.cast("H")
    halves[4 * entry + 1] += 1
    assert set(gateway.put(AGAIN).counted) == {"up_held"}
    assert has_client(gateway, entry)
    halves[4 * entry + 1] -= 1
    check_endpoints(gateway.world.inside)
