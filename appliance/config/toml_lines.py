"""On which line of a TOML document each key stands; `tomllib` does not tell.

A TOML document is a sequence of statements (a table header, or a key with its value), each beginning on a line of its own
and each a TOML document by itself. So tomllib can read them one at a time, and nothing here has to know about quotes,
escapes or comments.
"""

import tomllib
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from appliance.config.problems import KeyPath

_CLOSERS = ("]", '"""', "'''")


class _Statement(NamedTuple):
    line: int
    is_header: bool
    table: dict[str, Any]


class TomlLines:
    """The line of every key of a document that tomllib has read without an error."""

    def __init__(self, text: str) -> None:
        self._lines: dict[KeyPath, int] = {}
        lengths: Counter[KeyPath] = Counter()  # of the arrays of tables, so far
        table: KeyPath = ()
        for statement in _statements(text):
            if statement.is_header:
                table = _enter(statement.table, lengths)
                self._record_parents(table, statement.line)
            else:
                self._record(table, statement.table, statement.line)

    def line_of(self, path: KeyPath) -> int | None:
        """The line on which the key, or else the nearest table around it, begins; None when none is in the document."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path)

    def _record_parents(self, path: KeyPath, line: int) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], line)

    def _record(self, path: KeyPath, value: object, line: int) -> None:
        if path:
            self._lines.setdefault(path, line)
        if isinstance(value, dict | list):
            children = value.items() if isinstance(value, dict) else enumerate(value)
            for key, child in children:
                self._record((*path, key), child, line)


def _statements(text: str) -> Iterator[_Statement]:
    """The statements in order; blank lines and comments come out as empty ones."""
    statement, first = "", 1
    for number, line in enumerate(text.split("\n"), start=1):
        if not statement:
            first = number
        elif not any(closer in line for closer in _CLOSERS):
            statement += line + "\n"  # cannot be the end, and trying each line of a long list would cost its square
            continue
        statement += line + "\n"
        try:
            table = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        yield _Statement(first, statement.lstrip().startswith("["), table)
        statement = ""


def _enter(header: dict[str, Any], lengths: Counter[KeyPath]) -> KeyPath:
    """The path of the table that a header opens, which is the last one so far of every array of tables on the way."""
    path: KeyPath = ()
    node: Any = header
    while isinstance(node, dict) and node:
        [(key, node)] = node.items()
        path = (*path, key)
        if isinstance(node, list):
            lengths[path] += 1
        if path in lengths:
            path = (*path, lengths[path] - 1)
    return path
