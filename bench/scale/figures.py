"""The figures of one size, and the table of all sizes. A goal that was missed is printed as missed. Pure."""

from collections.abc import Sequence

from bench.scale.packets import Ratio


class Figures:
    """By their names, in the order in which they were measured."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}
        self.missed: list[str] = []

    def put(self, name: str, text: str) -> None:
        """A figure."""
        self.of[name] = text

    def put_s(self, name: str, took_s: float, goal: float) -> None:
        """A time in seconds that is to be less than its goal."""
        if took_s >= goal:
            self.missed.append(name)
        self.put(f"{name}, s (goal: < {goal:g})", f"{took_s:.2f}{' MISSED' if took_s >= goal else ''}")

    def put_ms(self, name: str, took_s: float) -> None:
        """A time in milliseconds."""
        self.put(f"{name}, ms", f"{took_s * 1e3:.0f}")

    def put_ratio(self, name: str, ratio: Ratio) -> None:
        """A ratio, and between which values nine of ten are."""
        self.put(f"{name}, median (9 of 10)", f"{ratio.median:.2f} ({ratio.lowest:.2f}-{ratio.highest:.2f})")


def as_text(sizes: Sequence[tuple[int, int]], columns: Sequence[Figures]) -> str:
    """A line for each figure, a column for each size."""
    head = ["services / real servers", *(f"{services} / {services * each}" for services, each in sizes)]
    rows = [head, *([name, *(column.of.get(name, "-") for column in columns)] for name in columns[0].of)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)
