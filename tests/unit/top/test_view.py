"""top/view.py: which rows are shown in which order, and which columns fit."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.top.rows import ClientRow, DropRow, Row, ServerRow, ServiceRow, ShardRow
from appliance.top.text import ASCII, UNICODE, width_of
from appliance.top.view import BAD, HEAD, VIEWS, WARN, Order, View, arranged, body_line, fitting, head_line

SERVICES, SHARDS, SERVERS, DROPS, CLIENTS = VIEWS


def service(name: str, packets_per_s: float | None = 0.0, **more: Any) -> ServiceRow:
    row = ServiceRow(name, "TCP 203.0.113.10:80", 1.0, packets_per_s, 0.0, 0.0, 0, 0, "", None, 2, 2, [None, 1.0])
    return row._replace(**more)


ROWS: dict[str, Row] = {
    SERVICES.name: service("web"),
    SHARDS.name: ShardRow("0", "up", 1.0, 2.0, 3.0, 4.0, 5, 0.0, 0.99, 1, [1.0]),
    SERVERS.name: ServerRow("web", "192.0.2.101:8080", "down, backup", 1, 2, 3, 1.0, 2.0, 75.0, "refused"),
    DROPS.name: DropRow("no_session", 12.5, 100, "packets without a session", [12.5]),
    CLIENTS.name: ClientRow("198.51.100.7", 12345, 0.5),
}


def column(view: View, title: str) -> int:
    [place] = [place for place, column in enumerate(view.columns) if column.title == title]
    return place


def names(rows: list[Any]) -> list[str]:
    return [row.name for row in rows]


def text_of(pieces: Any) -> str:
    return "".join(piece.text for piece in pieces)


def test_numbers_are_sorted_from_the_greatest_unknown_ones_last_and_equal_ones_by_name() -> None:
    rows = [service("b", 5.0), service("d", None), service("a", 5.0), service("c", 9.0)]
    order = Order(column(SERVICES, "pkts/s"))
    assert names(arranged(SERVICES, rows, order, "")) == ["c", "a", "b", "d"]
    assert names(arranged(SERVICES, rows, order._replace(is_turned=True), "")) == ["a", "b", "c", "d"]


def test_texts_are_sorted_from_a_to_z() -> None:
    rows = [service("b"), service("c"), service("a")]
    order = Order(column(SERVICES, "service"))
    assert names(arranged(SERVICES, rows, order, "")) == ["a", "b", "c"]
    assert names(arranged(SERVICES, rows, order._replace(is_turned=True), "")) == ["c", "b", "a"]


def test_a_trend_is_sorted_by_its_latest_number() -> None:
    rows = [
        service("a", trend=[9.0, 1.0]),
        service("b", trend=[]),
        service("c", trend=[0.0, 3.0]),
        service("d", trend=[1.0, None]),
    ]
    assert names(arranged(SERVICES, rows, Order(column(SERVICES, "trend")), "")) == ["c", "a", "b", "d"]


@pytest.mark.parametrize("place", range(len(VIEWS)), ids=[view.name for view in VIEWS])
def test_each_view_can_be_sorted_by_each_of_its_columns(place: int) -> None:
    view = VIEWS[place]
    row: Any = ROWS[view.name]
    unknown = row._replace(**{name: None for name, value in row._asdict().items() if isinstance(value, float)})
    for number in range(len(view.columns)):
        assert len(arranged(view, [unknown, row, row], Order(number), "")) == 3


def test_a_filter_looks_into_all_texts_whatever_their_case_and_is_no_pattern() -> None:
    rows = [service("Web"), service("names", endpoint="UDP 203.0.113.53:53"), service("w.b")]
    order = Order(column(SERVICES, "service"))
    assert names(arranged(SERVICES, rows, order, "wEB")) == ["Web"]
    assert names(arranged(SERVICES, rows, order, "113.53")) == ["names"]
    assert names(arranged(SERVICES, rows, order, "w.b")) == ["w.b"]
    assert names(arranged(SERVICES, rows, order, "[bold")) == []


@given(st.integers(0, len(VIEWS) - 1), st.integers(80, 300), st.text(st.characters(codec=None), max_size=40), st.booleans())
def test_from_80_columns_on_each_line_fits_whatever_the_names_are(place: int, width: int, name: str, is_ascii: bool) -> None:
    view, signs = VIEWS[place], ASCII if is_ascii else UNICODE
    row: Any = ROWS[view.name]
    row = row._replace(**{field: name for field, value in row._asdict().items() if isinstance(value, str)})
    columns = fitting(view, [row], width)
    assert columns[0][0] is view.columns[0]
    for line in (head_line(view, columns, Order(0), signs), body_line(columns, row, signs)):
        assert width_of(text_of(line)) <= width
    assert not {"\x1b", "\n", "\x9b"} & set(text_of(body_line(columns, row, signs)))


def titles(view: View, width: int) -> list[str]:
    return [shown.title for shown, _ in fitting(view, [ROWS[view.name]], width)]


def test_a_wide_terminal_has_all_columns_and_80_have_what_matters() -> None:
    assert all(titles(view, 160) == [column.title for column in view.columns] for view in VIEWS)
    assert {"service", "new/s", "pkts/s", "in b/s", "out b/s", "sess", "half", "cookies", "lane", "trend"} == set(
        titles(SERVICES, 80)
    )
    assert {"shard", "queue", "lost/s", "cpu", "trend"} <= set(titles(SHARDS, 80))
    assert {"service", "real server", "state", "weight", "sess", "new/s", "last answer"} <= set(titles(SERVERS, 80))


def test_long_names_are_cut_off_only_where_there_is_no_room_for_them() -> None:
    row = service("a-name-of-thirty-places-or-more")
    assert body_line(fitting(SERVICES, [row], 80), row, ASCII)[0].text == "a-name-of-thirt~"
    wide = fitting(SERVICES, [row, service("b")], 160)
    assert body_line(wide, row, ASCII)[0].text == "a-name-of-thirty-places-or-more"
    assert sum(places for _, places in wide) + len(wide) - 1 == 160
    assert fitting(SERVICES, [row._replace(name="n" * 200)], 300)[0][1] == 60


def test_where_there_is_little_room_names_and_rates_stay() -> None:
    assert titles(SERVICES, 40) == ["service", "new/s", "pkts/s", "in b/s", "out b/s", "sess", "half"]


def test_a_line_has_names_at_the_left_numbers_at_the_right_and_says_what_is_wrong() -> None:
    row = service("web", 34_500.0, cookies="engaged", carried=0.97, sessions=1250)
    columns = fitting(SERVICES, [row], 80)
    line = body_line(columns, row, ASCII)
    assert text_of(line).split() == ["web", "1", "34.5k", "0", "0", "1.25k", "0", "engaged", "97%", "@"]
    assert {piece.style for piece in line if piece.text.strip() == "engaged"} == {WARN}
    shard = ROWS[SHARDS.name]
    busy = body_line(fitting(SHARDS, [shard], 80), shard, ASCII)
    assert {piece.style for piece in busy if piece.text == " 99%"} == {BAD}


def test_the_title_of_the_sorted_column_has_an_arrow() -> None:
    columns = fitting(SERVICES, [service("web")], 80)
    by_packets = Order(column(SERVICES, "pkts/s"))
    head = head_line(SERVICES, columns, by_packets, ASCII)
    assert "pkts/sv" in text_of(head)
    assert "pkts/s^" in text_of(head_line(SERVICES, columns, by_packets._replace(is_turned=True), ASCII))
    assert text_of(head_line(SERVICES, columns, Order(0), ASCII)).startswith("service^ ")
    assert {piece.style for piece in head if piece.text.strip()} == {HEAD}
