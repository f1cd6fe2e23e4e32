"""The line of each key in a TOML document, which `tomllib` does not give.

A TOML document is a sequence of statements: table headers, and keys with their values. Each statement begins on a line of its
own and is a TOML document by itself, so tomllib reads them one at a time. Where one ends is found in one pass over the text: at
the first end of a line that is in no string, comment or bracket. Trying at each line would take quadratic time.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from appliance.config.problems import KeyPath

_MARK = re.compile(r"""#|"{3}|'{3}|["'\n\[\]{}]""")
"""What opens or ends something."""

_DEPTH = {"[": 1, "{": 1, "]": -1, "}": -1}
_ENDS = {
    "#": re.compile(r"()(?=\n)"),
    '"""': re.compile(r'\\.|("{3,5})', re.DOTALL),  # the last of five quotes end the string, two are in it
    "'''": re.compile(r"('{3,5})"),
    '"': re.compile(r'\\.|(")'),
    "'": re.compile(r"(')"),
}
"""The group of a match is the end of a comment or a string."""


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
    begins, line = 0, 1
    for end in _ends_of_statements(f"{text}\n"):
        statement = text[begins:end]
        yield _Statement(line, statement.lstrip().startswith("["), tomllib.loads(statement))
        begins, line = end, line + statement.count("\n")


def _ends_of_statements(text: str) -> Iterator[int]:
    place, depth = 0, 0
    while mark := _MARK.search(text, place):
        place = mark.end()
        if mark[0] in _ENDS:
            place = next((found.end() for found in _ENDS[mark[0]].finditer(text, place) if found.lastindex), len(text))
        elif mark[0] == "\n" and not depth:
            yield place
        else:
            depth += _DEPTH.get(mark[0], 0)


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
