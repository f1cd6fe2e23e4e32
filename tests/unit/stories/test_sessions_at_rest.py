"""Sessions whose local endpoints rest are in no table, but listed, counted and cut like those that are (`sessions.at_rest`)."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.ipc.admission_layout import REST_NS
from appliance.ipc.queries import CUT, GROUPS, LOCAL_ADDRESS, ROWS, TALLY, Query, SessionFilter
from appliance.ipc.rows import SessionRow
from appliance.model.tcp_state import TcpState
from appliance.sessions import walk as walk_module
from appliance.sessions.short_lived import YOUNG_MS
from appliance.wire.seq import add
from tests.support.addresses import CLIENT_ADDRESS, R0
from tests.support.endpoints import check_endpoints
from tests.support.segments import tcp
from tests.support.short_lived_scene import SENT_BYTES, Scene

AT_REST = 30
FIRST_ESTABLISHED = 100


def scene_at_rest(count: int = AT_REST, *, established: int = 0) -> Scene:
    """So many sessions at rest, of one client whose ports begin with 1024, and others that are established."""
    scene = Scene()
    scene.is_over(*range(count))
    for number in range(FIRST_ESTABLISHED, FIRST_ESTABLISHED + established):
        scene.moves(scene.opens(number), TcpState.ESTABLISHED)
    scene.take_over_and_look()
    scene.look(YOUNG_MS / 1000)
    assert (scene.short.resting, len(scene.world.sessions())) == (count, established)
    return scene


def crowd_at_rest(least: int) -> Scene:
    """At least so many at rest."""
    scene, number = Scene(entries=64 * 1024), 0
    while scene.short.resting < least:
        while scene.kernel.ready:
            scene.is_over(number)
            number += 1
        scene.take_over_and_look()
    return scene


def client(number: int) -> str:
    return f"{CLIENT_ADDRESS}:{1024 + number}"


def wakes(scene: Scene, number: int) -> None:
    """A packet of a session at rest is late, and brings it into the tables."""
    record = scene.world.maps.record(scene.entry_of(number))
    late = tcp(record.real_server.packed, record.local.packed, "FA", seq=R0, ack=add(record.isn, 1 + SENT_BYTES + 1))
    scene.world.put(late)
    assert client(number) in {row.client for row in scene.world.rows()}


def clients(rows: list[SessionRow]) -> list[str]:
    return sorted(row.client for row in rows)


def test_a_row_says_what_it_says_of_the_session_in_a_table() -> None:
    scene = scene_at_rest(2)
    before = {row.client: row for row in scene.world.rows()}
    assert sorted(before) == [client(0), client(1)]
    wakes(scene, 1)
    assert scene.short.resting == 1
    after = {row.client: row for row in scene.world.rows()}
    assert after[client(0)] == before[client(0)]
    assert after[client(1)] == before[client(1)]._replace(expires_s=after[client(1)].expires_s)
    assert before[client(1)].state == "TIME_WAIT"
    assert before[client(1)].age_s == pytest.approx(0.55, abs=0.01)
    timeout_s = scene.inside.tunables.timeouts_s[TcpState.TIME_WAIT]
    assert before[client(1)].expires_s == pytest.approx(timeout_s - 0.55, abs=0.01)


def test_each_filter_selects_them() -> None:
    scene = scene_at_rest(established=3)
    world, everything = scene.world, [client(number) for number in range(AT_REST)]
    assert clients(world.rows(state="TIME_WAIT")) == sorted(everything)
    assert clients(world.rows(state="ESTABLISHED")) == [client(number) for number in range(100, 103)]
    assert world.rows(state="CLOSE") == []
    assert clients(world.rows(client=client(7))) == [client(7)]
    assert len(world.rows(service="web")) == AT_REST + 3
    assert world.rows(service="dns") == []
    of_server = [world.rows(real_server=f"192.0.2.10{number}:8080", state="TIME_WAIT") for number in (1, 2)]
    assert [len(rows) for rows in of_server] == [AT_REST / 2, AT_REST / 2]
    assert scene.short.resting == AT_REST, "none was moved by being looked at"
    assert {ticket.session.entry for ticket in scene.short.at_rest()} == {None}
    check_endpoints(scene.inside)


@pytest.mark.parametrize("by", [*GROUPS, LOCAL_ADDRESS])
def test_each_group_counts_them(by: str) -> None:
    scene = scene_at_rest(established=4)
    counted = Counter[str]()
    for piece in scene.world.walk(Query(TALLY, by=by)):
        counted.update(dict(piece.items))
    fields = {"client": "client", "service": "service", "real_server": "real_server", LOCAL_ADDRESS: "local"}
    shown = (getattr(row, fields[by]) for row in scene.world.rows())
    if by in ("client", LOCAL_ADDRESS):
        shown = (text.rpartition(":")[0] for text in shown)
    assert counted == Counter(shown)
    assert counted.total() == AT_REST + 4


def test_a_listing_has_as_many_as_the_figures() -> None:
    scene = scene_at_rest(established=4)
    assert Counter(row.state.lower() for row in scene.world.rows()) == scene.world.by_state()


def test_a_cut_ends_those_that_it_means_and_no_others() -> None:
    scene = scene_at_rest(established=2)
    world = scene.world
    world._on_the_wire.clear()
    (piece,) = world.walk(Query(CUT, SessionFilter(client=client(7))))
    assert piece.items == [1]
    assert world.counter("sessions_cut") == 1
    assert (scene.short.resting, len(world.sessions())) == (AT_REST - 1, 2)
    assert world.by_state() == {"established": 2, "time_wait": AT_REST - 1}
    assert client(7) not in clients(world.rows())
    world.assert_quiet()
    scene.look()
    check_endpoints(scene.inside)


def test_a_cut_of_all_leaves_nothing() -> None:
    scene = scene_at_rest(established=1)
    scene.moves(scene.opens(200), TcpState.ESTABLISHED)
    there = AT_REST + 1  # two are established, and one of them has an endpoint that rested
    assert len(scene.world.rows()) == there
    assert sum(sum(piece.items) for piece in scene.world.walk(Query(CUT))) == there
    scene.look()
    assert (scene.short.young, scene.short.resting, scene.world.sessions()) == (0, 0, [])
    assert scene.world.shared.session_counts[0] == 0
    assert scene.world.counter("sessions_cut") == there
    check_endpoints(scene.inside)


def test_a_cut_may_name_clients() -> None:
    scene = scene_at_rest()
    others = Query(CUT, clients=("198.51.100.77",))
    assert [piece.items for piece in scene.world.walk(others)] == [[0]]
    theirs = Query(CUT, clients=("198.51.100.77", str(CLIENT_ADDRESS)))
    assert sum(sum(piece.items) for piece in scene.world.walk(theirs)) == AT_REST


def test_a_step_looks_at_a_bounded_number() -> None:
    scene = crowd_at_rest(1500)
    resting = scene.short.resting
    nothing = list(scene.world.walk(Query(ROWS, SessionFilter(client="192.0.2.77"))))
    assert len(nothing) > resting / (walk_module.BUDGET / 10)
    for query in (Query(ROWS), Query(CUT)):
        pieces = list(scene.world.walk(query))
        sizes = [sum(piece.items) if query.kind == CUT else len(piece.items) for piece in pieces]
        assert sum(sizes) == resting
        assert max(sizes) <= walk_module.BUDGET / 10


def test_what_ends_or_comes_into_the_tables_meanwhile_is_listed_once_or_not_at_all() -> None:
    scene = crowd_at_rest(1500)
    there = {row.client for row in scene.world.rows()}
    shown, ended, left = Counter[str](), set[str](), sorted(there)
    for step, piece in enumerate(scene.world.walk(Query(ROWS))):
        shown.update(row.client for row in piece.items)
        if step % 2:
            wakes(scene, int(left.pop(step * 7 % len(left)).rpartition(":")[2]) - 1024)
        else:
            ends = left.pop(step * 5 % len(left))
            ended.add(ends)
            list(scene.world.walk(Query(CUT, SessionFilter(client=ends))))
    assert set(shown.values()) == {1}
    assert there - ended <= set(shown) <= there
    assert len(there) > len(set(shown)), "some had ended before they were looked at"


def test_an_endpoint_that_is_used_again_meanwhile_is_not_listed_as_what_it_was() -> None:
    scene, number = scene_at_rest(), 1000
    before = {row.client for row in scene.world.rows()}

    def uses_all_again() -> set[bytes]:
        nonlocal number
        resting = scene.local_ends()
        for _ in range(2):  # what is ready already is other than what rests
            while scene.kernel.ready:
                scene.is_over(number)
                number += 1
            scene.look(REST_NS / 1e9)
        scene.take_over_and_look()
        return resting & scene.local_ends()

    assert uses_all_again(), "their tickets are those of endpoints that have had sessions"
    before |= {row.client for row in scene.world.rows()}
    walk = scene.world.shard.walk(Query(ROWS))
    for _ in range(scene.short.resting):
        next(walk._entries)
    assert uses_all_again()
    shown = [row.client for row in walk.step(scene.world.now).items]
    there = {row.client for row in scene.world.rows()}
    assert set(shown) <= before & there, "what began meanwhile has another place"
    assert before - there, "some have ended meanwhile"


@settings(max_examples=20, deadline=None)
@given(st.integers(1, AT_REST), st.integers(0, 20), st.integers(1, 25), st.data())
def test_pages_together_are_the_whole(at_rest: int, established: int, limit: int, data: st.DataObject) -> None:
    """Sessions that stay are on exactly one page, also those that come into the tables between two pages."""
    scene = scene_at_rest(at_rest, established=established)
    staying = {row.client for row in scene.world.rows()}
    shown, after, asleep, is_last = list[str](), "", list(range(at_rest)), False
    while not is_last:
        pieces = list(scene.world.walk(Query(ROWS, limit=limit, after=after)))
        page = [row.client for piece in pieces for row in piece.items]
        assert len(page) <= limit
        shown += page
        after = pieces[-1].place
        is_last = not after
        if asleep and data.draw(st.sampled_from([True, False])):
            wakes(scene, asleep.pop(data.draw(st.integers(0, len(asleep) - 1))))
    assert len(shown) == len(set(shown))
    assert set(shown) == staying


def test_a_page_of_sessions_to_cut_ends_where_the_next_one_begins() -> None:
    scene = scene_at_rest(10, established=2)
    cuts, after = list[int](), ""
    while after or not cuts:
        pieces = list(scene.world.walk(Query(CUT, limit=5, after=after)))
        cuts.append(sum(sum(piece.items) for piece in pieces))
        after = pieces[-1].place
    assert max(cuts) == 5
    assert (sum(cuts), scene.short.resting, scene.world.sessions()) == (12, 0, [])


def test_a_cut_of_another_service_wakes_none_of_them() -> None:
    scene = scene_at_rest()
    assert [piece.items for piece in scene.world.walk(Query(CUT, SessionFilter(service="dns")))] == [[0]]
    assert scene.short.resting == AT_REST
