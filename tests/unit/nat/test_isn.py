"""nat/isn.py: initial numbers that only grow, for each tuple of addresses and ports separately, and that nobody can foresee."""

from array import array
from collections import Counter
from itertools import pairwise
from struct import pack

from hypothesis import given
from hypothesis import strategies as st

from appliance.nat.isn import CHOICE_SHIFT, LEAST_STEP, STEP_RANGE, IsnSource, drawn_steps
from appliance.nat.lport import LocalPorts
from appliance.wire.seq import is_before

KEY = bytes(range(12))
SOURCE = IsnSource(b"secret")

keys, numbers = st.binary(min_size=12, max_size=12), st.integers(0, 2**32 - 1)


@given(keys, numbers)
def test_the_following_connection_starts_beyond_a_whole_receive_window(key: bytes, last_seq: int) -> None:
    following = SOURCE.following(key, last_seq)
    assert is_before(last_seq, following)
    assert 64 << 20 <= LEAST_STEP <= (following - last_seq) % 2**32 < LEAST_STEP + STEP_RANGE < 2**31


@given(keys, st.floats(0, 1e7), st.floats(0.001, 130))
def test_first_numbers_grow_with_the_clock_for_longer_than_time_wait(key: bytes, now: float, later_s: float) -> None:
    """This holds after a restart as well, which keeps the secret, for longer than the two minutes of TIME_WAIT."""
    before, after = IsnSource(b"secret").first(key, now), IsnSource(b"secret").first(key, now + later_s)
    assert is_before(before, after)


def test_tuples_and_secrets_have_numbers_of_their_own() -> None:
    numbers = {SOURCE.first(KEY, 5.0), SOURCE.first(KEY[::-1], 5.0), IsnSource(b"other").first(KEY, 5.0)}
    assert len(numbers) == 3


def test_whoever_knows_all_earlier_numbers_of_a_tuple_cannot_foresee_the_next_step() -> None:
    """The steps of 4,000 connections on one tuple: each sixteenth of the range gets its share, no step comes twice in a row, and
    neither the step before nor the same place on another tuple tells it."""
    last_seq, steps, others = 7, [], []
    for _ in range(4000):
        following = SOURCE.following(KEY, last_seq)
        steps.append((following - last_seq) % 2**32 - LEAST_STEP)
        others.append((SOURCE.following(KEY[::-1], last_seq) - last_seq) % 2**32 - LEAST_STEP)
        last_seq = following
    assert_even(steps)
    assert_even([(step - before) % STEP_RANGE for before, step in pairwise(steps)])
    assert_even([(step - other) % STEP_RANGE for step, other in zip(steps, others, strict=True)])


words = st.integers(0, 2**32 - 1)


@given(st.lists(words, max_size=600))
def test_drawn_steps_are_in_the_same_range_and_have_a_choice_above_it(drawn: list[int]) -> None:
    steps = drawn_steps(pack(f"={len(drawn)}I", *drawn))
    assert [step % (1 << CHOICE_SHIFT) for step in steps] == [LEAST_STEP + word % STEP_RANGE for word in drawn]
    assert [step >> CHOICE_SHIFT for step in steps] == [word >> CHOICE_SHIFT for word in drawn]


def test_drawn_steps_use_all_of_the_range_and_all_choices() -> None:
    assert list(drawn_steps(bytes(4))) == [LEAST_STEP]
    assert drawn_steps(b"\xff" * 4)[0] % (1 << CHOICE_SHIFT) == LEAST_STEP + STEP_RANGE - 1
    ports = LocalPorts(array("i", range(1000, 2000)), b"key")
    drawn = [*drawn_steps(ports.draw(4 * 3000)), *drawn_steps(ports.draw(4 * 1000))]
    assert min(Counter(step >> CHOICE_SHIFT for step in drawn).values()) > 900
    steps = [step % (1 << CHOICE_SHIFT) - LEAST_STEP for step in drawn]
    assert len(set(steps)) > 3990
    assert_even(steps)
    assert_even([step % 1024 * (STEP_RANGE // 1024) for step in steps])
    assert_even([(step - before) % STEP_RANGE for before, step in pairwise(steps)])


def test_first_numbers_of_neighbouring_ports_tell_nothing_of_each_other() -> None:
    """A client of the gateway cannot see them. If it could, this would not help it with those of other clients."""
    firsts = [SOURCE.first(KEY[:4] + port.to_bytes(2, "big") + KEY[6:], 5.0) for port in range(5000, 9001)]
    assert_even([(after - before) % 2**32 * STEP_RANGE >> 32 for before, after in pairwise(firsts)])


def assert_even(drawn: list[int]) -> None:
    """Check that numbers below STEP_RANGE fall into sixteen equal parts, about equally often."""
    parts = Counter(number * 16 // STEP_RANGE for number in drawn)
    assert set(parts) == set(range(16))
    assert max(parts.values()) < 1.5 * len(drawn) / 16
    assert min(parts.values()) > 0.5 * len(drawn) / 16
