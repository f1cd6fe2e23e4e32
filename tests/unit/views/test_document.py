"""views/document.py: aligned columns and lines of JSON."""

import json

from hypothesis import given
from hypothesis import strategies as st

from appliance.views.document import align, to_json

cells = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


@given(st.lists(st.tuples(cells, cells, cells), min_size=1))
def test_align_loses_no_cell_and_keeps_columns_in_line(rows: list[tuple[str, str, str]]) -> None:
    lines = align("<>>", rows).splitlines()
    assert [tuple(line.split()) for line in lines] == rows
    assert len({len(line) for line in lines}) == 1


def test_json_is_one_line() -> None:
    line = to_json({"a": [1, 2]})
    assert line.count("\n") == 1
    assert json.loads(line) == {"a": [1, 2]}
