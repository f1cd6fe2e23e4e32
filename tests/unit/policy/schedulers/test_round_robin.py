"""round_robin.py: every real server in turn, none that drains, whoever the client is."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.schedulers.round_robin import RoundRobin, WeightedRoundRobin
from appliance.policy.schedulers.slow_start import SlowStart
from tests.support.candidates import client_key, picks, servers, setup

WEIGHTS = st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_everybody_gets_the_same_and_drained_ones_nothing(weights: list[int]) -> None:
    open_ones = [index for index, weight in enumerate(weights) if weight]
    times = 3 * max(1, len(open_ones))
    assert picks(RoundRobin(setup()), servers(*weights), times) == (open_ones * 3 if open_ones else [None] * 3)


@pytest.mark.parametrize("scheduler", [RoundRobin, WeightedRoundRobin])
def test_without_real_servers(scheduler: type[RoundRobin | WeightedRoundRobin]) -> None:
    assert scheduler(setup()).pick(servers(), client_key(0), 0.0) is None


def test_it_goes_on_from_its_place_when_real_servers_come_and_go() -> None:
    scheduler, candidates = RoundRobin(setup()), servers(1, 1, 1)
    assert picks(scheduler, candidates, 2) == [0, 1]
    assert picks(scheduler, candidates[:1], 1) == [0]
    assert picks(scheduler, candidates, 1) == [1]


@pytest.mark.parametrize("scheduler", [RoundRobin, WeightedRoundRobin])
def test_shards_begin_at_different_real_servers(scheduler: type[RoundRobin | WeightedRoundRobin]) -> None:
    firsts = [picks(scheduler(setup(shard)), servers(1, 1, 1, 1), 1)[0] for shard in range(8)]
    assert firsts == [0, 1, 2, 3, 0, 1, 2, 3]


@given(WEIGHTS, st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_over_all_shards_nobody_is_a_session_for_each_shard_away_from_his_share(weights: list[int], times: list[int]) -> None:
    candidates = servers(*weights)
    taken = [index for shard, number in enumerate(times) for index in picks(WeightedRoundRobin(setup(shard)), candidates, number)]
    for index, weight in enumerate(weights):
        assert abs(taken.count(index) - Fraction(len(taken) * weight, sum(weights))) < len(times)


def test_another_weight_is_in_force_at_the_next_pick() -> None:
    scheduler, candidates = WeightedRoundRobin(setup()), servers(1, 1)
    assert picks(scheduler, candidates, 3) == [0, 1, 0]
    candidates[0].weight = 0
    assert picks(scheduler, (*candidates,), 3) == [1, 1, 1]


@pytest.mark.parametrize("scheduler", [RoundRobin, WeightedRoundRobin])
def test_one_that_has_come_back_gets_its_share_by_and_by(scheduler: type[RoundRobin | WeightedRoundRobin]) -> None:
    candidates, made = servers(1, 1), scheduler(setup())
    candidates[1].slow_start = SlowStart(100.0, 10.0)
    shares = [picks(made, candidates, 1000, now).count(1) for now in (100.0, 105.0, 110.0)]
    assert shares[0] == pytest.approx(10, abs=2)
    assert shares[1] == pytest.approx(336, abs=5), "half of its turns: a third of all sessions"
    assert shares[2] == 500


@pytest.mark.parametrize("scheduler", [RoundRobin, WeightedRoundRobin])
def test_when_all_have_come_back_none_is_spared(scheduler: type[RoundRobin | WeightedRoundRobin]) -> None:
    candidates, made = servers(1, 1), scheduler(setup())
    for candidate in candidates:
        candidate.slow_start = SlowStart(100.0, 10.0)
    taken = picks(made, candidates, 100, now=100.0)
    assert None not in taken
    assert abs(taken.count(0) - 50) <= 10
