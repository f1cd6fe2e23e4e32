"""round_robin.py: every real server in turn, none that drains, whoever the client is."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.schedulers.round_robin import RoundRobin


class RealServer(NamedTuple):
    """A candidate."""

    weight: int
    endpoint: bytes


def real_servers(weights: list[int]) -> list[RealServer]:
    return [RealServer(weight, bytes((192, 0, 2, 101 + number, 0, 80))) for number, weight in enumerate(weights)]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.binary(min_size=12, max_size=12))
def test_everybody_gets_the_same_and_drained_ones_nothing(weights: list[int], client_key: bytes) -> None:
    scheduler, candidates = RoundRobin(), real_servers(weights)
    open_ones = [candidate for candidate in candidates if candidate.weight]
    picks = [scheduler.pick(candidates, client_key) for _ in range(3 * max(1, len(open_ones)))]
    assert picks == (open_ones * 3 if open_ones else [None] * 3)


def test_without_real_servers() -> None:
    assert RoundRobin().pick(real_servers([]), bytes(12)) is None


def test_it_goes_on_from_its_place_when_real_servers_come_and_go() -> None:
    scheduler, (first, second, third) = RoundRobin(), real_servers([1, 1, 1])
    assert [scheduler.pick([first, second, third], bytes(12)) for _ in range(2)] == [first, second]
    assert scheduler.pick([first], bytes(12)) is first
    assert scheduler.pick([first, second, third], bytes(12)) is second
