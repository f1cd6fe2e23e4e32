"""top/meter.py: rates from two samples, of counters that are reset, vanish and come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.top.meter import KEPT, Meter, share


def test_a_rate_is_the_difference_of_two_samples_by_the_time_between_them() -> None:
    meter = Meter[str](2)
    meter.sample(10.0, {"web": (100, 5)})
    assert meter.rates("web") == (None, None), "one sample says nothing"
    meter.sample(12.5, {"web": (350, 5)})
    assert meter.rates("web") == (100.0, 0.0)
    meter.sample(13.0, {"web": (351, 6)})
    assert meter.rates("web") == (2.0, 2.0)


def test_a_counter_that_went_down_makes_all_of_its_key_unknown_and_no_other() -> None:
    meter = Meter[str](2)
    meter.sample(1.0, {"web": (100, 5), "names": (1, 1)})
    meter.sample(2.0, {"web": (7, 9), "names": (3, 1)})
    assert meter.rates("web") == (None, None)
    assert meter.rates("names") == (2.0, 0.0)
    meter.sample(3.0, {"web": (8, 9), "names": (3, 1)})
    assert meter.rates("web") == (1.0, 0.0), "from then on it counts again"


def test_a_key_that_vanished_is_forgotten_and_begins_anew_when_it_comes_back() -> None:
    meter = Meter[str](1)
    meter.sample(1.0, {"web": (100,), "names": (0,)})
    meter.sample(2.0, {"names": (0,)})
    assert meter.rates("web") == (None,)
    assert meter.trend("web") == []
    meter.sample(3.0, {"web": (900,), "names": (0,)})
    assert meter.rates("web") == (None,), "what happened meanwhile is not known"
    assert meter.trend("web") == [None]


@pytest.mark.parametrize("at_s", [1.0, 0.5])
def test_a_sample_that_is_not_later_changes_nothing(at_s: float) -> None:
    meter = Meter[str](1)
    meter.sample(1.0, {"web": (100,)})
    meter.sample(at_s, {"web": (200,)})
    meter.sample(2.0, {"web": (110,)})
    assert meter.rates("web") == (10.0,)


def test_the_trend_has_the_latest_rates_and_a_gap_where_one_is_not_known() -> None:
    meter = Meter[str](2, lambda rates: rates[1])
    for second, count in enumerate((0, 4, 1, 3)):
        meter.sample(float(second), {"web": (9, count)})
    assert meter.trend("web") == [None, 4.0, None, 2.0]
    for second in range(10, 10 + 2 * KEPT):
        meter.sample(float(second), {"web": (9, 5 * second)})
    assert meter.trend("web") == [5.0] * KEPT, "and no more than that is kept"


def test_nothing_is_drawn_where_nothing_is_to_be() -> None:
    meter = Meter[str](1, None)
    meter.sample(1.0, {"web": (1,)})
    assert meter.trend("web") == []


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(0, 9), st.integers(0, 9))), max_size=8))
def test_no_rate_is_negative_and_the_keys_are_those_of_the_last_sample(samples: list[dict[str, tuple[int, int]]]) -> None:
    meter = Meter[str](2)
    for second, counts in enumerate(samples):
        meter.sample(float(second), counts)
    for key in "abc":
        assert all(rate is None or rate >= 0 for rate in meter.rates(key))
        assert bool(meter.trend(key)) == (bool(samples) and key in samples[-1])


@pytest.mark.parametrize(
    ("part", "whole", "expected"), [(None, 1.0, None), (1.0, None, None), (0.0, 0.0, None), (1.0, 4.0, 0.25), (5.0, 4.0, 1.0)]
)
def test_a_share_is_known_where_there_is_something(part: float | None, whole: float | None, expected: float | None) -> None:
    assert share(part, whole) == expected
