"""timers.py against a list of deadlines."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.timers import TimerWheel
from tests.support.oracle import ListOfTimers

TICK_S = 0.1


class Entry:
    """The least a wheel takes."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.wheel_time = inf


def test_fires_at_the_first_tick_after_its_deadline_and_once() -> None:
    wheel: TimerWheel[Entry] = TimerWheel(100.0, TICK_S)
    entry = Entry(100.25)
    wheel.arm(entry)
    assert wheel.expired(100.24, 10) == []
    assert wheel.expired(100.31, 10) == [entry]
    assert wheel.expired(200.0, 10) == []
    assert len(wheel) == 0


def test_a_deadline_pushed_out_needs_no_arming() -> None:
    wheel: TimerWheel[Entry] = TimerWheel(0.0, TICK_S)
    entry = Entry(1.0)
    wheel.arm(entry)
    entry.deadline = 5.0
    assert wheel.expired(4.9, 10) == []
    assert wheel.expired(5.1, 10) == [entry]


def test_a_deadline_pulled_in_fires_early_after_arming() -> None:
    wheel: TimerWheel[Entry] = TimerWheel(0.0, TICK_S)
    entry = Entry(900.0)
    wheel.arm(entry)
    entry.deadline = 2.0
    wheel.arm(entry)
    assert wheel.expired(2.1, 10) == [entry]
    assert wheel.expired(1000.0, 10) == []


def test_disarming_takes_it_off_also_when_its_slot_is_being_emptied() -> None:
    wheel: TimerWheel[Entry] = TimerWheel(0.0, TICK_S)
    entries = [Entry(1.0) for _ in range(3)]
    for entry in entries:
        wheel.arm(entry)
    (first,) = wheel.expired(1.1, 1)
    left = [entry for entry in entries if entry is not first]
    wheel.disarm(left[0])
    wheel.disarm(left[0])
    assert wheel.expired(1.1, 10) == [left[1]]
    assert wheel.next_look() is None


def test_a_limit_leaves_the_rest_for_the_next_call() -> None:
    wheel: TimerWheel[Entry] = TimerWheel(0.0, TICK_S)
    for _ in range(25):
        wheel.arm(Entry(1.0))
    assert [len(wheel.expired(1.1, 10)) for _ in range(3)] == [10, 10, 5]


def test_a_limit_counts_looks_so_that_many_deadlines_pushed_out_hold_nobody_up() -> None:
    wheel: TimerWheel[Entry] = TimerWheel(0.0, TICK_S)
    entries = [Entry(1.0) for _ in range(25)]
    for entry in entries:
        wheel.arm(entry)
        entry.deadline = 5.0
    looks = 0
    while wheel.is_behind(1.1):
        assert wheel.expired(1.1, 10) == []
        looks += 1
        assert sum(entry.wheel_time > 1.1 for entry in entries) == min(10 * looks, 25)
    assert looks == 3
    assert set(wheel.expired(5.1, 30)) == set(entries)


def test_entries_of_one_slot_share_their_time() -> None:
    """A float for each of a million entries would be a million floats."""
    wheel: TimerWheel[Entry] = TimerWheel(0.0, TICK_S)
    early, same, late = Entry(1.01), Entry(1.02), Entry(2.0)
    for entry in (early, same, late):
        wheel.arm(entry)
    assert early.wheel_time is same.wheel_time
    assert late.wheel_time != same.wheel_time


def test_next_look_is_never_after_the_tick_of_the_first_deadline() -> None:
    wheel: TimerWheel[Entry] = TimerWheel(50.0, TICK_S)
    assert wheel.next_look() is None
    wheel.arm(Entry(50.35))
    now, looks = 50.0, 0
    while len(wheel):
        now = wheel.next_look() or 0.0
        wheel.expired(now, 10)
        looks += 1
    assert now == pytest.approx(50.4)
    assert looks <= 5


@given(
    st.lists(st.tuples(st.integers(0, 9), st.floats(0.0, 40.0), st.floats(0.0, 3.0), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 4),
)
def test_never_early_and_at_most_one_tick_late(steps: list[tuple[int, float, float, bool]], limit: int) -> None:
    """Random arming, re-arming and disarming of ten entries, with sleeps longer than there are slots."""
    now = 1000.0
    wheel: TimerWheel[Entry] = TimerWheel(now, TICK_S)
    oracle = ListOfTimers()
    entries = [Entry(inf) for _ in range(10)]
    for which, timeout, pause, disarm in steps:
        entry = entries[which]
        if disarm:
            wheel.disarm(entry)
            oracle.deadlines.pop(entry, None)
        else:
            entry.deadline = now + timeout
            wheel.arm(entry)
            oracle.deadlines[entry] = entry.deadline
        now += pause
        fired: list[Entry] = []
        while wheel.is_behind(now):
            fired += wheel.expired(now, limit)
        assert set(fired) <= oracle.due(now), "fired early"
        assert oracle.due(now - TICK_S - 1e-6) <= set(fired), "fired late"
        assert len(fired) == len(set(fired))
        for done in fired:
            del oracle.deadlines[done]
        assert len(wheel) == len(oracle.deadlines)
