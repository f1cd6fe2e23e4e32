"""policy/schedulers/round_robin.py: each real server in turn, whatever its weight is."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.schedulers.round_robin import RoundRobin


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_round_robin_gives_everybody_the_same_and_drained_ones_nothing(weights: list[int]) -> None:
    scheduler = RoundRobin()
    open_ones = [index for index, weight in enumerate(weights) if weight]
    picks = [scheduler.pick(weights) for _ in range(3 * max(1, len(open_ones)))]
    assert picks == (open_ones * 3 if open_ones else [None] * 3)


def test_round_robin_without_real_servers() -> None:
    assert RoundRobin().pick([]) is None
