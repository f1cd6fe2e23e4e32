"""top/pace.py: what one `top` asks for is bounded, whatever the size of the gateway."""

import pytest

from appliance.top.pace import BYTES_PER_S, COUNT_PAUSE_S, INTERVALS_S, Pace


def test_short_answers_are_asked_for_as_often_as_the_user_wants() -> None:
    pace = Pace(1.0)
    assert pace.next_round_s() < 0, "at once"
    pace.begin(100.0)
    pace.answered(2000)
    pace.answered(3000)
    assert pace.next_round_s() == 101.0


def test_long_answers_put_the_next_round_off_by_their_length_together() -> None:
    pace = Pace(1.0)
    pace.begin(100.0)
    pace.answered(3 * BYTES_PER_S)
    pace.answered(2 * BYTES_PER_S)
    assert pace.next_round_s() == 105.0
    pace.begin(105.0)
    pace.answered(10)
    assert pace.next_round_s() == 106.0, "and only that one"


@pytest.mark.parametrize(("took_s", "pause_s"), [(0.0, COUNT_PAUSE_S), (0.125, 10.0), (1.0, 50.0)])
def test_clients_are_counted_every_ten_seconds_and_for_a_fiftieth_of_the_time_at_most(took_s: float, pause_s: float) -> None:
    pace = Pace(0.5)
    assert pace.may_count(7.0)
    pace.counted(7.0, 7.0 + took_s)
    assert not pace.may_count(7.0 + took_s + pause_s - 0.125)
    assert pace.may_count(7.0 + took_s + pause_s)


def test_the_interval_moves_by_steps_and_not_beyond_the_ends() -> None:
    pace = Pace(1.0)
    seen = [pace.interval_s]
    for steps in (1, 1, -1, -1, -1, -1):
        pace.change(steps)
        seen.append(pace.interval_s)
    assert seen == [1.0, 2.0, 5.0, 2.0, 1.0, 0.5, 0.5]
    pace.change(100)
    assert pace.interval_s == INTERVALS_S[-1]


def test_an_interval_between_two_steps_moves_from_the_nearest() -> None:
    pace = Pace(1.4)
    pace.change(1)
    assert pace.interval_s == 2.0
