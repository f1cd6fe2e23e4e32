"""The problems of a configuration, each with its key, and the error that has all of them.

Each problem is shown on one line, whatever the file contains: control characters are escaped and long values are cut.
"""

import json
import re
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]
"""The place of a value in the file: ``("service", 1, "port")`` for the port of the second service."""

_LONGEST_TEXT = 80
_WIDEST_INTEGER_BITS = 128  # about 40 digits; str() refuses integers of more than 4300

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One problem. Its message is a whole sentence, with the value where that helps."""

    path: KeyPath
    """Empty when the problem is the file itself (unreadable, not TOML)."""
    value: object
    """The value in the file; None for a missing key."""
    message: str
    line: int | None = None
    """Counted from 1; None when the problem has no place in the file."""
    column: int | None = None
    """Counted from 1; None unless this is a syntax error."""

    @property
    def key(self) -> str:
        """The path as text: ``service[1].port``."""
        return key_text(self.path)


_MOST_TOLD = 100


class ConfigError(ValueError):
    """A configuration cannot be used. `errors` has every problem; str() has one line for each of the first hundred."""

    def __init__(self, source: str, errors: tuple[ConfigProblem, ...]) -> None:
        """`source` is the origin of the configuration: the file name as the user gave it."""
        super().__init__(source, errors)
        self.source = source
        self.errors = errors

    def __str__(self) -> str:
        lines = [_problem_text(self.source, problem) for problem in self.errors[:_MOST_TOLD]]
        if left_out := len(self.errors) - len(lines):
            lines.append(f"{self.source}: and {left_out} more mistakes")
        return "\n".join(lines)


def _problem_text(source: str, problem: ConfigProblem) -> str:
    place = [str(number) for number in (problem.line, problem.column) if number is not None]
    key = [problem.key] if problem.path else []
    return ": ".join([":".join([source, *place]), *key, problem.message])


def key_text(path: KeyPath) -> str:
    """A key path as text, for instance ``service[1].real_server[0].weight``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_part_text(part)}" for part in path).removeprefix(".")


def _part_text(part: str) -> str:
    return part if _BARE_KEY.fullmatch(part) else value_text(part)


def value_text(value: object) -> str:
    """A value as TOML on one line; a table or a list is only named."""
    match value:
        case str():
            shown = value if len(value) <= _LONGEST_TEXT else value[: _LONGEST_TEXT - 1] + "…"
            return json.dumps(shown, ensure_ascii=not shown.isprintable())
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() > _WIDEST_INTEGER_BITS:
            return f"an integer of {value.bit_length()} bits"
        case dict():
            return "a table"
        case list() | tuple():
            return "a list"
        case _:
            return str(value)
