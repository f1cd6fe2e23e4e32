"""error_window.py: when the errors of a real server are too many."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.health.error_window import ErrorWindow


def window(limit: int = 3, within_s: float = 10.0) -> ErrorWindow:
    return ErrorWindow(limit, within_s)


def test_one_error_is_never_too_many() -> None:
    errors = window(2)
    for moment in range(0, 1000, 11):
        errors.add(moment, 1, 0, 1)
        assert not errors.has_many


def test_errors_of_both_kinds_count_together() -> None:
    errors = window()
    errors.add(0.0, 1, 1, 2)
    assert errors.counts == (1, 1, 2)
    errors.add(1.0, 0, 1, 1)
    assert errors.has_too_many
    assert errors.counts == (1, 2, 3)


def test_errors_that_are_too_old_do_not_count() -> None:
    errors = window()
    errors.add(0.0, 2, 0, 2)
    errors.add(9.9, 0, 0, 0)
    assert errors.counts == (2, 0, 2)
    errors.add(10.0, 1, 0, 1)
    assert errors.counts == (1, 0, 1)
    errors.add(20.0, 0, 0, 5)
    assert not errors


def test_a_real_server_that_serves_most_of_its_sessions_has_many_errors_and_not_too_many() -> None:
    errors = window()
    errors.add(0.0, 3, 0, 6)
    assert errors.has_too_many, "half of them"
    errors.add(0.1, 0, 0, 1)
    assert errors.has_many
    assert not errors.has_too_many


def test_sessions_before_the_first_error_prove_nothing() -> None:
    errors = window()
    errors.add(0.0, 0, 0, 1000)
    errors.add(1.0, 3, 0, 3)
    assert errors.has_too_many


def test_it_begins_anew() -> None:
    errors = window()
    errors.add(0.0, 3, 0, 3)
    errors.clear()
    assert errors.counts == (0, 0, 0)


LOOKS = st.lists(st.tuples(st.floats(0, 5), st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)), max_size=60)


@given(LOOKS, st.integers(2, 9), st.floats(1, 20))
def test_it_never_counts_an_error_twice_and_forgets_none_before_its_time(
    looks: list[tuple[float, int, int, int]], limit: int, within_s: float
) -> None:
    """An error counts for at least the time less a slice of it, and for no longer than the time."""
    errors, now, history = window(limit, within_s), 0.0, []
    for pause, refused, unanswered, opened in looks:
        now += pause
        errors.add(now, refused, unanswered, opened)
        history.append((now, refused + unanswered))
        counted = sum(errors.counts[:2])
        surely = sum(number for moment, number in history if moment > now - within_s * 19 / 20 + 1e-9)
        possibly = sum(number for moment, number in history if moment > now - within_s)
        assert surely <= counted <= possibly
        assert errors.has_many == (counted >= limit)
        assert len(errors._slices) <= 21
