"""Real servers that are drained, in a shard: who gets new sessions, what becomes of old ones, and how a choice is shown."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.plan import Plan
from appliance.ipc.queries import CUT, Query, SessionFilter
from appliance.model import verdicts
from appliance.policy.choice import ALL_WORDS
from appliance.policy.schedulers.registry import SCHEDULERS
from tests.support.addresses import C0, CLIENT, R0, RS1, RS2, VIP
from tests.support.segments import tcp, udp
from tests.support.two_servers import RS1_SLOT, RS2_SLOT, UDP_RS1_SLOT, client, destinations, scene, syn
from tests.support.world import World


def test_a_drained_one_gets_no_new_session_and_keeps_its_old_ones() -> None:
    world = World(scene(weights=(100,)))
    world.client.connects(C0, R0)
    world.change(scene(weights=(100, 100)))
    world.shard.change_drained([RS1_SLOT])
    assert destinations(world, first=10) == {RS2}
    assert world.client.sends("A", seq=C0 + 1, ack=R0 + 1) is verdicts.TO_REAL_SERVER
    world.shard.change_drained([])
    assert destinations(world, first=20) == {RS1, RS2}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_its_place_in_every_scheduler_is_gone_at_once(scheduler: str) -> None:
    world = World(scene(scheduler=scheduler, weights=(100, 1)))
    clients = [bytes((198, 51, 100, number)) + b"\x9c\x40" for number in range(1, 40)]
    assert RS1 in picked(world, clients[:20])
    world.shard.change_drained([RS1_SLOT])
    assert picked(world, clients[20:]) == {RS2}


def picked(world: World, clients: list[bytes]) -> set[bytes]:
    """The real servers that these clients come to."""
    before = {row.client for row in world.rows()}
    for number in clients:
        world.put(tcp(number, VIP, "S", seq=C0))
    found = {row.real_server for row in world.rows() if row.client not in before}
    return {RS1 if address == "192.0.2.101:8080" else RS2 for address in found}


def test_another_service_with_the_same_real_server_goes_on() -> None:
    world = World(scene())
    world.shard.change_drained([UDP_RS1_SLOT])
    assert destinations(world) == {RS1, RS2}
    assert {world.put(udp(client(number), VIP, b"?")) for number in range(4)} == {verdicts.TO_REAL_SERVER}
    assert {row.real_server for row in world.rows(service="dns")} == {"192.0.2.102:8080"}


def test_a_worker_that_starts_knows_who_is_drained() -> None:
    world = World(replace(scene(), drained=(RS2_SLOT,)))
    assert destinations(world) == {RS1}
    world.shard.change_drained([])
    assert destinations(world, first=10) == {RS1, RS2}


def test_persistence_leaves_it() -> None:
    world = World(scene(persistence_s=300))
    [before] = destinations(world, 1)
    world.shard.change_drained([RS1_SLOT if before == RS1 else RS2_SLOT])
    assert destinations(world, 3, first=10) == {RS2 if before == RS1 else RS1}


def test_it_starts_slowly_when_the_drain_is_taken_back() -> None:
    made = scene(weights=(100, 100))
    services = tuple(
        replace(service, real_servers=tuple(replace(server, slow_start_s=100) for server in service.real_servers))
        for service in made.services
    )
    world = World(replace(made, services=services))
    world.shard.change_drained([RS1_SLOT])
    world.shard.change_drained([])
    syns = [destinations(world, 1, first=number) for number in range(40)]
    assert syns.count({RS1}) <= 2, "of its turns, it takes few"
    world.sleep(101)
    syns = [destinations(world, 1, first=100 + number) for number in range(40)]
    assert syns.count({RS1}) == 20


LAST = {
    "refuse": verdicts.NO_REAL_SERVER,
    "drop": verdicts.NONE_HEALTHY,
    "all": verdicts.NO_REAL_SERVER,
}


@pytest.mark.parametrize("when_none_healthy", LAST)
def test_the_drain_of_the_last_one_is_as_if_none_were_healthy_and_nobody_gets_what_he_must_not(when_none_healthy: str) -> None:
    world = World(scene(when_none_healthy=when_none_healthy))
    world.shard.change_drained([RS1_SLOT, RS2_SLOT])
    assert syn(world) is LAST[when_none_healthy]


def test_fail_open_gives_sessions_to_those_that_are_down_and_never_to_a_drained_one() -> None:
    world = World(scene(when_none_healthy="all"))
    world.shard.change_drained([RS1_SLOT])
    world.shard.change_health([RS2_SLOT])
    assert destinations(world) == {RS2}


def test_backups_take_over_from_the_last_one() -> None:
    world = World(scene(backups=(1,)))
    assert destinations(world) == {RS1}
    world.shard.change_drained([RS1_SLOT])
    assert destinations(world, first=10) == {RS2}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("drained"), st.sets(st.sampled_from([RS1_SLOT, RS2_SLOT, UDP_RS1_SLOT, 99]))),
        st.tuples(st.just("down"), st.sets(st.sampled_from([RS1_SLOT, RS2_SLOT, UDP_RS1_SLOT, 99]))),
        st.tuples(st.just("weights"), st.sampled_from([(1, 1), (0, 1), (1, 0), (5, 5), (1,), ()])),
    ),
    max_size=8,
)


@given(STEPS)
def test_what_counts_is_what_was_said_last_in_whatever_order(steps: list[tuple[str, object]]) -> None:
    """Drained, down, another weight, removed and added again: none of them forgets another."""
    world, last = World(scene()), {"drained": frozenset[int](), "down": frozenset[int](), "weights": (1, 1)}
    for number, (what, value) in enumerate(steps):
        last[what] = value  # type: ignore[assignment]
        do(world, what, value)
        syn(world, number)  # so that there are sessions of each, too
    weights, drained, down = last["weights"], last["drained"], last["down"]
    wanted = {
        endpoint
        for slot, endpoint in enumerate((RS1, RS2))
        if slot < len(weights) and list(weights)[slot] and slot not in drained and slot not in down
    }
    assert destinations(world, 6, first=50) == wanted


def do(world: World, what: str, value: object) -> None:
    if what == "weights":
        assert isinstance(value, tuple)
        world.change(scene(weights=value))
        return
    assert isinstance(value, set)
    (world.shard.change_drained if what == "drained" else world.shard.change_health)(sorted(value))


def test_some_sessions_end_and_then_some_more() -> None:
    world = World(scene(weights=(1,)))
    for number in range(10):
        syn(world, number)
    wanted, place = SessionFilter(service="web", real_server="192.0.2.101:8080"), ""
    for left in (7, 4, 1, 0):
        pieces = list(world.walk(Query(CUT, wanted, limit=3, after=place)))
        assert sum(sum(piece.items) for piece in pieces) <= 3
        place = pieces[-1].place
        assert len(world.rows()) == left
    assert place == ""


def chosen(world: World, number: int = 0) -> str:
    assert syn(world, number) is verdicts.TO_REAL_SERVER
    [row] = world.rows(client=f"198.51.100.2:{40_000 + number}")
    return row.chosen


def chooses(**settings: object) -> Plan:
    return scene(**settings)  # type: ignore[arg-type]


def test_a_session_knows_how_its_real_server_was_chosen() -> None:
    assert chosen(World(chooses())) == "rr"
    assert chosen(World(chooses(scheduler="mh"))) == "mh"
    world = World(chooses(scheduler="wlc", persistence_s=300))
    assert [chosen(world, number) for number in range(3)] == ["wlc", "persistence", "persistence"]
    world.change(chooses(scheduler="sh"))
    assert chosen(world, 3) == "sh"


def test_and_under_which_circumstances() -> None:
    world = World(chooses(backups=(1,)))
    world.shard.change_health([RS1_SLOT])
    assert chosen(world) == "rr, backup"
    world = World(chooses(when_none_healthy="all", persistence_s=300))
    world.shard.change_health([RS1_SLOT, RS2_SLOT])
    assert [chosen(world, number) for number in range(2)] == ["rr, fail open", "persistence, fail open"]
    world.shard.change_health([])
    assert chosen(world, 5) == "persistence"


def test_a_datagrams_session_knows_it_too() -> None:
    world = World(chooses(scheduler="wrr"))
    world.put(udp(CLIENT, VIP, b"?"))
    assert [row.chosen for row in world.rows()] == ["wrr"]


def test_a_session_behind_synproxy_and_one_that_begins_anew_know_it() -> None:
    world = World(chooses(weights=(1,)))
    world.client.connects(C0, R0)
    world.put(tcp(CLIENT, VIP, "R", seq=C0 + 1))
    world.client.sends("S", seq=C0 + 1_000_000)
    assert [row.chosen for row in world.rows()] == ["rr"]


def test_every_choice_has_words_of_its_own() -> None:
    assert len(set(ALL_WORDS)) == len(ALL_WORDS) == 21
    assert {"rr", "wlc, backup", "persistence, fail open"} <= set(ALL_WORDS)
