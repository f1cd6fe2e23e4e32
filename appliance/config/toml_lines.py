"""The line of each key in a TOML document, which `tomllib` does not give.

A TOML document is a sequence of statements: table headers, and keys with their values. Each statement begins on a line of its
own and is a TOML document by itself. So tomllib can read them one at a time, and this file needs no knowledge of quotes,
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
    """The line of every key of a document, which must be valid TOML."""

    def __init__(self, text: str) -> None:
        self._lines: dict[KeyPath, int] = {}
        lengths: Counter[KeyPath] = Counter()  # of each array of tables, up to this statement
        table: KeyPath = ()
        for statement in _statements(text):
            if statement.is_header:
                table = _enter(statement.table, lengths)
                self._record_parents(table, statement.line)
            else:
                self._record(table, statement.table, statement.line)

    def line_of(self, path: KeyPath) -> int | None:
        """The line where a key begins, or where the nearest table around it begins; None when neither is in the document."""
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
    """The statements in their order; a blank line or a comment is an empty statement."""
    statement, first = "", 1
    for number, line in enumerate(text.split("\n"), start=1):
        if not statement:
            first = number
        elif not any(closer in line for closer in _CLOSERS):
            statement += (
                line + "\n"
            )  # this line cannot end the statement; parsing again at each line of a long list would take quadratic time
            continue
        statement += line + "\n"
        try:
            table = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        yield _Statement(first, statement.lstrip().startswith("["), table)
        statement = ""


def _enter(header: dict[str, Any], lengths: Counter[KeyPath]) -> KeyPath:
    """The path of the table that a header opens. In an array of tables, that is the last table up to now."""
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
