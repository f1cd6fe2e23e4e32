"""pace.py: how many checks may begin."""

import pytest

from appliance.health.pace import Pace


def begun_within(pace: Pace, start: float, seconds: float, look_s: float, wanted: int) -> int:
    """How many begin when `wanted` are due at each look."""
    total, now = 0, start
    while now < start + seconds:
        count = min(wanted, pace.allowed(now))
        pace.begun(count)
        total += count
        now += look_s
    return total


@pytest.mark.parametrize("look_s", [0.001, 0.005, 0.02])
def test_no_more_begin_than_the_pace_however_often_it_is_looked(look_s: float) -> None:
    assert begun_within(Pace(50.0, 1000.0), 50.0, 10.0, look_s, 10_000) == pytest.approx(10_000, rel=0.02)


def test_few_begin_at_once() -> None:
    assert begun_within(Pace(50.0, 1000.0), 50.0, 10.0, 0.005, 1) == 2000


def test_what_was_not_begun_is_not_made_up_for() -> None:
    pace = Pace(50.0, 1000.0)
    assert pace.allowed(1000.0) == 50


def test_a_slow_pace_lets_one_begin() -> None:
    pace = Pace(50.0, 0.5)
    assert pace.allowed(50.0) == 1
    pace.begun(1)
    assert pace.allowed(51.0) == 0
    assert pace.allowed(52.0) == 1
