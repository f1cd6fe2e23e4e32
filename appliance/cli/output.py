"""What commands write: nothing that a terminal would obey, in 80 columns unless more are wanted, coloured where that is seen.

Data is not trusted here. A real server chooses what its health check answers, and whoever listens at the address of an API
chooses all of it; a terminal that is given such bytes as they are can be made to hide lines, or to type.
"""

import codecs
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from appliance.views.document import plain

if TYPE_CHECKING:
    from appliance.cli.api_client import Answer

COLUMNS = 80
"""No line of text is longer, unless the user wants it to be."""

_LONGEST_LINE = 1 << 16
"""What is kept of a line that does not end, in characters, before it is folded."""

RED, YELLOW, GREEN = "31", "33", "32"
"""Colours, as ECMA-48 numbers them."""

Colours = Sequence[tuple[str, str]]
"""Regular expressions and the colour of lines that match."""

_OF_JSON = re.compile(r"[^\n\x20-\x7e]")


def _escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


def clean(text: str, *, is_json: bool = False) -> str:
    """The text without what a terminal would obey. In JSON it stands as an escape sequence, which means the same to a reader."""
    return _OF_JSON.sub(_escaped, text) if is_json else plain(text)


def write(text: bytes, *, is_json: bool = False) -> None:
    """Write all of `text`, cleaned. Raises OSError if that fails, also with PYTHONUNBUFFERED, where one write() may take a part
    only."""
    _write(clean(text.decode(errors="replace"), is_json=is_json))


def copy(answer: "Answer", *, is_json: bool = False) -> None:
    """Print a whole answer, piece by piece as it comes, cleaned and otherwise as it is."""
    for text in _decoded(answer):
        write(text.encode(errors="replace"), is_json=is_json)


def show(text: str, *, is_wide: bool = False, colours: Colours = ()) -> None:
    """Print a text: folded, unless all of each line is wanted."""
    _show_lines(text.splitlines(), is_wide=is_wide, colours=colours)


def show_lines(answer: "Answer", change: Callable[[str], str] = str, *, is_wide: bool = False, colours: Colours = ()) -> None:
    """Print the text of an answer line by line as it comes. `change` makes of each line what is shown."""
    rest = ""
    for text in _decoded(answer):
        *lines, rest = (rest + text).split("\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], ""
        _show_lines(map(change, lines), is_wide=is_wide, colours=colours)
    if rest:
        _show_lines([change(rest)], is_wide=is_wide, colours=colours)


def fold(line: str, columns: int = COLUMNS) -> list[str]:
    """The line as lines that are not too long; what is folded begins with four blanks."""
    if len(line) <= columns:
        return [line]
    lead = " " * (len(line) - len(line.lstrip()))
    return wrap(line, columns, subsequent_indent=lead[: columns // 2] + "    ", break_on_hyphens=False)


def complain(message: str) -> None:
    """Say on standard error what is wrong."""
    print(f"appliance: {plain(message)}", file=sys.stderr)


def has_colour() -> bool:
    """Whether standard output is a terminal whose user has nothing against colours (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def _show_lines(lines: Iterable[str], *, is_wide: bool, colours: Colours) -> None:
    painted = colours if has_colour() else ()
    shown = [piece for line in lines for piece in _pieces(plain(line), painted, is_wide=is_wide)]
    if shown:
        _write("".join(f"{line}\n" for line in shown))


def _write(text: str) -> None:
    left = memoryview(text.encode(errors="replace"))
    while left:
        left = left[sys.stdout.buffer.write(left) :]
    sys.stdout.flush()


def _pieces(line: str, colours: Colours, *, is_wide: bool) -> list[str]:
    pieces = [line] if is_wide else fold(line)
    colour = next((colour for pattern, colour in colours if re.search(pattern, line)), "")
    return [f"\x1b[{colour}m{piece}\x1b[0m" for piece in pieces] if colour else pieces


def _decoded(answer: "Answer") -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in answer.pieces():
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)
