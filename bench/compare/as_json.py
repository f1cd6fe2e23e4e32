"""The results for programs, the chart among them. Pure."""

from typing import Any

from bench.compare.goals import goals_of
from bench.compare.report import BASES, has_cpu
from bench.compare.results import ALL_CPU, GATEWAY_CPU, OTHERS_SHARE, Results
from bench.compare.setup import Setup
from bench.measures.measure import Measure
from bench.modes.mode import Mode
from bench.rig.results import Spread

VERSION = 1
"""Of the shape below; another shape gets another number."""


def as_json(setup: Setup, results: Results) -> dict[str, Any]:
    """Everything that was measured. A ratio is `null` where the base is 0 or was not measured."""
    return {
        "version": VERSION,
        "machine": setup.machine._asdict(),
        "shards": setup.shards,
        "rounds": setup.rounds,
        "seconds": setup.seconds,
        "left_out": list(setup.left_out),
        "others_share": _fields(results.others_share()),
        "modes": {mode.name: mode.title for mode in setup.modes},
        "measures": {measure.name: _measure(setup, results, measure) for measure in setup.measures},
        "goals": [
            {"goal": goal.in_words(), "figure": _fields(goal.figure(results)), "outcome": goal.outcome(results)}
            for goal in goals_of(setup.measures, setup.modes)
        ],
    }


def _measure(setup: Setup, results: Results, measure: Measure) -> dict[str, Any]:
    details = [figure.name for figure in measure.details]
    if has_cpu(setup, results, measure):
        details += [GATEWAY_CPU, ALL_CPU]
    if results.others_share():
        details.append(OTHERS_SHARE)
    modes = setup.measured_modes(measure)
    return {
        "title": measure.title,
        "value": measure.value_title,
        "decimals": measure.decimals,
        "unit": measure.unit,
        "more_is_better": measure.more_is_better,
        "modes": {mode.name: _series(results, measure, mode, details) for mode in modes},
        "ratios": {
            f"{mode.name}/{base.name}": _fields(results.ratio(measure, mode, base))
            for base in BASES
            for mode in modes
            if base in modes and mode is not base
        },
    }


def _series(results: Results, measure: Measure, mode: Mode, details: list[str]) -> dict[str, Any]:
    readings = results.readings(measure, mode)
    return {
        **(_fields(results.spread(measure, mode)) or {}),
        "values": [reading.value for reading in readings],
        "troubles": [reading.trouble for reading in readings],
        "details": {
            name: {
                **(_fields(results.detail(measure, mode, name)) or {}),
                "values": [reading.details.get(name) for reading in readings],
            }
            for name in details
        },
    }


def _fields(spread: Spread | None) -> dict[str, float] | None:
    return spread and spread._asdict()
