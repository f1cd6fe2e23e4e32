"""least_connections.py: who has least to do gets the next session."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.schedulers.least_connections import OPEN, LeastConnections, WeightedLeastConnections, load_of
from appliance.policy.schedulers.slow_start import SlowStart
from tests.support.candidates import Server, client_key, picks, servers, setup

Either = LeastConnections | WeightedLeastConnections
BOTH = pytest.mark.parametrize("scheduler", [LeastConnections, WeightedLeastConnections])


def opened(scheduler: Either, candidates: tuple[Server, ...], times: int, now: float = 0.0) -> list[int]:
    """How many sessions each candidate has got, all of which stay open."""
    for number in range(times):
        picked = scheduler.pick(candidates, client_key(number), now)
        assert picked is not None
        picked.load += OPEN
    return [candidate.load // OPEN for candidate in candidates]


@BOTH
def test_equal_ones_take_turns(scheduler: type[Either]) -> None:
    assert picks(scheduler(setup()), servers(1, 1, 1), 6) == [0, 1, 2, 0, 1, 2]
    assert picks(scheduler(setup(shard=1)), servers(1, 1, 1), 3) == [1, 2, 0], "shards begin at different ones"


@BOTH
def test_idle_sessions_send_the_next_ones_elsewhere(scheduler: type[Either]) -> None:
    candidates = servers(1, 1, 1)
    candidates[0].load = 10 * OPEN
    assert opened(scheduler(setup()), candidates, 20) == [10, 10, 10]


def test_weights_count_for_one_and_not_for_the_other() -> None:
    assert opened(WeightedLeastConnections(setup()), servers(40, 40, 20), 1000) == pytest.approx([400, 400, 200], abs=1)
    assert opened(LeastConnections(setup()), servers(40, 40, 20), 999) == [333, 333, 333]


@BOTH
def test_weight_0_never(scheduler: type[Either]) -> None:
    assert opened(scheduler(setup()), servers(0, 1, 0), 5) == [0, 5, 0]
    assert picks(scheduler(setup()), servers(0, 0), 2) == [None, None]
    assert picks(scheduler(setup()), servers(), 1) == [None]


def test_what_closes_costs_little_and_what_opens_costs_all() -> None:
    assert load_of(active=2, inactive=0, opening=0) == 2 * OPEN
    assert load_of(active=0, inactive=255, opening=0) < load_of(active=1, inactive=0, opening=0)
    assert load_of(active=0, inactive=3, opening=2) == 2 * OPEN + 1


def test_one_that_has_come_back_is_not_flooded() -> None:
    candidates, scheduler = servers(1, 1, 1), WeightedLeastConnections(setup())
    for candidate in candidates[:2]:
        candidate.load = 1000 * OPEN
    candidates[2].slow_start = SlowStart(100.0, 10.0)
    assert opened(scheduler, candidates, 500, now=100.0)[2] == pytest.approx(13, abs=2), "a hundredth of what the others have"
    assert opened(scheduler, candidates, 1000, now=105.0)[2] == pytest.approx(700, abs=100), "half of it"
    assert opened(scheduler, candidates, 1000, now=110.0)[2] == pytest.approx(1500, abs=10)


def test_without_a_slow_start_it_would_be() -> None:
    candidates = servers(1, 1, 1)
    for candidate in candidates[:2]:
        candidate.load = 1000 * OPEN
    assert opened(WeightedLeastConnections(setup()), candidates, 500) == [1000, 1000, 500]


def with_ready(*given: tuple[int, int, int]) -> list[Server]:
    """Candidates by weight, sessions that are open, and sessions that are ready."""
    made = servers(*(weight for weight, _, _ in given))
    for candidate, (_, count, ready) in zip(made, given, strict=True):
        candidate.ready, candidate.load = ready, OPEN * (count + ready)
    return list(made)


@pytest.mark.parametrize(
    ("each", "by_weight", "by_count"),
    [
        (((1, 10, 5), (1, 10, 5)), False, False),
        (((1, 10, 5), (1, 4, 5)), False, False),
        (((1, 10, 5), (1, 3, 5)), True, True),
        (((1, 10, 1), (1, 9, 0)), False, False),
        (((1, 10, 1), (1, 8, 0)), True, True),
        (((1, 10, 0), (1, 0, 0)), False, False),
        (((1, 0, 0), (1, 10, 1)), True, True),
        (((3, 30, 3), (1, 10, 1)), False, True),
        (((3, 10, 1), (1, 10, 1)), True, False),
        (((1, 10, 5), (0, 0, 0)), False, False),
    ],
)
def test_what_is_ready_is_outdated_when_half_of_it_belongs_elsewhere(
    each: tuple[tuple[int, int, int], ...], by_weight: bool, by_count: bool
) -> None:
    assert WeightedLeastConnections(setup()).is_outdated(with_ready(*each)) is by_weight
    assert LeastConnections(setup()).is_outdated(with_ready(*each)) is by_count


@BOTH
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50)), min_size=1, max_size=6), st.integers(0, 40))
def test_what_was_just_picked_is_not_outdated(scheduler: type[Either], each: list[tuple[int, int]], count: int) -> None:
    candidates = with_ready(*((weight, opened, 0) for weight, opened in each))
    made = scheduler(setup())
    for number in range(count):
        if picked := made.pick(candidates, client_key(number), 0.0):
            picked.load += OPEN
            picked.ready += 1
    assert not made.is_outdated(candidates)
