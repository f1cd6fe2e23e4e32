"""token_bucket.py, wire/seq.py and the queue counters' reader: small parts, each on one screen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.edge.queue_stats import QueueStats, parse
from appliance.state.token_bucket import TokenBucket
from appliance.wire import seq


@pytest.mark.parametrize(
    ("waits_s", "allowed"),
    [
        ([0, 0, 0], [True, True, False]),
        ([0, 0, 0.1, 0.1], [True, True, True, True]),
        ([0, 0, 0.05, 0.05], [True, True, False, True]),
        ([100, 0, 0], [True, True, False]),
    ],
)
def test_a_bucket_of_two_that_refills_ten_a_second(waits_s: list[float], allowed: list[bool]) -> None:
    bucket, now, answers = TokenBucket(per_s=10, burst=2, now=0.0), 0.0, []
    for wait_s in waits_s:
        now += wait_s + 1e-9
        answers.append(bucket.allow(now))
    assert answers == allowed


@given(st.integers(0, seq.MASK), st.integers(1, seq.HALF - 1))
def test_sequence_numbers_wrap(start: int, step: int) -> None:
    later = seq.add(start, step)
    assert seq.is_before(start, later)
    assert not seq.is_before(later, start)
    assert seq.add(later, -step) == start


def test_a_line_of_the_kernels_queue_table() -> None:
    assert parse("    3  16118     7 2  4016     5     9   211629  1") == (3, QueueStats(7, 5, 9))
