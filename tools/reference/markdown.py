"""Pieces of Markdown that are read as plain text too: no line is longer than 80 columns, unless one word is."""

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple

COLUMNS = 80

NOTE = "<!-- Written by `make gen` from the code; do not edit. -->"


_HELD_SPACE = "\0"
"""Stands for a space where a line may not end, while lines are broken."""


class Entry(NamedTuple):
    """One thing that a reference page describes: its name as users write it, and what it means."""

    name: str
    meaning: str


def paragraph(text: str) -> str:
    """Text broken into lines, but not inside code."""
    return _filled(text)


def item(text: str) -> str:
    """One item of a list, broken into lines in the same way."""
    return _filled(text, initial_indent="- ", subsequent_indent="  ")


def _filled(text: str, initial_indent: str = "", subsequent_indent: str = "") -> str:
    unbroken = re.sub(r"`[^`]+`", lambda code: code[0].replace(" ", _HELD_SPACE), " ".join(text.split()))
    filled = textwrap.fill(
        unbroken,
        COLUMNS,
        initial_indent=initial_indent,
        subsequent_indent=subsequent_indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace(_HELD_SPACE, " ")


def sentence(text: str) -> str:
    """A summary from the code as a sentence: with a capital, and a full stop at its end."""
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def code(text: str) -> str:
    """Text as code."""
    return f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose columns are aligned in the source too. A bar in a cell is escaped."""
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines)


def page(title: str, *blocks: str) -> str:
    """A whole page: its title, a note that it is generated, and blocks with an empty line between them."""
    return "\n\n".join((f"# {title}", NOTE, *(block for block in blocks if block))) + "\n"
