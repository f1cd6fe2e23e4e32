"""Numbers and names as short texts for a terminal. Pure.

Names come from a configuration or from another host: what a terminal would take as a command, or what would change the direction
or the width of a line, is replaced.
"""

from collections.abc import Sequence
from typing import NamedTuple
from unicodedata import category, east_asian_width

NONE = "-"
"""A number that is not known."""

REPLACED = "?"

_LETTERS = "kMGTPE"


class Signs(NamedTuple):
    """The characters that are drawn with."""

    bars: str
    """From the lowest to the highest."""
    falling: str
    rising: str
    cut: str
    """At the end of a text that is cut off."""


UNICODE = Signs("▁▂▃▄▅▆▇█", "▼", "▲", "…")
ASCII = Signs("_.-~=*#@", "v", "^", "~")


def clean(text: object) -> str:
    """`text` on one line, in characters that each take one or two places: control characters, marks, formats, all spaces but the
    usual one, and what is not assigned are each replaced by a question mark."""
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(sign if sign.isprintable() and category(sign)[0] != "M" else REPLACED for sign in text)


def width_of(text: str) -> int:
    """The places that a clean text takes on a terminal."""
    return len(text) if text.isascii() else sum(_places(sign) for sign in text)


def _places(sign: str) -> int:
    return 2 if east_asian_width(sign) in "WF" else 1


def fitted(text: str, width: int, cut: str, *, to_the_left: bool) -> str:
    """A clean text in exactly `width` places: filled up with spaces, or cut off with `cut` in its last place."""
    missing = width - width_of(text)
    if missing >= 0:
        return text + " " * missing if to_the_left else " " * missing + text
    kept, places = "", 0
    for sign in text:
        places += _places(sign)
        if places >= width:
            break
        kept += sign
    return (kept + cut * (width > 0)).ljust(width - (width_of(kept) - len(kept)))


def short(number: float | None) -> str:
    """A number with three digits and the letter of its thousands, in at most six places: ``0``, ``7.5``, ``999``, ``1.25k``.

    Powers of 1000, as in packets and bits per second. None is a dash.
    """
    if number is None:
        return NONE
    if number < 0:
        return f"-{short(-number)}"
    if round(number, 1) < 10:
        return f"{number:.1f}".removesuffix(".0")
    if round(number) < 1000:
        return f"{number:.0f}"
    for letter in _LETTERS:
        number /= 1000
        if (text := _three_digits(number)) or letter == _LETTERS[-1]:
            return f"{text or round(number)}{letter}"
    raise AssertionError(number)


def _three_digits(number: float) -> str:
    """Three digits; empty when there are more in front of the point."""
    for decimals in (2, 1, 0):
        if len(text := f"{number:.{decimals}f}") <= 3 + bool(decimals):
            return text
    return ""


def percent(share: float | None) -> str:
    """A share of 0..1, in percent, without decimals; but what is not all is never ``100``."""
    if share is None:
        return NONE
    return f"{99 if share < 1 and round(100 * share) == 100 else round(100 * share)}%"


def duration(seconds: float) -> str:
    """Seconds in their two largest units: ``7s``, ``3m05s``, ``2h10m``, ``12d03h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    for unit, parts, below, name, small in ((60, 60, 1, "m", "s"), (3600, 24, 60, "h", "m")):
        if whole < unit * parts:
            return f"{whole // unit}{name}{whole % unit // below:02}{small}"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def sparkline(trend: Sequence[float | None], width: int, bars: str) -> str:
    """The last `width` numbers as bars, the latest at the right; the greatest of those shown is the highest bar. An unknown
    number is a space."""
    shown = trend[-width:] if width > 0 else ()
    top = max((number for number in shown if number is not None), default=0)
    return "".join(" " if number is None else _bar(number, top, bars) for number in shown).rjust(width)


def _bar(number: float, top: float, bars: str) -> str:
    return bars[min(len(bars) - 1, int(number / top * len(bars)))] if top > 0 else bars[0]
