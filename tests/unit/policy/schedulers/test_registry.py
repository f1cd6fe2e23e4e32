"""registry.py: what every scheduler promises, whatever its name."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.schedulers.registry import SCHEDULERS


class RealServer(NamedTuple):
    """A candidate."""

    weight: int
    endpoint: bytes


@pytest.mark.parametrize("name", SCHEDULERS)
@given(weights=st.lists(st.integers(0, 3), max_size=6), client_keys=st.lists(st.binary(min_size=12, max_size=12), max_size=9))
def test_a_pick_is_a_candidate_with_a_weight_and_there_is_one_whenever_there_can_be(
    name: str, weights: list[int], client_keys: list[bytes]
) -> None:
    scheduler = SCHEDULERS[name]()
    candidates = [RealServer(weight, bytes((192, 0, 2, 101 + number, 0, 80))) for number, weight in enumerate(weights)]
    for client_key in client_keys:
        picked = scheduler.pick(candidates, client_key)
        assert (picked is not None) == any(weights)
        assert picked is None or (picked.weight > 0 and picked in candidates)
