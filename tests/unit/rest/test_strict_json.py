"""rest/strict_json.py: JSON from strangers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.rest.strict_json import parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=3), child, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_what_is_json_is_read(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"weight": 1, "weight": 2}', '"weight" stands twice in one object'),
        ('[{"a": {"b": 1, "c": 2, "b": 1}}]', '"b" stands twice in one object'),
        ('{"a": 1, "\\u0061": 1}', '"a" stands twice in one object'),
        (f'{{"{"x" * 100}": 1, "{"x" * 100}": 1}}', f'"{"x" * 80}" stands twice in one object'),
        ('{"value": NaN}', "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_what_python_alone_would_take_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_json(text)
    assert str(refused.value) == why


def test_the_same_name_in_two_objects_is_no_mistake() -> None:
    assert parse_json('[{"a": 1}, {"a": {"a": 2}}]') == [{"a": 1}, {"a": {"a": 2}}]
