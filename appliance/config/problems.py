"""What is wrong with a configuration: problems, each with its key, and the one error that carries all of them.

Everything shown comes out on one line per problem, whatever stands in the file: control characters are escaped, long
values are cut.
"""

import json
import re
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]
"""Where a value stands in the file: ``("service", 1, "port")`` for the port of the second service."""

_LONGEST_TEXT = 80
_WIDEST_INTEGER_BITS = 128  # str() refuses integers of more than 4300 digits, and nobody wants to read 40

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing to mend. The message is complete in itself, the value included where it helps."""

    path: KeyPath
    """Empty when the problem is the file itself (unreadable, not TOML)."""
    value: object
    """What the file says; None for a key that is missing."""
    message: str
    line: int | None = None
    """Counted from 1; None when the problem has no place in the file."""
    column: int | None = None
    """Counted from 1; known for syntax errors only."""

    @property
    def key(self) -> str:
        """The path as one would say it: ``service[1].port``."""
        return key_text(self.path)


class ConfigError(ValueError):
    """A configuration that cannot be used; `errors` has every problem found, str() one line for each."""

    def __init__(self, source: str, errors: tuple[ConfigProblem, ...]) -> None:
        """`source` says where the configuration came from: a file name as the user gave it."""
        super().__init__(source, errors)
        self.source = source
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(_problem_text(self.source, problem) for problem in self.errors)


def _problem_text(source: str, problem: ConfigProblem) -> str:
    place = [str(number) for number in (problem.line, problem.column) if number is not None]
    key = [problem.key] if problem.path else []
    return ": ".join([":".join([source, *place]), *key, problem.message])


def key_text(path: KeyPath) -> str:
    """A key path as people write it, for instance ``service[1].real_server[0].weight``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_part_text(part)}" for part in path).removeprefix(".")


def _part_text(part: str) -> str:
    return part if _BARE_KEY.fullmatch(part) else value_text(part)


def value_text(value: object) -> str:
    """A value as it stands in the file, fit for one line; tables and lists are only named."""
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
