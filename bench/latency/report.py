"""The figures as a table."""

from bench.latency.run import LOADS, WAYS, Measured, Results
from bench.rig.machine import Machine
from bench.rig.results import spread
from bench.rig.tables import aligned, cell

_HEAD = ["small requests", "way", "median ms", "p99 ms", "longest ms", "bulk Gbit/s", "dropped"]


def as_text(machine: Machine, rounds: int, seconds: int, results: Results) -> str:
    """One row for each load and way: medians of the rounds, with the least and the largest."""
    rows = [_HEAD] + [_row(load, way.name, way.title, results) for load in LOADS for way in WAYS]
    lead = f"{machine.in_words}, load {machine.load_at_start} at the start; {rounds} rounds of {seconds} s, one shard\n\n"
    return lead + aligned(rows, left=(0, 1))


def _row(load: str, way: str, title: str, results: Results) -> list[str]:
    measured: list[Measured] = results.get((load, way), [])
    waits = [each.waits for each in measured]
    return [
        load,
        title,
        cell(spread(each.median_ms for each in waits), 2),
        cell(spread(each.p99_ms for each in waits), 2),
        cell(spread(each.longest_ms for each in waits), 1),
        cell(spread(each.bulk_gbit_per_s for each in measured), 2),
        cell(spread(each.dropped for each in measured), 0),
    ]
