"""metrics/label.py: a label's value is bounded and can be written, and different names stay different."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.metrics.label import LONGEST_LABEL, label

TEXTS = st.text(st.characters(codec=None), max_size=3 * LONGEST_LABEL)


@given(TEXTS)
def test_any_text_becomes_a_value(text: str) -> None:
    value = label(text)
    assert len(value) <= LONGEST_LABEL
    value.encode()


@given(st.text(st.characters(codec="utf-8"), max_size=LONGEST_LABEL))
def test_a_short_one_stays_as_it_is(text: str) -> None:
    assert label(text) == text


def test_long_names_that_begin_alike_stay_different() -> None:
    begin = "x" * LONGEST_LABEL
    values = [label(begin + end) for end in ("", "a", "b")]
    assert len(set(values)) == 3
    assert values[0] == begin
    assert [len(value) for value in values] == [LONGEST_LABEL] * 3
    assert values[1][:100] == begin[:100]
