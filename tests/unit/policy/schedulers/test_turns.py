"""turns.py: everybody has his share at every moment."""

from fractions import Fraction
from functools import reduce
from math import gcd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.schedulers.turns import Turns

WEIGHTS = st.lists(st.integers(0, 12), min_size=1, max_size=7).filter(any)


@given(WEIGHTS, st.integers(0, 6))
def test_nobody_is_a_whole_turn_away_from_his_share_at_any_moment(weights: list[int], first: int) -> None:
    turns, had = Turns(weights, first), [0] * len(weights)
    for taken in range(1, 2 * sum(weights) + 1):
        had[turns.take()] += 1
        for index, weight in enumerate(weights):
            assert abs(had[index] - Fraction(taken * weight, sum(weights))) < 1


@given(WEIGHTS, st.integers(0, 6), st.integers(0, 30))
def test_each_round_wherever_it_begins_is_exact(weights: list[int], first: int, before: int) -> None:
    common = reduce(gcd, weights)
    turns = Turns(weights, first)
    for _ in range(before):
        turns.take()
    one_round = [turns.take() for _ in range(sum(weights) // common)]
    assert [one_round.count(index) for index in range(len(weights))] == [weight // common for weight in weights]


def test_turns_are_interleaved() -> None:
    turns = Turns([40, 40, 20])
    assert [turns.take() for _ in range(10)] == [0, 1, 0, 1, 2, 0, 1, 0, 1, 2]
    heavy = Turns([5, 1, 1])
    assert [heavy.take() for _ in range(7)] == [0, 0, 0, 1, 0, 0, 2]


def test_equal_ones_begin_with_the_one_that_is_said() -> None:
    turns = Turns([3, 3, 3], first=2)
    assert [turns.take() for _ in range(6)] == [2, 0, 1, 2, 0, 1]


def test_nobody_has_a_turn() -> None:
    with pytest.raises(IndexError):
        Turns([0, 0]).take()


def test_a_thousand_with_very_different_weights() -> None:
    weights = [65535, *[1] * 999]
    turns = Turns(weights)
    taken = [turns.take() for _ in range(sum(weights))]
    assert taken.count(0) == 65535
    assert set(taken) == set(range(1000))
