"""history.py: what rises, what will be full, who is silent."""

import pytest

from appliance.doctor.facts import ServerCounts
from appliance.doctor.history import Rise, counted, duration, held_ports, risen, seconds_until, tcp_ext, unanswered
from tests.support.patient import sample


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([(0, 5), (10, 5)], Rise(0, 10)),
        ([(0, 5), (10, 8)], Rise(3, 10)),
        ([(0, 5), (10, 2)], Rise(0, 10)),
        ([(0, 5), (40, 7), (100, 8)], Rise(1, 60)),
        ([(0, 5), (39.9, 7), (100, 8)], Rise(0, 0)),
    ],
)
def test_a_counter_rises_within_the_last_minute(numbers: list[tuple[float, int]], expected: Rise) -> None:
    """A minute is sixty seconds, and no more; a counter that was reset has not risen."""
    assert risen([sample(at_s, counts={"it": number}) for at_s, number in numbers], counted("it")) == expected


def test_a_longer_time_can_be_asked_for() -> None:
    samples = [sample(at_s, counts={"it": int(at_s)}) for at_s in (0, 50, 100)]
    assert risen(samples, counted("it"), 100) == Rise(100, 100)


def test_what_a_sample_does_not_have_is_zero() -> None:
    assert tcp_ext("it")(sample(0)) == counted("it")(sample(0)) == 0
    assert tcp_ext("a", "b")(sample(0, tcp_ext={"a": 1, "b": 2, "c": 4})) == 3


def test_a_rise_says_how_fast_it_is() -> None:
    assert (Rise(3, 30).per_s, Rise(3, 0).per_s) == (0.1, 0.0)
    assert str(Rise(3, 30.4)) == "3 more in 30 s"


def until(values: list[float], limit: float, step_s: float = 30) -> float | None:
    samples = [sample(place * step_s, sessions=int(value)) for place, value in enumerate(values)]
    return seconds_until(samples, lambda one: one.sessions, limit)


@pytest.mark.parametrize(
    ("values", "limit", "seconds"),
    [
        ([0, 30, 60], 120, 60),
        ([0, 30, 60], 60, 0),
        ([0, 30, 60], 30, 0),
        ([0, 0, 0], 100, None),
        ([60, 30, 0], 100, None),
        ([0, 100, 100], 1000, None),
        ([0, 75, 100], 1000, 540),
        ([0, 76, 100], 1000, None),
        ([0, 1, 2], 2882, 86_400),
        ([0, 1, 2], 2883, None),
    ],
)
def test_a_forecast_needs_steady_growth(values: list[float], limit: float, seconds: float | None) -> None:
    """The second half is at least half as fast as all of it; and nobody is told what happens in more than a day."""
    assert until(values, limit) == seconds


def test_a_forecast_needs_a_minute() -> None:
    assert until([0, 30, 60], 120, step_s=30) == 60
    assert until([0, 30, 60], 120, step_s=29.9) is None


@pytest.mark.parametrize(
    ("seen", "sessions"),
    [
        ([(0, 0, 0), (10, 4, 0), (20, 6, 0)], 4),
        ([(0, 0, 0), (10, 4, 1), (20, 6, 1)], 0),
        ([(0, 0, 0), (10, 4, 1), (20, 6, 1), (30, 6, 1)], 2),
        ([(0, 0, 0), (10, 4, 0), (20, 6, 1)], 0),
        ([(0, 0, 0), (10, 4, 0), (12.9, 9, 0)], 0),
        ([(0, 0, 0), (10, 4, 0), (13, 9, 0)], 4),
        ([(0, 9, 5), (10, 4, 5), (20, 4, 5)], 0),
    ],
)
def test_a_silent_real_server_is_one_that_has_had_time_to_answer(seen: list[tuple[float, int, int]], sessions: int) -> None:
    samples = [sample(at_s, [ServerCounts(0, 0, 0, 0), ServerCounts(conns, packets, 0, 0)]) for at_s, conns, packets in seen]
    assert unanswered(samples, 1) == sessions
    assert unanswered(samples, 7) == 0


@pytest.mark.parametrize(("time_wait", "all_inactive", "held"), [(0, 8, 10), (8, 8, 2), (4, 8, 6), (9, 8, 2), (5, 0, 10)])
def test_ports_of_time_wait_are_not_held(time_wait: int, all_inactive: int, held: float) -> None:
    assert held_ports(ServerCounts(0, 0, 2, 8), time_wait, all_inactive) == held


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (2400, "40 minutes"),
        (7199, "120 minutes"),
        (7200, "2 hours"),
        (172_800, "2 days"),
    ],
)
def test_a_time_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
