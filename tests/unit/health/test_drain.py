"""drain.py: how many sessions end when, and what is written down for the next run."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.health.check import Target
from appliance.health.drain import LONGEST_DEADLINE_S, SLICE_S, SLICE_SESSIONS, SPREAD_S, Drain, as_rows, from_rows

WEB = Target("web", "192.0.2.101", 8080)
SLICES = round(SPREAD_S / SLICE_S)


def ended(count: int, chances: list[float]) -> list[int]:
    """How many of so many sessions end in each slice, until none is left."""
    drain, now = Drain(0.0, 0.0, ends_by=SPREAD_S), 0.0
    slices: list[int] = []
    while count:
        slices.append(drain.to_end(count, now, chances[len(slices) % len(chances)]))
        count -= slices[-1]
        now += SLICE_S
    return slices


@given(st.integers(1, 60_000), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=60))
def test_all_of_them_end_within_the_spread_in_bounded_slices(count: int, chances: list[float]) -> None:
    slices = ended(count, chances)
    assert sum(slices) == count
    assert max(slices) <= SLICE_SESSIONS
    if count <= SLICES * SLICE_SESSIONS // 2:
        assert len(slices) <= SLICES + 2
        assert max(slices) <= count / SLICES * 2 + 3, "never many of them in one moment"


def test_a_few_do_not_all_end_in_the_first_moment() -> None:
    chances = [0.1, 0.7, 0.3, 0.9, 0.5]
    slices = ended(5, chances)
    assert sum(1 for number in slices if number) == 5
    assert len(slices) > SLICES / 4


def test_nothing_ends_before_the_deadline_or_without_one() -> None:
    assert not Drain(0.0).is_due(1e9)
    assert not Drain(0.0, 5.0).is_due(4.9)
    assert Drain(0.0, 5.0).is_due(5.0)


times = st.floats(0, 1e6)


@given(st.dictionaries(st.sampled_from([WEB, Target("a b", "::1", 1)]), st.tuples(times, st.none() | times, st.booleans())))
def test_what_was_written_is_read_again(drawn: dict[Target, tuple[float, float | None, bool]]) -> None:
    drains = {
        target: Drain(began, None if after is None else began + after % LONGEST_DEADLINE_S, gone)
        for target, (began, after, gone) in drawn.items()
    }
    assert from_rows(json.loads(json.dumps(as_rows(drains))), 2e6) == drains


def test_one_of_another_boot_begins_now() -> None:
    assert from_rows([[*WEB, 5000.0, 5060.0, False]], 100.0) == {WEB: Drain(100.0, 160.0)}


@pytest.mark.parametrize(
    "rows",
    [
        None,
        {},
        [[]],
        [["web", "192.0.2.101", "8080", 1.0, None, False]],
        [["web", "192.0.2.101", 8080, 1.0, None]],
        [["web", "192.0.2.101", 8080, "1", None, False]],
        [["web", "192.0.2.101", 8080, 1.0, None, 0]],
        [["web", "192.0.2.101", 8080, float("nan"), None, False]],
        [["web", "192.0.2.101", 8080, float("inf"), float("inf"), False]],
        [["web", "192.0.2.101", 8080, 5.0, 4.0, False]],
        [["web", "192.0.2.101", 8080, 5.0, float("nan"), False]],
        [["web", "192.0.2.101", 8080, 5.0, 1e300, False]],
    ],
)
def test_anything_else_is_refused(rows: object) -> None:
    with pytest.raises(ValueError, match=r"drain|times|list"):
        from_rows(rows, 10.0)
