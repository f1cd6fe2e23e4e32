"""nat/isn.py: initial numbers that only grow, for each tuple of addresses and ports separately."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.nat.isn import STEP, IsnSource, following
from appliance.wire.seq import is_before

KEY = bytes(range(12))


@given(st.integers(0, 2**32 - 1))
def test_the_following_connection_starts_beyond_a_whole_receive_window(last_seq: int) -> None:
    assert is_before(last_seq, following(last_seq))
    assert (following(last_seq) - last_seq) % 2**32 == STEP >= 64 << 20


@given(st.binary(min_size=12, max_size=12), st.floats(0, 1e7), st.floats(0.001, 130))
def test_first_numbers_grow_with_the_clock_for_longer_than_time_wait(key: bytes, now: float, later_s: float) -> None:
    """This holds after a restart as well, which keeps the secret, for longer than the two minutes of TIME_WAIT."""
    before, after = IsnSource(b"secret").first(key, now), IsnSource(b"secret").first(key, now + later_s)
    assert is_before(before, after)


def test_tuples_and_secrets_have_numbers_of_their_own() -> None:
    source = IsnSource(b"secret")
    numbers = {source.first(KEY, 5.0), source.first(KEY[::-1], 5.0), IsnSource(b"other").first(KEY, 5.0)}
    assert len(numbers) == 3
