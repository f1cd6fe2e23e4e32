"""max_conn_per_client: whose sessions count, who is kept out, and that nobody can use it against a client."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.client_table import BUCKET_ENTRIES
from appliance.ipc.plan import Plan
from appliance.model import verdicts
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import TcpState
from appliance.model.verdict import Verdict
from appliance.shard.shard import Shard
from appliance.wire.flow import destination_of, source_of
from appliance.wire.seq import add
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.lane_maps import FakeMaps
from tests.support.segments import read_tcp, tcp
from tests.support.shard_invariants import check_clients, check_sessions, sessions_of
from tests.support.world import World, plan

NEIGHBOUR = CLIENT[:3] + bytes((CLIENT[3] ^ 1,))
ways = pytest.mark.parametrize("with_lane", [False, True], ids=["alone", "lane"])


def scene(most: int = 2, *, shard: int = 0, shards: int = 1, synproxy: str = "never", **settings: Any) -> Plan:
    made = plan(weights=(1, 1), synproxy=synproxy, shard=shard, shards=shards)
    return replace(made, services=(replace(made.services[0], max_conn_per_client=most, **settings),))


def client(number: int, address: bytes = CLIENT[:4]) -> bytes:
    return address + (20_000 + number).to_bytes(2, "big")


def asks(world: World, number: int, address: bytes = CLIENT[:4]) -> Verdict:
    return world.put(tcp(client(number, address), VIP, "S", seq=C0))


def establish(world: World, *numbers: int, address: bytes = CLIENT[:4]) -> None:
    for number in numbers:
        assert asks(world, number, address) is verdicts.TO_REAL_SERVER
        world.complete(client(number, address))
    world._on_the_wire.clear()
    world.reconcile()
    check_sessions(world, are_settled=True)


def ends(world: World, number: int, address: bytes = CLIENT[:4]) -> None:
    """The real server resets the session of this client."""
    session = next(each for each in sessions_of(world.inside) if source_of(each.client_key) == client(number, address))
    world.put(tcp(source_of(session.server_key), destination_of(session.server_key), "R", seq=R0 + 1))


def alive(world: World) -> set[int]:
    """The numbers of the established sessions."""
    clients = [source_of(each.client_key) for each in sessions_of(world.inside) if each.state == TcpState.ESTABLISHED]
    return {int.from_bytes(key[4:], "big") - 20_000 for key in clients}


def counted(world: World) -> list[int]:
    world.reconcile()
    return sorted(world.inside._services["tcp", VIP].client_counts._own.counts())


@ways
def test_a_client_has_as_many_sessions_as_it_may_and_others_have_theirs(with_lane: bool) -> None:
    world = World(scene(), FakeMaps() if with_lane else None)
    establish(world, 1, 2)
    assert asks(world, 3) is verdicts.CLIENT_FULL
    answer = world.take(CLIENT)
    assert (answer[9], answer[20], answer[21]) == (1, 3, 3), "ICMP port unreachable"
    assert (world.counter("client_full"), [column[0] + column[1] for column in world.shared.refusal_columns()]) == (1, [0, 0, 1])
    establish(world, 1, 2, address=NEIGHBOUR)
    assert asks(world, 3, NEIGHBOUR) is verdicts.CLIENT_FULL
    ends(world, 1)
    establish(world, 4)
    assert asks(world, 5) is verdicts.CLIENT_FULL
    assert counted(world) == [2, 2]


def test_with_a_mask_a_network_is_one_client() -> None:
    world = World(scene(client_mask=24))
    establish(world, 1)
    establish(world, 2, address=NEIGHBOUR)
    assert asks(world, 3) is verdicts.CLIENT_FULL
    assert asks(world, 3, NEIGHBOUR) is verdicts.CLIENT_FULL


@pytest.mark.parametrize("synproxy", ["never", "auto"])
@ways
def test_forged_syns_do_not_keep_the_client_out_whose_address_they_have(with_lane: bool, synproxy: str) -> None:
    world = World(scene(synproxy=synproxy), FakeMaps() if with_lane else None)
    for number in range(100, 140):
        assert asks(world, number) is verdicts.TO_REAL_SERVER
        world.put(tcp(client(number), VIP, "A", seq=C0 + 1, ack=77))  # the one who forges does not see what to acknowledge
        world.put(tcp(client(number), VIP, "FA", seq=C0 + 1, ack=77))
    world._on_the_wire.clear()
    assert counted(world) == []
    establish(world, 1, 2)
    assert counted(world) == [2]


def test_behind_synproxy_a_session_counts_when_its_real_server_has_answered() -> None:
    world = World(scene(1, synproxy="always"))
    cookies = []
    for number in (1, 2):
        world.put(tcp(client(number), VIP, "S", seq=C0))
        cookies.append(read_tcp(world.take(CLIENT)).seq)
    first = client(1), VIP, "PA"
    assert world.put(tcp(*first, seq=C0 + 1, ack=add(cookies[0], 1), data=b"x")) is verdicts.TO_REAL_SERVER
    assert counted(world) == [], "its real server has not answered"
    (raw,) = world._on_the_wire
    syn = read_tcp(raw)
    world.put(tcp(destination_of(raw[12:24]), syn.source, "SA", seq=R0, ack=add(syn.seq, 1)))
    world._on_the_wire.clear()
    assert counted(world) == [1]
    second = tcp(client(2), VIP, "PA", seq=C0 + 1, ack=add(cookies[1], 1), data=b"x")
    assert world.put(second) is verdicts.CLIENT_FULL
    assert read_tcp(world.take(CLIENT)).flags == "R"


@ways
def test_a_client_that_asks_for_all_at_once_keeps_no_more_than_it_may(with_lane: bool) -> None:
    """None of its SYNs is beyond the limit, because none of them is a connection yet."""
    world = World(scene(3), FakeMaps() if with_lane else None)
    for number in range(8):
        assert asks(world, number) is verdicts.TO_REAL_SERVER
    for number in range(8):
        world.complete(client(number))
    world._on_the_wire.clear()
    world.reconcile()
    assert len(alive(world)) == 3
    assert counted(world) == [3]
    assert world.counter("beyond_client_limit") == 5
    assert [column[0] + column[1] for column in world.shared.refusal_columns()] == [0, 0, 5]
    resets = [read_tcp(raw) for raw in world._on_the_wire]
    assert len(resets) == 10, "both ends are told"
    assert all("R" in reset.flags for reset in resets)
    check_sessions(world, are_settled=True)


def test_of_those_the_first_ones_stay_if_there_is_room_when_it_comes_to_that() -> None:
    world = World(scene(2))
    for number in range(4):
        asks(world, number)
    for number in range(4):
        world.complete(client(number))
    ends(world, 0)
    world.reconcile()
    assert alive(world) == {1, 2}


@ways
def test_what_is_over_does_not_count(with_lane: bool) -> None:
    world = World(scene(1), FakeMaps() if with_lane else None)
    for number in range(5):
        establish(world, number)
        ends(world, number)
    assert len(world.rows()) == 5
    assert counted(world) == []


def test_but_one_that_its_client_begins_anew_has_to_get_in_again() -> None:
    world = World(scene(1))
    establish(world, 1)
    ends(world, 1)
    establish(world, 2)
    assert world.put(tcp(client(1), VIP, "S", seq=C0 + 70_000)) is verdicts.CLIENT_FULL
    ends(world, 2)
    assert world.put(tcp(client(1), VIP, "S", seq=C0 + 70_000)) is verdicts.TO_REAL_SERVER


def test_beyond_it_a_service_is_silent_if_it_wants_to_be() -> None:
    world = World(scene(1, when_full="drop"))
    establish(world, 1)
    assert asks(world, 2) is verdicts.CLIENT_FULL
    world.assert_quiet()


@ways
def test_a_change_counts_all_sessions_anew_and_cuts_none(with_lane: bool) -> None:
    world = World(scene(0), FakeMaps() if with_lane else None)
    establish(world, *range(5))
    establish(world, *range(3), address=NEIGHBOUR)
    assert counted(world) == []
    for changed, numbers in (
        (scene(2), [3, 5]),
        (scene(2, client_mask=24), [8]),
        (scene(7, client_mask=24), [8]),
        (scene(7), [3, 5]),
        (scene(0), []),
        (scene(4), [3, 5]),
    ):
        world.change(changed)
        assert counted(world) == numbers
        check_sessions(world, are_settled=True)
    assert len(world.rows()) == 8
    assert asks(world, 9) is verdicts.CLIENT_FULL
    establish(world, 9, address=NEIGHBOUR)


def test_while_sessions_are_counted_anew_those_that_come_and_go_are_taken_off_what_they_were_counted_as() -> None:
    world = World(scene(9))
    establish(world, *range(6))
    world.inside.changes._settle_all = lambda: None  # type: ignore[method-assign]  # the first step has not come yet
    world.shard.change_services(scene(9, client_mask=24).services)
    establish_without_check(world, 6)
    ends(world, 1)
    ends(world, 6)
    assert counted(world) == [5]
    del world.inside.changes._settle_all
    world.inside.changes._settle_all()
    assert counted(world) == [5]
    check_sessions(world, are_settled=True)


def establish_without_check(world: World, number: int) -> None:
    asks(world, number)
    world.complete(client(number))
    world._on_the_wire.clear()


def test_a_client_for_whom_there_is_no_place_is_not_limited_and_that_is_counted() -> None:
    world = World(scene(1))
    table = world.inside._services["tcp", VIP].client_counts._own
    limit = world.inside._services["tcp", VIP].client_limit
    assert limit is not None
    mine = limit.client(CLIENT[:4])
    for number in range(1, 2 * BUCKET_ENTRIES + 1):  # others fill both its buckets
        assert table.add((mine & (1 << 26) - 1) | number << 26)
    for number in range(3):
        asks(world, number)
        world.complete(client(number))
    world.reconcile()
    assert len(alive(world)) == 3
    assert world.counter("clients_uncounted") == 3
    table.remove(mine & (1 << 26) - 1 | 1 << 26)
    ends(world, 0)
    assert table.counts() == [1] * (2 * BUCKET_ENTRIES - 1), "nothing is taken off the others"


def two_shards(most: int, **settings: Any) -> tuple[World, World]:
    scenes = [scene(most, shard=shard, shards=2, **settings) for shard in (0, 1)]
    first, second = World(scenes[0]), World(scenes[1])
    second.shared = first.shared
    second.shard = Shard(scenes[1], first.shared, second.now)
    return first, second


def test_shards_count_together() -> None:
    first, second = two_shards(3)
    establish(first, 1)
    establish(second, 11, 12)
    assert asks(first, 2) is asks(second, 13) is verdicts.CLIENT_FULL
    ends(second, 11)
    establish(first, 2)
    assert asks(second, 13) is verdicts.CLIENT_FULL


def test_the_last_place_goes_to_one_of_two_shards_when_both_have_opened_a_session() -> None:
    first, second = two_shards(1)
    asks(first, 1)
    asks(second, 11)
    first.complete(client(1))
    second.complete(client(11))
    second.reconcile()
    first.reconcile()
    assert (len(alive(first)), len(alive(second))) == (1, 0)


def test_a_worker_that_comes_back_counts_what_it_adopts_and_the_others_count_it_meanwhile() -> None:
    maps = FakeMaps()
    world = World(scene(3), maps)
    establish(world, 1, 2)
    assert counted(world) == [2]
    world.shared.forget_sessions(0)  # as the director does when a worker has died
    assert counted(world) == [2]
    world.shard = Shard(world.plan, world.shared, world.now, maps)
    world.shard.adopt(world.now)
    check_sessions(world, are_settled=True)
    assert counted(world) == [2]
    establish(world, 3)
    assert asks(world, 4) is verdicts.CLIENT_FULL


def test_adopted_sessions_beyond_the_limit_stay() -> None:
    maps = FakeMaps()
    world = World(scene(0), maps)
    establish(world, 1, 2, 3)
    world.shard = Shard(scene(1), world.shared, world.now, maps)
    world.shard.adopt(world.now)
    world.reconcile()
    assert counted(world) == [3]
    assert asks(world, 4) is verdicts.CLIENT_FULL


ACTS = ("ask", "complete", "fin", "reset", "wait", "reconcile", "change", "restart")
STEPS = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 9), st.booleans()), max_size=50)


@given(STEPS, st.booleans())
def test_whatever_happens_counts_are_those_of_the_sessions(steps: list[tuple[str, int, bool]], with_lane: bool) -> None:
    maps = FakeMaps() if with_lane else None
    world = World(scene(2), maps, tcp_timeout_fin_wait=1, tcp_timeout_established=2, tcp_timeout_close=1)
    for what, number, is_other in steps:
        address = NEIGHBOUR if is_other else CLIENT[:4]
        by_client = {source_of(session.client_key): session for session in sessions_of(world.inside)}
        session = by_client.get(client(number, address))
        if what == "ask":
            asks(world, number, address)
        elif what == "complete" and session is not None and session.state == TcpState.SYN_RECV:
            world.complete(client(number, address))
        elif what == "fin" and session is not None:
            world.put(tcp(source_of(session.server_key), destination_of(session.server_key), "FA", seq=R0 + 1, ack=add(C0, 1)))
        elif what == "reset" and session is not None:
            ends(world, number, address)
        elif what == "wait":
            world.sleep(number / 4)
        elif what == "reconcile":
            world.reconcile()
        elif what == "change":
            world.change(scene((0, 1, 2, 9)[number % 4], client_mask=24 if is_other else 32))
        elif what == "restart" and maps is not None:
            world.shard = Shard(replace(world.plan, services=scene(2).services), world.shared, world.now, maps)
            world.shard.adopt(world.now)
            world.change(scene(2))
        world._on_the_wire.clear()
        check_clients(world.inside)
    for session in sessions_of(world.inside):
        world.inside.end(session, EndReason.CUT)
    assert counted(world) == []
