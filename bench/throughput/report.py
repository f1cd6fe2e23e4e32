"""The results as a table and as JSON. Pure."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from bench.rig.load import FIGURES, Figure
from bench.rig.machine import Machine
from bench.rig.results import Results, Spread
from bench.rig.tables import aligned, cell
from bench.rig.ways import APPLIANCE, BARE_LOOP, PLAIN, WAYS, Way

GOAL = 0.85
"""The least share of the bare loop's figures that the appliance is to reach."""

GOAL_FIGURES = ("new_connections_per_s", "keep_alive_requests_per_s")

_QUIET_LOAD = 0.7
"""The highest load average that the microbenchmark and the start of the lab cause on a machine that does nothing else."""

_TROUBLED = "!"
_TO_PLAIN = tuple((way, PLAIN) for way in WAYS if way is not PLAIN)
_COMPARED = (*_TO_PLAIN, (APPLIANCE, BARE_LOOP))


class Setup(NamedTuple):
    """How it was measured."""

    machine: Machine
    shards: int
    rounds: int
    seconds: int


def as_text(setup: Setup, results: Results) -> str:
    """The tables, for people."""
    parts = (
        _heading(setup),
        aligned([["median (min..max)", *(figure.title for figure in FIGURES)], *(_value_row(results, way) for way in WAYS)]),
        aligned([["ratio, round by round", *(figure.title for figure in FIGURES)], *_ratio_rows(results)]),
        _verdict(results),
        _troubles(results),
    )
    return "\n".join(filter(None, parts))


def as_json(setup: Setup, results: Results) -> dict[str, Any]:
    """All results, for programs. A ratio is `null` where the base is 0."""
    return {
        "machine": setup.machine._asdict(),
        "shards": setup.shards,
        "rounds": setup.rounds,
        "seconds": setup.seconds,
        "figures": {figure.name: {way.name: _series(results, figure, way) for way in WAYS} for figure in FIGURES},
        "ratios": {
            figure.name: {
                f"{way.name}/{base.name}": _fields(results.ratio(figure.name, way.name, base.name)) for way, base in _COMPARED
            }
            for figure in FIGURES
        },
        "goal": {"least_ratio": GOAL, "figures": list(GOAL_FIGURES), "outcome": goal_outcome(results)},
    }


def goal_outcome(results: Results) -> str:
    """ "reached" when the appliance's median ratio to the bare loop is at least GOAL in each of GOAL_FIGURES, else "missed".

    It is "undecided" when one of the measurements it uses had errors.
    """
    if any(results.troubled_rounds(name, way.name) for name in GOAL_FIGURES for way in (APPLIANCE, BARE_LOOP)):
        return "undecided"
    ratios = [results.ratio(name, APPLIANCE.name, BARE_LOOP.name) for name in GOAL_FIGURES]
    return "reached" if all(ratio is not None and ratio.median >= GOAL for ratio in ratios) else "missed"


def _heading(setup: Setup) -> str:
    machine = setup.machine
    return (
        f"{machine.in_words}\n"
        f"shards: {setup.shards}, rounds: {setup.rounds}, seconds a measurement: {setup.seconds}; interleaved; "
        "client, gateway and real servers share the cores\n"
        f"{_busy(machine)}"
    )


def _busy(machine: Machine) -> str:
    if machine.load_at_start <= _QUIET_LOAD:
        return ""
    return f"the load average was {machine.load_at_start} at the start: other programs took their share, the figures are rough\n"


def _value_row(results: Results, way: Way) -> list[str]:
    return [way.title, *(_value_cell(results, figure, way) for figure in FIGURES)]


def _value_cell(results: Results, figure: Figure, way: Way) -> str:
    mark = _TROUBLED if results.troubled_rounds(figure.name, way.name) else ""
    return cell(results.spread(figure.name, way.name), figure.decimals) + mark


def _ratio_rows(results: Results) -> Iterable[list[str]]:
    for way, base in _COMPARED:
        cells = (cell(results.ratio(figure.name, way.name, base.name), 2) for figure in FIGURES)
        yield [f"{way.title} / {base.title}", *cells]


def _verdict(results: Results) -> str:
    titles = " and ".join(figure.title for figure in FIGURES if figure.name in GOAL_FIGURES)
    return f"goal, {APPLIANCE.title} / {BARE_LOOP.title} at least {GOAL} in {titles}: {goal_outcome(results)}\n"


def _troubles(results: Results) -> str:
    lines = [
        f"  {figure.title}, {way.title}, round {number + 1}: {trouble}\n"
        for figure in FIGURES
        for way in WAYS
        for number, trouble in results.troubled_rounds(figure.name, way.name)
    ]
    return f"{_TROUBLED} measurements with errors, not to be relied on:\n{''.join(lines)}" if lines else ""


def _series(results: Results, figure: Figure, way: Way) -> dict[str, Any]:
    readings = results.readings(figure.name, way.name)
    spread = results.spread(figure.name, way.name)
    return {
        **(_fields(spread) or {}),
        "values": [reading.value for reading in readings],
        "troubles": [reading.trouble for reading in readings],
    }


def _fields(spread: Spread | None) -> dict[str, float] | None:
    return spread and spread._asdict()
