"""The medians of one run as a chart: `python -m bench.compare.chart FILE.json` prints it as SVG.

Throughput is shown as its ratio to plain routing, waits in milliseconds. The chart has a background of its own and follows the
reader's choice of dark or light, so it can be read on any page.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from bench.compare.saved import checked, show

_WIDTH = 780
_MARGIN = 20
_BAR_LEFT = 180
_BAR_RIGHT = 560
_ROW, _BAR_HEIGHT, _HEAD, _GAP = 20, 13, 24, 14
_BASE = "routing"
_BASE_TITLE = "plain routing"
_ALONE, _TIMES_ALONE = "alone_p50_ms", "times_alone"
_SCALE = 1.2
"""The right end of a scale, of plain routing or of the longest median."""

_STYLE = """\
<style>
text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
.head { font-weight: 600; } .small { font-size: 11px; fill: #59636e; } .page { fill: #ffffff; stroke: #d1d9e0; }
.range, .mark { stroke: #1f2328; stroke-width: 1.5; } .base { stroke: #59636e; stroke-dasharray: 3 3; } .bar { fill: #8c959f; }
.appliance { fill: #d1541b; } .appliance-no-lane { fill: #e9a27f; } .nft-nat { fill: #3b76b0; } .haproxy { fill: #7d5ba6; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; } .small { fill: #9198a1; } .page { fill: #131416; stroke: #3d444d; }
.range, .mark { stroke: #e6edf3; } .base { stroke: #9198a1; } .bar { fill: #6e7681; }
.appliance { fill: #e8703a; } .appliance-no-lane { fill: #b8795a; } .nft-nat { fill: #5b9bd5; } .haproxy { fill: #a584cf; }
}
</style>
"""


class Bar(NamedTuple):
    """One bar: median, least and largest, words behind it, and a mark at another value, if there is one."""

    mode: str
    label: str
    median: float
    low: float
    high: float
    said: str
    mark: float | None = None


class Panel(NamedTuple):
    """The bars of one measure, on a scale of their own; `base` is where a line is drawn, if there is one."""

    head: str
    note: str
    bars: tuple[Bar, ...]
    base: float | None

    @property
    def height(self) -> int:
        """Pixels, with the gap below."""
        return _HEAD + _ROW * len(self.bars) + _GAP

    @property
    def end(self) -> float:
        """The value at the right end of the scale: the same for all ratios; what is longer is cut there, and the words say it."""
        if self.base is not None:
            return _SCALE * self.base
        return _SCALE * max(max(bar.median, bar.mark or 0.0) for bar in self.bars) or 1.0


def as_svg(data: dict[str, Any]) -> str:
    """The chart of what `as_json` made. Raises ValueError for another version of it."""
    panels = list(panels_of(checked(data)))
    heading = _heading(data)
    top = _MARGIN + 18 * len(heading) + _GAP
    height = top + sum(panel.height for panel in panels) + _MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img">',
        "<title>The appliance beside other modes of a gateway</title>",
        f'{_STYLE}<rect class="page" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="6"/>',
        *(_text(_MARGIN, _MARGIN + 12 + 18 * number, line, "small" if number else "head") for number, line in enumerate(heading)),
    ]
    for panel in panels:
        lines += _drawn(panel, top)
        top += panel.height
    return "\n".join((*lines, "</svg>", ""))


def panels_of(data: dict[str, Any]) -> Iterator[Panel]:
    """A panel for each measure that has something to show."""
    for measure in data["measures"].values():
        panel = _ratios(data, measure) if measure["more_is_better"] else _waits(data, measure)
        if panel.bars:
            yield panel


def _heading(data: dict[str, Any]) -> list[str]:
    machine = data["machine"]
    return [
        "The appliance beside other modes of a gateway",
        f"median, with least and largest, of {data['rounds']} rounds of {data['seconds']} s, measured in turns; "
        f"{data['shards']} shards",
        f"kernel {machine['kernel']}, {machine['cores']} cores for clients, gateway and real servers{_others(data)}",
    ]


def _others(data: dict[str, Any]) -> str:
    share = data["others_share"]
    return f"; other programs took {share['median']:.0%} of them" if share else ""


def _ratios(data: dict[str, Any], measure: dict[str, Any]) -> Panel:
    bars = []
    for mode, series in measure["modes"].items():
        ratio = measure["ratios"].get(f"{mode}/{_BASE}")
        if ratio is not None:
            said = f"{ratio['median']:.2f} · {_value(measure, series['median'])}{_trouble(series)}"
            bars.append(Bar(mode, data["modes"][mode], ratio["median"], ratio["low"], ratio["high"], said))
    base = measure["modes"].get(_BASE)
    note = f"{_BASE_TITLE}: {_value(measure, base['median'])}" if base else ""
    return Panel(f"{measure['title']}, of {_BASE_TITLE}", note, tuple(bars), 1.0)


def _waits(data: dict[str, Any], measure: dict[str, Any]) -> Panel:
    bars = []
    for mode, series in measure["modes"].items():
        alone, times = (series["details"].get(name, {}).get("median") for name in (_ALONE, _TIMES_ALONE))
        if alone is not None and times is not None:
            said = f"{series['median']:.2f} ms · {times:.1f} times{_trouble(series)}"
            bars.append(Bar(mode, data["modes"][mode], series["median"], series["low"], series["high"], said, alone))
    return Panel(measure["title"], "median ms; the mark is the median without bulk", tuple(bars), None)


def _value(measure: dict[str, Any], value: float) -> str:
    return f"{value:,.{measure['decimals']}f} {measure['value']}"


def _trouble(series: dict[str, Any]) -> str:
    return " !" if any(series["troubles"]) else ""


def _drawn(panel: Panel, top: int) -> Iterator[str]:
    yield _text(_MARGIN, top + 12, panel.head, "head")
    yield _text(_WIDTH - _MARGIN, top + 12, panel.note, "small", anchor="end")
    bottom = top + panel.height - _GAP
    for number, bar in enumerate(panel.bars):
        yield from _drawn_bar(bar, panel.end, top + _HEAD + _ROW * number)
    if panel.base is not None:
        yield _line("base", _x(panel.base, panel.end), top + _HEAD - 4, _x(panel.base, panel.end), bottom)


def _drawn_bar(bar: Bar, end: float, top: int) -> Iterator[str]:
    middle = top + _BAR_HEIGHT / 2
    width = _x(bar.median, end) - _BAR_LEFT
    yield _text(_BAR_LEFT - 10, top + 11, bar.label, "", anchor="end")
    yield f'<rect class="bar {bar.mode}" x="{_BAR_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR_HEIGHT}"/>'
    yield _line("range", _x(bar.low, end), middle, _x(bar.high, end), middle)
    if bar.median > end:
        yield f'<path class="bar {bar.mode}" d="M{_BAR_RIGHT} {top - 2}l8 {_BAR_HEIGHT / 2 + 2}l-8 {_BAR_HEIGHT / 2 + 2}z"/>'
    if bar.mark is not None:
        yield _line("mark", _x(bar.mark, end), top - 1, _x(bar.mark, end), top + _BAR_HEIGHT + 1)
    yield _text(_BAR_RIGHT + 12, top + 11, bar.said, "")


def _x(value: float, end: float) -> float:
    return _BAR_LEFT + (_BAR_RIGHT - _BAR_LEFT) * min(value / end, 1.0)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    shown = f' class="{kind}"' if kind else ""
    return f'<text{shown} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def main(arguments: Sequence[str]) -> int:
    """Print the chart of a file; returns the exit code."""
    return show(arguments, "bench.compare.chart", as_svg)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
