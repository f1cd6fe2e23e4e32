"""limits.py: who takes the sessions that another real server has no room for."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.limits import next_best
from tests.support.candidates import client_key, servers


def test_nobody_takes_it_when_there_is_nobody() -> None:
    assert next_best([], client_key(1)) is None
    assert next_best(servers(0, 0), client_key(1)) is None


def test_it_is_spread_over_all_by_their_weights() -> None:
    """Not handed to the next in the row, which would have the load of two."""
    all_of_them = servers(40, 40, 20, 0)
    taken = Counter(next_best(all_of_them, client_key(number)) for number in range(5000))
    assert [round(taken[server] / 5000, 1) for server in all_of_them] == [0.4, 0.4, 0.2, 0.0]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 1 << 16))
def test_the_same_client_is_taken_by_the_same_one_as_long_as_that_has_room(weights: list[int], number: int) -> None:
    all_of_them = servers(*weights)
    taken = next_best(all_of_them, client_key(number))
    assert (taken is None) == (not any(weights))
    if taken is not None:
        assert taken.weight > 0
        assert next_best(all_of_them[::-1], client_key(number)) is taken
        for gone in all_of_them:
            if gone is not taken:
                assert next_best([server for server in all_of_them if server is not gone], client_key(number)) is taken
