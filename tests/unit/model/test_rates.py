"""rates.py: the average by hand, and what it must never do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.rates import RateMeter


def test_first_sample_is_only_a_base_line() -> None:
    meter = RateMeter()
    assert not meter.rates.shards
    meter.sample(100.0, [[1_000_000, 5], [7, 0]])
    assert meter.rates.shards == ((0.0, 0.0), (0.0, 0.0))


def test_average_moves_by_a_quarter_of_the_difference() -> None:
    meter = RateMeter()
    meter.sample(10.0, [[500]])
    seen = []
    # 160 events in 2 s are 80/s: 0 + 80/4, 20 + 60/4, 35 + 45/4; then nothing for 2 s: 46.25 - 46.25/4.
    for now, total in ((12.0, 660), (14.0, 820), (16.0, 980), (18.0, 980)):
        meter.sample(now, [[total]])
        seen.append(meter.rates.shards[0][0])
    assert seen == [20.0, 35.0, 46.25, 34.6875]


def test_fields_and_shards_are_kept_apart() -> None:
    meter = RateMeter()
    meter.sample(0.0, [[0, 0], [0, 0]])
    meter.sample(2.0, [[8, 80], [800, 8000]])
    assert meter.rates.shards == ((1.0, 10.0), (100.0, 1000.0))


def test_late_sample_counts_by_the_time_that_passed() -> None:
    meter = RateMeter()
    meter.sample(0.0, [[0]])
    meter.sample(8.0, [[320]])
    assert meter.rates.shards == ((10.0,),)


@pytest.mark.parametrize("now", [5.0, 4.0])
def test_sample_without_time_passed_is_ignored(now: float) -> None:
    meter = RateMeter()
    meter.sample(5.0, [[0]])
    meter.sample(now, [[100]])
    assert meter.rates.shards == ((0.0,),)
    meter.sample(6.0, [[100]])
    assert meter.rates.shards == ((25.0,),)


def test_counter_that_was_reset_counts_as_no_event_and_goes_on_from_there() -> None:
    meter = RateMeter()
    meter.sample(0.0, [[1000]])
    meter.sample(2.0, [[0]])
    assert meter.rates.shards == ((0.0,),)
    meter.sample(4.0, [[16]])
    assert meter.rates.shards == ((2.0,),)


def test_another_shape_is_an_error() -> None:
    meter = RateMeter()
    meter.sample(0.0, [[1, 2]])
    with pytest.raises(ValueError):
        meter.sample(2.0, [[1, 2], [3, 4]])
    with pytest.raises(ValueError):
        meter.sample(2.0, [[1, 2, 3]])


@given(st.lists(st.tuples(st.just(0.0) | st.floats(0.001, 10.0), st.integers(0, 2**64 - 1)), min_size=1))
def test_rate_stays_between_zero_and_the_fastest_sample(samples: list[tuple[float, int]]) -> None:
    meter = RateMeter()
    now, before, sampled_at, fastest = 0.0, 0, 0.0, 0.0
    meter.sample(now, [[before]])
    for passed_s, total in samples:
        now += passed_s
        meter.sample(now, [[total]])
        if now > sampled_at:
            fastest = max(fastest, (total - before) / (now - sampled_at))
            before, sampled_at = total, now
        assert 0.0 <= meter.rates.shards[0][0] <= fastest
