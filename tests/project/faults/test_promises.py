"""promises.py: what was not kept is said; and the promises themselves."""

import pytest

from faults.figures import ALL, NOBODY, Figures, Hit, figures
from faults.promises import UNNOTICED, Kind, Lost, Promise, broken
from faults.records import CORRUPTED, Record
from faults.rows import ROWS, named
from tests.project.faults.traffic import TIMES, exchange, record, steady, stream

NONE_LOST = Promise(Lost.NONE, new_s=3.0, established_s=2.0)
SOME_LOST = Promise(Lost.CONCERNED, new_s=3.0, established_s=2.0)
TOLD = SOME_LOST._replace(told=True)

WELL = record(stream())
LOST = record(stream(), stream(port=5_001, last=11.0))
RESET = record(stream(), stream(port=5_001, ended="reset"))


def of(noted: Record, hit: Hit = ALL) -> Figures:
    return figures(noted, TIMES, hit, 2)


@pytest.mark.parametrize(
    ("promise", "seen", "expected"),
    [
        (UNNOTICED, of(WELL), None),
        (NONE_LOST, of(LOST), Kind.SESSIONS),
        (SOME_LOST, of(LOST), None),
        (SOME_LOST, of(LOST, Hit(shards=(1,))), None),
        (SOME_LOST, of(LOST, Hit(shards=(0,))), Kind.SESSIONS),
        (SOME_LOST, of(LOST, NOBODY), Kind.SESSIONS),
        (TOLD, of(LOST), Kind.SESSIONS),
        (TOLD, of(RESET), None),
        (SOME_LOST, of(record(stream(ended=CORRUPTED))), Kind.DATA),
        (SOME_LOST, of(record()), Kind.DATA),
        (SOME_LOST, of(record(stream(), datagrams=())), Kind.DATA),
        (NONE_LOST, of(record(stream((11.0, 14.9)))), None),
        (NONE_LOST, of(record(stream((11.0, 15.1)))), Kind.TIME),
        (NONE_LOST, of(record(stream(), connections=steady(exchange(14.9, "reset")))), None),
        (NONE_LOST, of(record(stream(), connections=steady(exchange(16.1, "reset")))), Kind.TIME),
        (NONE_LOST, of(record(stream(), datagrams=steady(exchange(16.1, "no answer")))), Kind.TIME),
        (NONE_LOST, of(record(stream(), connections=steady(exchange(19.9, "reset")))), Kind.TIME),
        (UNNOTICED, of(record(stream(), connections=steady(exchange(11.1, "reset")))), Kind.SESSIONS),
        (UNNOTICED, of(record(stream(), connections=steady(exchange(11.1, took_s=1.0)))), None),
    ],
)
def test_what_is_broken(promise: Promise, seen: Figures, expected: Kind | None) -> None:
    assert [each.kind for each in broken(promise, seen)] == ([] if expected is None else [expected])


def test_each_row_has_a_name_and_a_title_of_its_own() -> None:
    assert len({row.name for row in ROWS}) == len({row.title for row in ROWS}) == len(ROWS)


def test_no_promise_is_weaker_with_the_lane() -> None:
    for row in ROWS:
        with_lane, without = row.promise(lane=True), row.promise(lane=False)
        assert with_lane.lost is Lost.NONE or without.lost is Lost.CONCERNED, row.name
        assert (with_lane.new_s, with_lane.established_s) <= (without.new_s, without.established_s), row.name
        assert with_lane.undisturbed >= without.undisturbed, row.name


def test_with_the_lane_only_a_stop_and_a_real_server_that_is_gone_cost_sessions() -> None:
    assert {row.name for row in ROWS if row.promise(lane=True).lost is not Lost.NONE} == {"stopped", "server-gone"}


def test_whoever_ends_sessions_in_order_tells_their_clients() -> None:
    told = {(row.name, lane) for row in ROWS for lane in (True, False) if row.promise(lane=lane).told}
    assert told == {("stopped", True), ("stopped", False), ("restarted", False)}


def test_rows_are_found_by_name_in_their_own_order() -> None:
    assert named(f"{ROWS[3].name},{ROWS[1].name}") == (ROWS[1], ROWS[3])
    with pytest.raises(ValueError, match="there is no row nothing; the rows are worker-killed"):
        named(f"nothing,{ROWS[0].name}")
