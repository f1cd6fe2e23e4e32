"""views/document.py: aligned columns and lines of JSON."""

import json

from hypothesis import given
from hypothesis import strategies as st

from appliance.views.document import align, json_pieces, to_json

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


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside, max_size=130) | st.dictionaries(st.text(), inside),
    max_leaves=200,
)


@given(_JSON)
def test_json_in_pieces_is_the_same_json(data: object) -> None:
    assert "".join(json_pieces(data)) == json.dumps(data)


def test_no_piece_of_a_long_list_is_long() -> None:
    data = {"services": [{"name": f"service-{number}"} for number in range(2000)], "version": "1"}
    assert max(map(len, json_pieces(data))) < 2000
