"""Tables of words and figures, as text."""

from collections.abc import Collection, Sequence

from bench.rig.results import Spread


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """The rows, one a line, with columns of equal width: those of `left` begin at the left, all others end at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(f"{_line(row, widths, left)}\n" for row in rows)


def _line(row: Sequence[str], widths: Sequence[int], left: Collection[int]) -> str:
    cells = (
        cell.ljust(width) if column in left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(cells).rstrip()


def cell(values: Spread | None, decimals: int) -> str:
    """ "median (least..largest)"; a dash for no value."""
    if values is None:
        return "-"
    median, low, high = (f"{value:,.{decimals}f}" for value in values)
    return f"{median} ({low}..{high})"
