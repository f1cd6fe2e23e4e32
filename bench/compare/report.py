"""The results as tables. Pure."""

from collections.abc import Iterator

from bench.compare.goals import goals_of
from bench.compare.results import ALL_CPU, GATEWAY_CPU, Results
from bench.compare.setup import Setup
from bench.measures.measure import Measure
from bench.modes.mode import Mode
from bench.modes.nft_nat import NFT_NAT
from bench.modes.routing import ROUTING
from bench.rig.tables import aligned, cell

BASES = (ROUTING, NFT_NAT)
"""What every mode is compared with."""

_QUIET_LOAD = 0.7
"""The highest load average that the start of the lab causes on a machine that does nothing else."""

QUIET_SHARE = 0.05
"""The largest share of all cores that others take on a machine that does nothing else, softirqs on idle cores included."""

_TROUBLED = "!"
_CPU_DECIMALS = 1


def as_text(setup: Setup, results: Results) -> str:
    """The tables, for people: one for each measure, with the median of each figure and its range."""
    parts = (
        _heading(setup, results),
        *(f"{measure.title}\n{_table(setup, results, measure)}" for measure in setup.measures),
        _about_cpu(setup, results),
        _goals(setup, results),
        _troubles(setup, results),
    )
    return "\n".join(filter(None, parts))


def has_cpu(setup: Setup, results: Results, measure: Measure) -> bool:
    """Whether CPU time was accounted for this measure."""
    return any(results.detail(measure, mode, ALL_CPU) for mode in setup.modes)


def _heading(setup: Setup, results: Results) -> str:
    machine = setup.machine
    lines = [
        machine.in_words,
        f"shards: {setup.shards}, rounds: {setup.rounds}, seconds a measurement: {setup.seconds}; interleaved; "
        "client, gateway and real servers share the cores",
        "median (least..largest); ratios are taken round by round",
        *setup.left_out,
    ]
    if machine.load_at_start > _QUIET_LOAD:
        lines.append(f"the load average was {machine.load_at_start} at the start")
    if (others := results.others_share()) and others.median > QUIET_SHARE:
        lines.append(
            f"other programs took {others.median:.0%} of all cores ({others.low:.0%}..{others.high:.0%}): figures are rough"
        )
    return "".join(f"{line}\n" for line in lines)


def _table(setup: Setup, results: Results, measure: Measure) -> str:
    bases = [base for base in BASES if base in setup.modes]
    head = ["", measure.value_title, *(f"/ {base.title}" for base in bases), *(figure.title for figure in measure.details)]
    if has_cpu(setup, results, measure):
        head += [
            f"gateway us/{measure.unit}",
            f"all us/{measure.unit}",
            *(["beyond routing's"] if ROUTING in setup.modes else []),
        ]
    return aligned([head, *(_row(setup, results, measure, mode) for mode in setup.modes)])


def _row(setup: Setup, results: Results, measure: Measure, mode: Mode) -> list[str]:
    if measure.protocol not in mode.protocols:
        return [mode.title, f"carries no {measure.protocol.upper()}"] + [""] * (_columns(setup, results, measure) - 1)
    mark = _TROUBLED if results.troubled_rounds(measure, mode) else ""
    cells = [mode.title, cell(results.spread(measure, mode), measure.decimals) + mark]
    cells += [cell(results.ratio(measure, mode, base), 2) for base in BASES if base in setup.modes]
    cells += [cell(results.detail(measure, mode, figure.name), figure.decimals) for figure in measure.details]
    if has_cpu(setup, results, measure):
        cells += [cell(results.detail(measure, mode, name), _CPU_DECIMALS) for name in (GATEWAY_CPU, ALL_CPU)]
        if ROUTING in setup.modes:
            cells.append(cell(results.beyond(measure, mode, ROUTING, ALL_CPU), _CPU_DECIMALS))
    return cells


def _columns(setup: Setup, results: Results, measure: Measure) -> int:
    """Columns of figures."""
    routing = ROUTING in setup.modes
    cpu = 2 + routing if has_cpu(setup, results, measure) else 0
    return 1 + sum(base in setup.modes for base in BASES) + len(measure.details) + cpu


def _about_cpu(setup: Setup, results: Results) -> str:
    if not any(has_cpu(setup, results, measure) for measure in setup.measures):
        return "CPU time was not accounted: this host has no cgroup v2 that can be written\n"
    return (
        "CPU time: 'gateway' is that of the gateway's processes. The kernel forwards in the time of whoever sends, so that part\n"
        "is only in 'all': gateway, clients, real servers, ksoftirqd. Softirqs on an idle core are in neither.\n"
    )


def _goals(setup: Setup, results: Results) -> str:
    return "".join(_goal_lines(setup, results))


def _goal_lines(setup: Setup, results: Results) -> Iterator[str]:
    for goal in goals_of(setup.measures, setup.modes):
        yield f"goal, {goal.in_words()}: {cell(goal.figure(results), 2)}, {goal.outcome(results)}\n"


def _troubles(setup: Setup, results: Results) -> str:
    lines = [
        f"  {measure.name}, {mode.title}, round {number + 1}: {trouble}\n"
        for measure in setup.measures
        for mode in setup.modes
        for number, trouble in results.troubled_rounds(measure, mode)
    ]
    return f"{_TROUBLED} measurements with errors, not to be relied on:\n{''.join(lines)}" if lines else ""
