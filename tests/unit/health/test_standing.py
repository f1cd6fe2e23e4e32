"""standing.py: a state changes after so many answers in a row, and never otherwise."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.health.answer import Answer, Outcome, failed, passed, undecided
from appliance.health.check import Check
from appliance.health.standing import JITTER, Standing, first_wait_s
from tests.unit.health.conftest import CHECK

GOOD, BAD, NONE = passed("fine"), failed("refused"), undecided("no descriptor")
ANSWERS = {"+": GOOD, "-": BAD, "?": NONE}


def states(answers: str, check: Check = CHECK, *, is_up: bool = True) -> str:
    """The state after each answer: u for up, d for down."""
    standing, seen = Standing(0.0, is_up=is_up), ""
    for now, kind in enumerate(answers):
        before = standing.is_up
        changed = standing.take(ANSWERS[kind], check, float(now))
        assert changed == (before != standing.is_up)
        seen += "u" if standing.is_up else "d"
    return seen


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("---", "uud"),
        ("--+--+--+", "uuuuuuuuu"),
        ("---++", "uuddu"),
        ("---+-+-++", "uuddddddu"),
        ("--?-", "uuud"),
        ("---+?+", "uudddu"),
        ("??????", "uuuuuu"),
        ("+++---", "uuuuud"),
    ],
)
def test_it_takes_fall_failures_in_a_row_and_rise_successes_in_a_row(answers: str, expected: str) -> None:
    assert states(answers) == expected


def test_one_is_enough_where_the_check_says_so() -> None:
    assert states("-+-", replace(CHECK, rise=1, fall=1)) == "dud"


def test_one_that_was_down_in_the_run_before_is_down_until_it_has_risen() -> None:
    assert states("++", is_up=False) == "du"


def test_one_that_was_never_checked_is_up() -> None:
    assert Standing(0.0).is_up


def expected_states(answers: list[str], rise: int, fall: int) -> list[bool]:
    """The same, from the definition: the state is that of the last run of equal answers that was long enough."""
    states, is_up = list[bool](), True
    for end in range(1, len(answers) + 1):
        heard = [answer for answer in answers[:end] if answer != "?"]
        if heard[-fall:] == ["-"] * fall:
            is_up = False
        elif heard[-rise:] == ["+"] * rise:
            is_up = True
        states.append(is_up)
    return states


@given(st.lists(st.sampled_from("+-?"), max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_the_state_is_that_of_the_last_run_that_was_long_enough(answers: list[str], rise: int, fall: int) -> None:
    found = states("".join(answers), replace(CHECK, rise=rise, fall=fall))
    assert [state == "u" for state in found] == expected_states(answers, rise, fall)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(2, 5))
def test_lost_checks_that_do_not_follow_each_other_never_mark_down(gaps: list[int], fall: int) -> None:
    """However many there are, as with one lost check an hour for a year."""
    answers = "".join("-" + "+" * gap for gap in gaps)
    assert "d" not in states(answers, replace(CHECK, fall=fall))


@given(st.lists(st.sampled_from("+-?"), max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_whatever_was_before_one_that_answers_is_taken_back(answers: list[str], rise: int, fall: int) -> None:
    assert states("".join(answers) + "+" * rise, replace(CHECK, rise=rise, fall=fall))[-1] == "u"


def test_the_next_check_is_sooner_while_the_state_may_change() -> None:
    standing = Standing(0.0)
    assert standing.wait_s(CHECK, 0.0) == 0.5, "nobody has asked it yet"
    standing.take(GOOD, CHECK, 1.0)
    assert standing.wait_s(CHECK, 0.0) == 2.0
    standing.take(BAD, CHECK, 2.0)
    assert standing.wait_s(CHECK, 0.0) == 0.5
    for _ in range(2):
        standing.take(BAD, CHECK, 3.0)
    assert not standing.is_up
    assert standing.wait_s(CHECK, 0.0) == 2.0, "one that is down for long is not asked more often"
    standing.take(GOOD, CHECK, 4.0)
    assert standing.wait_s(CHECK, 0.0) == 0.5


@given(st.floats(0, 1))
def test_chance_only_brings_a_check_forward(chance: float) -> None:
    standing = Standing(0.0)
    standing.take(GOOD, CHECK, 0.0)
    assert 2.0 * (1 - JITTER) <= standing.wait_s(CHECK, chance) <= 2.0
    assert 0.0 <= first_wait_s(CHECK, chance) <= 2.0


def test_one_that_its_traffic_found_dead_is_tried_again() -> None:
    standing = Standing(0.0)
    assert standing.condemn(BAD, 10.0, 40.0)
    assert (standing.is_up, standing.since) == (False, 10.0)
    assert not standing.condemn(BAD, 11.0, 41.0), "it is down already"
    assert not standing.try_again(39.9)
    assert standing.try_again(40.0)
    assert (standing.is_up, standing.since) == (True, 40.0)
    assert not standing.try_again(100.0)


def test_one_that_a_check_has_marked_down_is_not_tried_again_by_time() -> None:
    standing = Standing(0.0)
    for _ in range(3):
        standing.take(BAD, CHECK, 0.0)
    assert not standing.try_again(1e9)


def test_words_of_others_are_one_line_and_not_long() -> None:
    said = failed("a\nb\x1b[31m" + "x" * 500)
    assert said == Answer(Outcome.FAILED, "a?b?[31m" + "x" * 191 + "…")
    assert len(said.words) == 200
