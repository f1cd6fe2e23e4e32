"""wire/seq.py: sequence numbers on a circle of 2**32 (RFC 9293, 3.4)."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.wire import seq


@given(st.integers(0, seq.MASK), st.integers(1, seq.HALF - 1))
def test_sequence_numbers_wrap(start: int, step: int) -> None:
    later = seq.add(start, step)
    assert seq.is_before(start, later)
    assert not seq.is_before(later, start)
    assert seq.add(later, -step) == start
