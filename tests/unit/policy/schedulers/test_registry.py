"""registry.py: what every scheduler promises, whatever its name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.schedulers.registry import BY_ADDRESS, SCHEDULERS
from appliance.policy.schedulers.slow_start import SlowStart
from tests.support.candidates import client_key, picks, servers, setup

CHANGES = st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=6), st.integers(0, 5)), max_size=4)


@pytest.mark.parametrize("name", SCHEDULERS)
@given(changes=CHANGES, shard=st.integers(0, 63), slow=st.booleans())
def test_a_pick_is_a_candidate_with_a_weight_and_there_is_one_whenever_there_can_be(
    name: str, changes: list[tuple[list[int], int]], shard: int, slow: bool
) -> None:
    scheduler = SCHEDULERS[name](setup(shard, places=251))
    for weights, times in changes:
        candidates = servers(*weights)
        for candidate in candidates if slow else ():
            candidate.slow_start = SlowStart(0.0, 10.0)
        for number in range(times):
            picked = scheduler.pick(candidates, client_key(number), 0.0)
            assert (picked is not None) == any(weights)
            assert picked is None or (picked.weight > 0 and picked in candidates)


@pytest.mark.parametrize("name", sorted(BY_ADDRESS))
def test_those_by_address_look_at_nothing_else(name: str) -> None:
    scheduler, candidates = SCHEDULERS[name](setup()), servers(*[1] * 10)
    ports = (client_key(7, port) for port in range(1024, 1124))
    assert len({scheduler.pick(candidates, key, 0.0) for key in ports}) == 1
    assert len(set(picks(scheduler, candidates, 100))) == 10


@pytest.mark.parametrize("name", sorted(set(SCHEDULERS) - BY_ADDRESS))
def test_the_others_do_not_look_at_the_address(name: str) -> None:
    candidates = servers(1, 1, 1)
    scheduler = SCHEDULERS[name](setup())
    same = [scheduler.pick(candidates, client_key(7), 0.0) for _ in range(3)]
    assert set(same) == set(candidates)
