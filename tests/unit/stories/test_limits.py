"""max_conn of services and real servers: who gets the next session, what others are told, and when there is room again."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.plan import Plan
from appliance.model import verdicts
from appliance.model.verdict import Action, Verdict
from appliance.policy.schedulers.registry import SCHEDULERS
from appliance.shard.shard import Shard
from appliance.wire.flow import destination_of, source_of
from appliance.wire.seq import add
from tests.support.addresses import C0, CLIENT, R0, RS1, VIP
from tests.support.lane_maps import FakeMaps
from tests.support.segments import read_tcp, tcp, udp
from tests.support.shard_invariants import sessions_of
from tests.support.world import World, plan


def scene(*most: int, shard: int = 0, shards: int = 1, synproxy: str = "never", **settings: Any) -> Plan:
    """A TCP and a UDP service with two real servers, each of which may have so many sessions."""
    made = plan(weights=(1, 1), with_udp=True, synproxy=synproxy, shard=shard, shards=shards)
    services = []
    for service in made.services:
        servers = tuple(
            replace(server, max_conn=limit) for server, limit in zip(service.real_servers, most or (0, 0), strict=True)
        )
        services.append(replace(service, real_servers=servers, **settings))
    return replace(made, services=tuple(services))


def client(number: int) -> bytes:
    return CLIENT[:4] + (20_000 + number).to_bytes(2, "big")


def asks(world: World, number: int) -> Verdict:
    return world.put(tcp(client(number), VIP, "S", seq=C0))


def establish(world: World, *numbers: int) -> None:
    for number in numbers:
        assert asks(world, number) is verdicts.TO_REAL_SERVER
        world.complete(client(number))
    world._on_the_wire.clear()


def on(world: World) -> list[int]:
    """How many sessions either real server has, as all shards see it."""
    return [world.destination(slot)["open_conns"] for slot in (0, 1)]


def ends(world: World, number: int) -> None:
    """The real server resets the session of this client."""
    session = next(each for each in sessions_of(world.inside) if source_of(each.client_key) == client(number))
    world.put(tcp(source_of(session.server_key), destination_of(session.server_key), "R", seq=R0 + 1))


def refused(world: World, service: int = 0) -> list[int]:
    slots = [server.slot for server in world.plan.services[service].real_servers]
    return [sum(column[slot] for slot in slots) for column in world.shared.refusal_columns()]


ways = pytest.mark.parametrize("with_lane", [False, True], ids=["alone", "lane"])


@ways
def test_a_service_has_as_many_sessions_as_it_may_and_takes_one_when_one_has_ended(with_lane: bool) -> None:
    world = World(scene(max_conn=3), FakeMaps() if with_lane else None)
    establish(world, 1, 2, 3)
    assert asks(world, 4) is verdicts.SERVICE_FULL
    answer = world.take(CLIENT)
    assert (answer[9], answer[20], answer[21]) == (1, 3, 3), "ICMP port unreachable"
    assert (world.counter("service_full"), refused(world)) == (1, [1, 0, 0])
    ends(world, 2)
    assert on(world) in ([2, 0], [1, 1], [0, 2])
    establish(world, 5)
    assert asks(world, 6) is verdicts.SERVICE_FULL
    assert len([session for session in sessions_of(world.inside) if session.state == 1]) == 3


@ways
def test_a_full_real_server_is_passed_over_until_it_has_room(with_lane: bool) -> None:
    world = World(scene(1, 0), FakeMaps() if with_lane else None)
    establish(world, 1, 2, 3, 4, 5)
    assert on(world) == [1, 4]
    first = next(session for session in sessions_of(world.inside) if source_of(session.server_key) == RS1)
    ends(world, int.from_bytes(source_of(first.client_key)[4:], "big") - 20_000)
    assert on(world) == [0, 4]
    establish(world, 6, 7)
    assert on(world) == [1, 5]
    assert world.counter("servers_full") == 0


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("persistence_s", [0, 60])
def test_whatever_the_scheduler_is_both_have_all_they_may_and_no_more(name: str, persistence_s: int) -> None:
    world = World(scene(3, 4, scheduler=name, persistence_s=persistence_s, maglev_table=251))
    establish(world, *range(7))
    assert on(world) == [3, 4]
    assert asks(world, 8) is verdicts.SERVERS_FULL
    assert (world.counter("servers_full"), refused(world)) == (1, [0, 1, 0])


def test_a_client_that_was_sent_elsewhere_because_its_real_server_was_full_is_not_remembered_there() -> None:
    world = World(scene(1, 0, persistence_s=60))
    establish(world, 1)
    mine = source_of(sessions_of(world.inside)[0].server_key)
    establish(world, 2)
    if mine == RS1:
        assert on(world) == [1, 1]
        ends(world, 1)
        establish(world, 3)
        assert on(world) == [1, 1]


def test_one_that_is_down_or_drained_takes_nothing_because_others_are_full() -> None:
    world = World(scene(1, 1))
    world.shard.change_health([1])
    establish(world, 1)
    assert asks(world, 2) is verdicts.SERVERS_FULL
    world.shard.change_health([])
    establish(world, 3)


@pytest.mark.parametrize("abort", [0, 1])
@pytest.mark.parametrize("limits", [{"max_conn": 1}, {"most": (1, 1)}], ids=["service", "servers"])
def test_beyond_a_limit_a_service_is_silent_if_it_wants_to_be(limits: dict[str, Any], abort: int) -> None:
    limits = {**limits}
    world = World(scene(*limits.pop("most", ()), when_full="drop", **limits), tcp_abort_on_overflow=abort)
    while asks(world, len(world.sessions())) is verdicts.TO_REAL_SERVER:
        world._on_the_wire.clear()
    world.assert_quiet()
    while world.put(udp(client(50 + len(world.rows())), VIP, b"q")) is verdicts.TO_REAL_SERVER:
        world._on_the_wire.clear()
    world.assert_quiet()


def test_with_abort_a_refusal_is_a_rst() -> None:
    world = World(scene(max_conn=1), tcp_abort_on_overflow=1)
    establish(world, 1)
    assert asks(world, 2) is verdicts.SERVICE_FULL
    assert read_tcp(world.take(CLIENT)).flags == "RA"


def test_sessions_that_are_over_take_nobodys_place() -> None:
    world = World(scene(max_conn=1))
    for number in range(5):
        establish(world, number)
        ends(world, number)
    assert len(world.rows()) == 5
    assert world.destination(0)["inactive_conns"] + world.destination(1)["inactive_conns"] == 5
    assert on(world) == [0, 0]


@pytest.mark.parametrize("reuse", [0, 1])
def test_but_one_that_its_client_begins_anew_has_to_get_in_again(reuse: int) -> None:
    world = World(scene(max_conn=1), fullnat_conn_reused_entry=reuse)
    establish(world, 1)
    ends(world, 1)
    establish(world, 2)
    assert asks(world, 1) is verdicts.SERVICE_FULL, "the same SYN"
    assert world.put(tcp(client(1), VIP, "S", seq=C0 + 70_000)) is verdicts.SERVICE_FULL
    ends(world, 2)
    assert world.put(tcp(client(1), VIP, "S", seq=C0 + 70_000)) is verdicts.TO_REAL_SERVER


def half_open(world: World, *numbers: int) -> None:
    for number in numbers:
        assert asks(world, number) is verdicts.TO_REAL_SERVER
    world._on_the_wire.clear()


@pytest.mark.parametrize("limits", [{"max_conn": 4}, {"most": (2, 2)}], ids=["service", "servers"])
@ways
def test_half_open_sessions_make_room_when_they_had_their_time(with_lane: bool, limits: dict[str, Any]) -> None:
    """Forged SYNs keep a service full for as long as a client needs to answer, and not until their time is over."""
    limits = {**limits}
    world = World(scene(*limits.pop("most", ()), **limits), FakeMaps() if with_lane else None)
    establish(world, 1, 2)
    half_open(world, 3, 4)
    assert asks(world, 5).action is Action.DROP
    world._on_the_wire.clear()
    world.sleep(0.6)
    establish(world, 5)
    establish(world, 6)
    assert asks(world, 7).action is Action.DROP, "no established session ends for another one"
    assert world.counter("limits_dropped") == 2
    assert on(world) == [2, 2]


def test_unless_nothing_may_be_dropped() -> None:
    world = World(scene(max_conn=1), conn_early_drop=0)
    half_open(world, 1)
    world.sleep(0.6)
    assert asks(world, 2) is verdicts.SERVICE_FULL


def test_a_service_in_auto_asks_for_cookies_before_forged_syns_fill_half_of_it() -> None:
    world = World(scene(max_conn=8, synproxy="auto"))
    half_open(world, 1, 2, 3, 4)
    assert asks(world, 5) is verdicts.COOKIE_SENT
    world = World(scene(4, 4, synproxy="auto"))
    half_open(world, 1, 2, 3, 4)
    assert asks(world, 5) is verdicts.COOKIE_SENT
    world = World(scene(4, 0, synproxy="auto"))
    half_open(world, *range(20))


def test_a_proven_client_beyond_the_limit_is_reset() -> None:
    world = World(scene(max_conn=1, synproxy="always"))
    world.client.sends("S", seq=C0)
    cookie = world.client.gets("SA").seq
    establish_proxied(world)
    assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=b"x") is verdicts.SERVICE_FULL
    world.client.gets("R", seq=cookie + 1)


def establish_proxied(world: World) -> None:
    """Another client takes the only place."""
    other = client(1)
    world.put(tcp(other, VIP, "S", seq=C0))
    cookie = read_tcp(world.take(CLIENT)).seq
    assert world.put(tcp(other, VIP, "PA", seq=C0 + 1, ack=add(cookie, 1), data=b"x")) is verdicts.TO_REAL_SERVER
    world._on_the_wire.clear()


def test_datagrams_of_new_clients_too() -> None:
    world = World(scene(max_conn=1))
    assert world.put(udp(client(1), VIP, b"q")) is verdicts.TO_REAL_SERVER
    assert world.put(udp(client(2), VIP, b"q")) is verdicts.SERVICE_FULL
    assert world.put(udp(client(1), VIP, b"q")) is verdicts.TO_REAL_SERVER
    assert refused(world, service=1) == [1, 0, 0]
    assert refused(world) == [0, 0, 0]
    world.sleep(0.6)
    assert world.put(udp(client(2), VIP, b"q")) is verdicts.TO_REAL_SERVER, "the first one was not confirmed"
    assert world.counter("limits_dropped") == 1


def test_a_confirmed_session_of_udp_keeps_its_place() -> None:
    world = World(scene(max_conn=1))
    world.put(udp(client(1), VIP, b"q"))
    there = world._on_the_wire.pop()
    world.put(udp(destination_of(there[12:24]), source_of(there[12:24]), b"a"))
    world.put(udp(client(1), VIP, b"q"))
    world.sleep(0.6)
    assert world.put(udp(client(2), VIP, b"q")) is verdicts.SERVICE_FULL


def test_a_reload_changes_limits_and_sessions_that_there_are_count() -> None:
    world = World(scene())
    establish(world, 1, 2, 3, 4)
    world.change(scene(max_conn=3))
    assert asks(world, 5) is verdicts.SERVICE_FULL
    assert len(world.rows()) == 4, "nobody has to go"
    world.change(scene(max_conn=5))
    establish(world, 5)
    world.change(scene(9, 2))
    establish(world, 6, 7)
    assert on(world)[1] <= 3
    world.change(scene())
    establish(world, *range(8, 30))


def two_shards(*most: int, **settings: Any) -> tuple[World, World]:
    scenes = [scene(*most, shard=shard, shards=2, **settings) for shard in (0, 1)]
    first, second = World(scenes[0]), World(scenes[1])
    second.shared = first.shared
    second.shard = Shard(scenes[1], first.shared, second.now)
    return first, second


@pytest.mark.parametrize("limits", [{"max_conn": 6}, {"most": (3, 3)}], ids=["service", "servers"])
def test_shards_count_together_and_at_once(limits: dict[str, Any]) -> None:
    limits = {**limits}
    first, second = two_shards(*limits.pop("most", ()), **limits)
    for number in range(3):
        establish(first, number)
        establish(second, 10 + number)
    assert asks(first, 50).action is Action.DROP
    assert asks(second, 51).action is Action.DROP
    ends(second, 11)
    second.shard.publish_counts()
    establish(first, 50)
    assert asks(second, 51).action is Action.DROP


def test_a_shard_whose_worker_dies_still_counts_until_the_next_one_begins() -> None:
    first, second = two_shards(max_conn=2)
    establish(first, 1)
    establish(second, 2)
    assert asks(first, 3) is verdicts.SERVICE_FULL
    second.shard = Shard(second.plan, first.shared, second.now)
    second.shard.publish_counts()
    establish(first, 4)


STEPS = st.lists(st.tuples(st.sampled_from(["ask", "complete", "end", "wait", "tick"]), st.integers(0, 9)), max_size=60)


@given(STEPS, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_whatever_happens_no_limit_is_passed_and_nothing_is_left(
    steps: list[tuple[str, int]], most: int, one: int, other: int
) -> None:
    world = World(scene(one, other, max_conn=most))
    for what, number in steps:
        alive = {source_of(session.client_key): session for session in sessions_of(world.inside)}
        session = alive.get(client(number))
        if what == "ask":
            asks(world, number)
        elif what == "complete" and session is not None and session.state == 3:
            world.complete(client(number))
        elif what == "end" and session is not None and session.state == 1:
            ends(world, number)
        elif what == "wait":
            world.sleep(number / 4)
        elif what == "tick":
            world.sleep(0.1)
        world._on_the_wire.clear()
        counts = on(world)
        assert counts[0] <= one
        assert counts[1] <= other
        assert sum(counts) <= most
        open_now = [each for each in sessions_of(world.inside) if each.state not in (5, 6)]
        assert sum(counts) == len(open_now)
    world.sleep(1000)
    assert asks(world, 99) is verdicts.TO_REAL_SERVER
