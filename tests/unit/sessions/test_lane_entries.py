"""lane_entries.py: each entry is free, in use or resting, once; and belongs to the slot of its session's port."""

from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.lane_layout import FIRST_RESERVATION, SLOTS
from appliance.sessions.lane_entries import REST_S, LaneEntries
from appliance.state.session import Session

SIZE = 2


def somebody() -> Session:
    return Mock(spec=Session)


def test_there_is_none_without_a_lane_or_in_slots_of_others() -> None:
    assert not LaneEntries(0, range(SLOTS)).parts
    assert LaneEntries(0, range(SLOTS)).take(5, somebody(), 0.0) is None
    entries = LaneEntries(SLOTS * SIZE, [5])
    assert entries.take(6, somebody(), 0.0) is None
    assert entries.owner(12) is None


def test_what_a_shard_reserves_is_that_of_one_of_its_slots() -> None:
    """So each shard has its own, and it has an owner when there are more shards, or fewer."""
    first, second = LaneEntries(SLOTS * SIZE, [6, 5]), LaneEntries(SLOTS * SIZE, [7])
    assert (first.reservation, second.reservation) == (FIRST_RESERVATION + 5, FIRST_RESERVATION + 7)
    assert [first.may_own(first.reservation), first.may_own(second.reservation)] == [True, False]
    assert not first.owns(first.reservation)
    assert first.owner(first.reservation) is None


def test_entries_of_a_slot_are_used_in_their_order_and_run_out() -> None:
    entries = LaneEntries(SLOTS * SIZE, [5, 6])
    first, second = somebody(), somebody()
    assert [entries.take(5, first, 0.0), entries.take(5, second, 0.0), entries.take(5, somebody(), 0.0)] == [10, 11, None]
    assert (entries.owner(10), entries.owner(11), entries.owner(12)) == (first, second, None)
    assert entries.take(6, somebody(), 0.0) == 12
    assert entries.in_use == 3


def test_an_entry_rests_before_it_is_used_again() -> None:
    entries = LaneEntries(SLOTS * SIZE, [5])
    for _ in range(SIZE):
        entries.take(5, somebody(), 0.0)
    entries.give_back(11, 100.0)
    assert entries.owner(11) is None
    assert entries.take(5, somebody(), 100.0 + REST_S - 0.01) is None
    assert entries.take(5, somebody(), 100.0 + REST_S) == 11
    assert REST_S > 1


def test_entries_before_an_adopted_one_become_free() -> None:
    entries = LaneEntries(SLOTS * 4, [5])
    session = somebody()
    entries.claim(22, session)
    assert (entries.owner(22), entries.in_use) == (session, 1)
    assert {entries.take(5, somebody(), 0.0) for _ in range(4)} == {20, 21, 23, None}


def test_entries_are_short_when_more_than_three_quarters_are_used_or_rest() -> None:
    entries = LaneEntries(SLOTS * 4, [5])
    for _ in range(3):
        entries.take(5, somebody(), 0.0)
    assert not entries.is_short(5)
    entries.take(5, somebody(), 0.0)
    assert entries.is_short(5)
    entries.give_back(21, 0.0)
    assert entries.is_short(5)
    entries.take(5, somebody(), REST_S)
    entries.give_back(22, REST_S)
    entries.give_back(23, REST_S)
    assert entries.take(5, somebody(), 3 * REST_S) is not None
    assert not entries.is_short(5)


@pytest.mark.parametrize(("entry", "expected"), [(10, True), (11, True), (12, False), (SLOTS * SIZE, True)])
def test_an_entry_of_no_slot_is_anybodys(entry: int, expected: bool) -> None:
    assert LaneEntries(SLOTS * SIZE, [5]).may_own(entry) is expected


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 7), st.sampled_from((0.0, 0.5, 3.0)))))
def test_each_entry_is_free_resting_or_in_use_exactly_once(steps: list[tuple[int, int, float]]) -> None:
    entries, used, now = LaneEntries(SLOTS * SIZE, [1, 2]), dict[int, Session](), 0.0
    given_back_at = dict[int, float]()
    for what, which, wait_s in steps:
        now += wait_s
        if what and used:
            entry = sorted(used)[which % len(used)]
            del used[entry]
            entries.give_back(entry, now)
            given_back_at[entry] = now
        else:
            session = somebody()
            entry_or_none = entries.take(1 + which % 2, session, now)
            if entry_or_none is not None:
                assert entry_or_none not in used
                assert entry_or_none // SIZE == 1 + which % 2
                assert now - given_back_at.get(entry_or_none, -10.0) >= REST_S
                used[entry_or_none] = session
    assert entries.in_use == len(used)
    assert all(entries.owner(entry) is session for entry, session in used.items())
