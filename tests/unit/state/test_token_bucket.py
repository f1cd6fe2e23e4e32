"""state/token_bucket.py: a burst at once, and a rate in the long run."""

import pytest

from appliance.state.token_bucket import TokenBucket


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
