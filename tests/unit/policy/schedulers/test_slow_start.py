"""slow_start.py: a small share at first, and then all of it."""

import pytest

from appliance.policy.schedulers.slow_start import LEAST_SHARE, SlowStart


def test_the_share_grows_in_a_straight_line() -> None:
    slow_start = SlowStart(100.0, 10.0)
    assert slow_start.share(100.0) == LEAST_SHARE
    assert slow_start.share(105.0) == pytest.approx((1 + LEAST_SHARE) / 2)
    assert [slow_start.share(now) for now in (110.0, 1000.0)] == [1.0, 1.0]
    assert slow_start.share(99.0) == LEAST_SHARE, "a clock of a tick ago"


def test_the_turns_that_it_takes_are_its_share_and_evenly_spread() -> None:
    slow_start = SlowStart(100.0, 10.0)
    now = 100.0 + 10.0 * (0.25 - LEAST_SHARE) / (1 - LEAST_SHARE)
    taken = [slow_start.admits(now + 1e-9) for _ in range(12)]
    assert taken == [False, False, False, True] * 3
    assert all(slow_start.admits(110.0) for _ in range(5))
