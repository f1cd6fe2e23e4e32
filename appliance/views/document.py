"""What a view is: the same facts as text and as JSON. Pure.

Text is for people, `awk`, and readers who know `ipvsadm`: one header line, names on the left, numbers on the right.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple


class Document(NamedTuple):
    """One view in both its forms. The `json` module can write `data`."""

    text: str
    data: Any


def plain(text: str) -> str:
    """The text without what a terminal would obey: names on the host, and answers of other hosts, may have anything in them."""
    if text.isascii():
        return text.translate(_CONTROLS)
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


_CONTROLS = {code: "?" for code in (*range(32), 127) if code != ord("\n")}


def align(layout: str, rows: Iterable[Sequence[str]]) -> str:
    """Lines of columns, each as wide as its widest cell. `layout` has ``<`` (left) or ``>`` (right) for each column."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = ((f"{cell:{side}{width}}" for side, width, cell in zip(layout, widths, row, strict=True)) for row in rows)
    return "".join(f"{'  '.join(line).rstrip()}\n" for line in cells)


_ITEMS_AT_ONCE = 50
"""Of a long list, so many go into a piece: a millisecond's work or two. No other thread of Python runs meanwhile."""


def json_pieces(data: Any, depth: int = 2) -> Iterator[str]:
    """`data` as JSON, like `json.dumps`, in pieces of which none takes long to make. Lists are long at most `depth` inside."""
    if depth and isinstance(data, dict) and data:
        for place, (key, value) in enumerate(data.items()):
            yield f"{', ' if place else '{'}{json.dumps(key)}: "
            yield from json_pieces(value, depth - 1)
        yield "}"
    elif isinstance(data, list) and len(data) > _ITEMS_AT_ONCE:
        for start in range(0, len(data), _ITEMS_AT_ONCE):
            yield f"{', ' if start else '['}{json.dumps(data[start : start + _ITEMS_AT_ONCE])[1:-1]}"
        yield "]"
    else:
        yield json.dumps(data)


def to_json(data: Any) -> str:
    """`data` as one line of JSON, with the newline at its end."""
    return f"{json.dumps(data)}\n"
