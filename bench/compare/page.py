"""The medians of one run as a page of the manual: `python -m bench.compare.page FILE.json` prints it.

The page is what was measured and nothing else: docs/how-to/benchmarks.md says what it means.
"""

import sys
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from bench.compare.report import QUIET_SHARE
from bench.compare.results import ALL_CPU, GATEWAY_CPU
from bench.compare.saved import checked, show

_BASE = "routing"
_NOTHING = "-"

Row = tuple[str, ...]


def as_page(data: dict[str, Any]) -> str:
    """The page of what `as_json` made. Raises ValueError for another version of it."""
    measures = checked(data)["measures"].values()
    loads = [measure for measure in measures if measure["more_is_better"]]
    waits = [measure for measure in measures if not measure["more_is_better"]]
    parts = [
        "# Results of a benchmark",
        _setup(data),
        "![Medians of one run: each mode beside plain routing](../images/bench.svg)",
        *_section("Throughput, of plain routing", "Median of the ratios of each round, least and largest.", _ratios(data, loads)),
        *_section("Throughput", "Medians.", _values(data, loads)),
        *_section(
            "Waits in connections and requests", "Milliseconds: half of them, and 99 of 100, are shorter.", _waits(data, loads)
        ),
        *_section("CPU time", _ABOUT_CPU, _cpu(data, loads)),
        *_section("Small requests beside a bulk stream", "Milliseconds, in one shard.", _beside(data, waits)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_ABOUT_CPU = """\
Microseconds for each connection, request, megabit or packet: what clients, gateway and real servers need together beyond what
they need with plain routing, softirqs included; in brackets the gateway's processes alone."""


def _setup(data: dict[str, Any]) -> str:
    machine, share = data["machine"], data["others_share"]
    others = f"Other programs took {share['median']:.0%} of the cores meanwhile." if share else ""
    if share and share["median"] > QUIET_SHARE:
        others += " So throughput and waits are not to be relied on; CPU time hardly depends on it."
    lines = [
        f"`make bench` printed this page. {data['rounds']} rounds of {data['seconds']} s, {data['shards']} shards; "
        f"kernel {machine['kernel']}, {machine['cores']} cores, Python {machine['python']}; load average "
        f"{machine['load_at_start']} at the start.",
        *([others] if others else []),
        "Client, gateway and real servers shared the cores: compare the ratios. What each mode and each figure is: "
        "[Benchmarks](benchmarks.md).",
    ]
    troubled = [f"- {measure}, {mode}, round {number}: {said}" for measure, mode, number, said in _troubles(data)]
    return "\n".join((*lines, *(["", "Measurements with errors:", "", *troubled] if troubled else [])))


def _troubles(data: dict[str, Any]) -> Iterator[tuple[str, str, int, str]]:
    for measure in data["measures"].values():
        for mode, series in measure["modes"].items():
            for number, said in enumerate(series["troubles"], start=1):
                if said:
                    yield measure["title"], data["modes"][mode], number, said


def _section(title: str, note: str, rows: Sequence[Row]) -> list[str]:
    """A heading, a sentence and a table; nothing when the table has no column or no row."""
    if len(rows) < 2 or len(rows[0]) < 2:
        return []
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return [f"## {title}", note, "\n".join((head, f"|{'---|' * len(rows[0])}", *body))]


def _ratios(data: dict[str, Any], measures: Sequence[dict[str, Any]]) -> list[Row]:
    head = ("", *(measure["title"] for measure in measures))
    return [head, *(_ratio_row(data, measures, mode) for mode in data["modes"] if mode != _BASE and _BASE in data["modes"])]


def _ratio_row(data: dict[str, Any], measures: Sequence[dict[str, Any]], mode: str) -> Row:
    return (data["modes"][mode], *(_range(measure["ratios"].get(f"{mode}/{_BASE}")) for measure in measures))


def _range(spread: dict[str, float] | None) -> str:
    return f"{spread['median']:.2f} ({spread['low']:.2f}..{spread['high']:.2f})" if spread else _NOTHING


def _values(data: dict[str, Any], measures: Sequence[dict[str, Any]]) -> list[Row]:
    def value(measure: dict[str, Any], mode: str) -> str:
        series = measure["modes"].get(mode)
        return f"{series['median']:,.{measure['decimals']}f}" if series else _NOTHING

    head = ("", *(f"{measure['title']}, {measure['value']}" for measure in measures))
    return [head, *((title, *(value(measure, mode) for measure in measures)) for mode, title in data["modes"].items())]


def _waits(data: dict[str, Any], measures: Sequence[dict[str, Any]]) -> list[Row]:
    timed = [measure for measure in measures if any("p50_ms" in series["details"] for series in measure["modes"].values())]
    head = ("", *(f"{measure['title']}, {name}" for measure in timed for name in ("p50", "p99")))
    names = ("p50_ms", "p99_ms")
    return [
        head,
        *(
            (title, *(_detail(measure, mode, name) for measure in timed for name in names))
            for mode, title in data["modes"].items()
        ),
    ]


def _detail(measure: dict[str, Any], mode: str, name: str) -> str:
    value = measure["modes"].get(mode, {}).get("details", {}).get(name, {}).get("median")
    return _NOTHING if value is None else f"{value:.2f}"


def _cpu(data: dict[str, Any], measures: Sequence[dict[str, Any]]) -> list[Row]:
    accounted = [measure for measure in measures if ALL_CPU in measure["modes"].get(_BASE, {}).get("details", {})]
    head = ("", *(f"{measure['title']}, us/{measure['unit']}" for measure in accounted))
    others = {mode: title for mode, title in data["modes"].items() if mode != _BASE}
    return [head, *((title, *(_cpu_cell(measure, mode) for measure in accounted)) for mode, title in others.items())]


def _cpu_cell(measure: dict[str, Any], mode: str) -> str:
    if mode not in measure["modes"]:
        return _NOTHING
    own, base = (measure["modes"][each]["details"] for each in (mode, _BASE))
    pairs = zip(own[ALL_CPU]["values"], base[ALL_CPU]["values"], strict=False)
    beyond = [one - other for one, other in pairs if one is not None and other is not None]
    return f"{median(beyond):,.1f} ({own[GATEWAY_CPU]['median']:,.1f})" if beyond else _NOTHING


def _beside(data: dict[str, Any], measures: Sequence[dict[str, Any]]) -> list[Row]:
    columns = ("alone_p50_ms", "alone_p99_ms", "", "beside_p99_ms", "times_alone", "bulk_gbit_per_s")
    head = ("", "", "p50 alone", "p99 alone", "p50 beside", "p99 beside", "p50 beside / alone", "bulk Gbit/s")
    rows = []
    for measure in measures:
        for mode, series in measure["modes"].items():
            cells = (_detail(measure, mode, name) if name else f"{series['median']:.2f}" for name in columns)
            rows.append((measure["title"], data["modes"][mode], *cells))
    return [head, *rows]


def main(arguments: Sequence[str]) -> int:
    """Print the page of a file; returns the exit code."""
    return show(arguments, "bench.compare.page", as_page)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
