"""A view as data: its columns, how its rows are sorted and filtered, and which of its columns fit into a width. Pure."""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

from appliance.top import picture
from appliance.top.picture import Picture
from appliance.top.rows import Row
from appliance.top.text import Signs, clean, duration, fitted, percent, short, sparkline, width_of

GAP = 1
"""Places between two columns."""

_WIDEST = 60
"""Places of a text column, at most, also where there is more room."""

PLAIN, GOOD, WARN, BAD, DIM, HEAD = "", "good", "warn", "bad", "dim", "head"
"""What a text means; the terminal's part decides how that looks."""


class Piece(NamedTuple):
    """A text in one style."""

    text: str
    style: str = PLAIN


class Column(NamedTuple):
    """A column. A text column is at the left and as wide as its widest cell, up to `width`, and further where there is room;
    others are at the right and have exactly `width` places."""

    title: str
    field: str
    """Of the row; rows are sorted by it."""
    width: int
    cell: Callable[[Any], str] = short
    """What is shown of the field; it need not be clean."""
    rank: int = 0
    """Those with the highest rank are left out first where there is no room; those with 0 never."""
    is_text: bool = False
    grows: bool = False
    """Whether it takes the room that is left."""
    style: Callable[[Any], str] = lambda _: PLAIN
    """The style of a value."""
    is_trend: bool = False


class View(NamedTuple):
    """One of the views."""

    name: str
    paths: tuple[str, ...]
    """What is asked for while it is shown, beside what is always asked for."""
    rows: Callable[[Picture], Sequence[Row]]
    columns: tuple[Column, ...]
    sort: int
    """The column that it is sorted by at first; numbers from the greatest."""


class Order(NamedTuple):
    """How the rows of a view are sorted."""

    column: int
    is_turned: bool = False
    """Texts from the last to the first, numbers from the smallest."""


def _state_style(state: str) -> str:
    word = state.partition(",")[0]
    return {"up": GOOD, "on": GOOD, "down": BAD, "drained": WARN, "impaired": WARN, "off": DIM}.get(word, PLAIN)


def _if_any(style: str, number: float | None) -> str:
    return style if number else DIM


def _busy(cpu: float | None) -> str:
    return PLAIN if cpu is None or cpu < 0.8 else WARN if cpu < 0.95 else BAD


_name = partial(Column, cell=str, is_text=True)
_TREND = Column("trend", "trend", 8, rank=2, grows=True, is_trend=True, style=lambda _: GOOD)
_whole = partial(Column, cell=lambda number: "-" if number is None else f"{number}")

_RATES = (
    Column("new/s", "new_per_s", 6),
    Column("pkts/s", "packets_per_s", 7),
    Column("in b/s", "in_bits_per_s", 7),
    Column("out b/s", "out_bits_per_s", 7),
)

VIEWS: tuple[View, ...] = (
    View(
        "services",
        (picture.SERVICES,),
        Picture.service_rows,
        (
            _name("service", "name", 16),
            _name("address", "endpoint", 26, rank=6),
            *_RATES,
            Column("sess", "sessions", 6),
            Column("half", "half_open", 5, style=partial(_if_any, PLAIN)),
            _name("cookies", "cookies", 7, rank=1, style=lambda word: WARN if word == "engaged" else DIM),
            Column("lane", "carried", 4, percent, rank=3),
            _whole("up", "servers_up", 4, rank=5),
            _whole("of", "servers", 4, rank=5),
            _TREND._replace(rank=4, width=6),
        ),
        3,
    ),
    View(
        "shards",
        (picture.QUEUES,),
        Picture.shard_rows,
        (
            _name("shard", "name", 6),
            _name("state", "state", 8, style=_state_style),
            *_RATES,
            Column("queue", "waiting", 5),
            Column("lost/s", "dropped_per_s", 6, style=partial(_if_any, BAD)),
            Column("cpu", "cpu", 4, percent, style=_busy),
            _whole("starts", "starts", 6, rank=3),
            _TREND,
        ),
        0,
    ),
    View(
        "servers",
        (picture.SERVICES, picture.HEALTH),
        Picture.server_rows,
        (
            _name("service", "service", 16),
            _name("real server", "endpoint", 21),
            _name("state", "state", 15, style=_state_style),
            _whole("weight", "weight", 6, style=partial(_if_any, PLAIN)),
            Column("sess", "sessions", 6),
            Column("half", "half_open", 5, rank=4, style=partial(_if_any, PLAIN)),
            Column("new/s", "new_per_s", 6),
            Column("pkts/s", "packets_per_s", 6, rank=3),
            Column("since", "since_s", 6, lambda since_s: "-" if since_s is None else duration(since_s), rank=2),
            _name("last answer", "reason", 10, rank=1, grows=True),
        ),
        2,
    ),
    View(
        "drops",
        (picture.DROPS, picture.QUEUES, picture.EXT),
        Picture.drop_rows,
        (
            _name("reason", "reason", 26),
            Column("packets/s", "per_s", 10, style=partial(_if_any, BAD)),
            Column("total", "total", 7),
            _TREND._replace(rank=1, width=16, grows=False),
            _name("meaning", "meaning", 12, rank=2, grows=True, style=lambda _: DIM),
        ),
        1,
    ),
    View(
        "clients",
        (picture.CLIENTS,),
        Picture.client_rows,
        (
            _name("client", "client", 40),
            _whole("sessions", "sessions", 9),
            Column("share", "share", 6, percent),
        ),
        1,
    ),
)


def arranged(view: View, rows: Sequence[Row], order: Order, wanted: str) -> list[Row]:
    """The rows that have the text `wanted` in one of their text columns, whatever its case, in their order. Texts are sorted from
    A to Z, numbers from the greatest, those that are not known come last, and equal ones by the texts of their row."""
    texts = [attrgetter(column.field) for column in view.columns if column.is_text]
    key = attrgetter((column := view.columns[order.column]).field)
    kept = [row for row in rows if not wanted or any(wanted.casefold() in text(row).casefold() for text in texts)]
    kept.sort(key=lambda row: [text(row) for text in texts])
    known = [row for row in kept if _weight(key(row)) is not None]
    known.sort(key=lambda row: _weight(key(row)), reverse=order.is_turned if column.is_text else not order.is_turned)
    return known + [row for row in kept if _weight(key(row)) is None]


def _weight(value: Any) -> Any:
    """What a field is sorted by: a trend by its latest number."""
    return (value[-1] if value else None) if isinstance(value, list) else value


def fitting(view: View, rows: Sequence[Row], width: int) -> list[tuple[Column, int]]:
    """The columns for which a line of this width has room, and the places of each."""
    places = {column: _natural(column, rows) for column in view.columns}
    for rank in sorted({column.rank for column in places} - {0}, reverse=True):
        if _together(places.values()) <= width:
            break
        places = {column: natural for column, natural in places.items() if column.rank < rank}
    spare = max(0, width - _together(places.values()))
    for column, natural in places.items():
        if natural == column.width and column.is_text and not column.grows:  # it is perhaps cut off
            places[column] += (more := min(spare, max(0, _widest(column, rows) - natural)))
            spare -= more
    return [(column, natural + spare if column.grows else natural) for column, natural in places.items()]


def _natural(column: Column, rows: Sequence[Row]) -> int:
    return column.width if not column.is_text or column.grows else min(column.width, _widest(column, rows))


def _widest(column: Column, rows: Sequence[Row]) -> int:
    """The places of the widest cell of a text column, or of its title with an arrow, up to a limit."""
    of_cell = attrgetter(column.field)
    widest = max((width_of(clean(of_cell(row))) for row in rows), default=column.width)
    return min(_WIDEST, max(widest, len(column.title) + 1))


def _together(widths: Collection[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def head_line(view: View, columns: Sequence[tuple[Column, int]], order: Order, signs: Signs) -> list[Piece]:
    """The titles; that of the column by which rows are sorted has an arrow."""
    by = view.columns[order.column]
    arrow = signs.rising if by.is_text != order.is_turned else signs.falling
    return _spaced(Piece(_title(column, width, arrow * (column is by), signs), HEAD) for column, width in columns)


def _title(column: Column, width: int, arrow: str, signs: Signs) -> str:
    return fitted(f"{column.title[: max(0, width - len(arrow))]}{arrow}", width, signs.cut, to_the_left=column.is_text)


def body_line(columns: Sequence[tuple[Column, int]], row: Row, signs: Signs) -> list[Piece]:
    """One row."""
    return _spaced(_cell(column, width, getattr(row, column.field), signs) for column, width in columns)


def _cell(column: Column, width: int, value: Any, signs: Signs) -> Piece:
    if column.is_trend:
        return Piece(sparkline(value, width, signs.bars), column.style(value))
    return Piece(fitted(clean(column.cell(value)), width, signs.cut, to_the_left=column.is_text), column.style(value))


def _spaced(pieces: Iterable[Piece]) -> list[Piece]:
    spaced = [piece for one in pieces for piece in (one, Piece(" " * GAP))]
    return spaced[:-1]
