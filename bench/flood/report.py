"""What a flood does to fresh connections, and how many of its SYNs are answered, as a table. Pure."""

import statistics
from collections.abc import Iterable, Iterator

from bench.flood.goals import GOALS
from bench.flood.modes import COMPARED, CONTROL, FRONT_DOOR, KERNEL, MODES
from bench.flood.results import LEAST_SHARE, FloodResults
from bench.modes.mode import Mode
from bench.rig.machine import Machine
from bench.rig.tables import aligned, cell
from bench.senders.flood import rate_in_words

_HEADS = (
    "SYN/s wanted",
    "mode",
    "SYN/s sent",
    "SYN/s answered",
    "answered, alone",
    "fresh conn/s",
    "of unflooded",
    "errors",
    "connect ms, median",
    "worst",
    "queue drops",
    "SYNs again",
)


def as_text(machine: Machine, rounds: int, seconds: int, shards: int, results: FloodResults) -> str:
    """The table and what follows from it, for people."""
    rows = [_row(results, mode, rate) for rate in results.rates() for mode in MODES if results.rounds(mode, rate)]
    parts = (
        f"{machine.in_words}\n"
        f"shards: {shards}, rounds: {rounds}, seconds a measurement: {seconds}; "
        f"{', '.join(mode.name for mode in COMPARED)} in turns, others after them\n"
        f"the {machine.cores} cores also run the flooder, the client and the real servers, and the load was "
        f"{machine.load_at_start} at the start:\ncompare the modes with each other, do not take the figures for a machine's\n"
        "median (least..largest); ratios are taken round by round; nftables on the client's host counts SYNs and answers\n"
        "while wrk runs, and for a second before it, when the flood is alone\n"
        f"SYNs that were captured and had right checksums: {results.captured():,}\n",
        aligned([_HEADS, *rows], left={1}),
        "".join(_ratios(results)),
        "".join(_beside_control(results)),
        "".join(_goals(results)),
        "".join(_ends(results)),
        "".join(_errors(results)),
    )
    return "\n".join(filter(None, parts))


def _row(results: FloodResults, mode: Mode, rate: int) -> list[str]:
    rounds = results.rounds(mode, rate)
    connects_ms = [1000 * took_s for one in rounds for took_s in one.load.connects_s]
    return [
        rate_in_words(rate),
        mode.title,
        cell(results.spread(lambda one: one.sent_per_s, mode, rate), 0),
        cell(results.spread(lambda one: one.answered_per_s, mode, rate), 0),
        cell(results.spread(lambda one: one.answered_alone_per_s, mode, rate), 0),
        cell(results.spread(lambda one: one.fresh_per_s, mode, rate), 0),
        cell(results.share(mode, rate), 2),
        cell(results.spread(lambda one: one.errors, mode, rate), 0),
        f"{statistics.median(connects_ms):.2f}" if connects_ms else "-",
        f"{max(connects_ms):,.1f}" if connects_ms else "-",
        f"{sum(one.queue_drops for one in rounds):,}",
        f"{sum(one.syns_again for one in rounds):,}",
    ]


def _ratios(results: FloodResults) -> Iterator[str]:
    for mode in (mode for mode in COMPARED if mode not in (CONTROL, KERNEL)):
        compared = [rate for rate in results.rates() if results.rounds(mode, rate) and results.rounds(KERNEL, rate)]
        if compared:
            rows = [_ratio_row(results, mode, rate) for rate in compared]
            yield f"{mode.title} / {KERNEL.title}:\n"
            yield aligned([("SYN/s wanted", "fresh conn/s", "SYN/s answered", "answered, alone"), *rows], left=())


def _ratio_row(results: FloodResults, mode: Mode, rate: int) -> list[str]:
    fresh = results.ratio(lambda one: one.fresh_per_s, mode, KERNEL, rate)
    answered = results.ratio(lambda one: one.answered_per_s, mode, KERNEL, rate)
    alone = results.ratio(lambda one: one.answered_alone_per_s, mode, KERNEL, rate)
    return [rate_in_words(rate), cell(fresh, 2), cell(answered, 2), cell(alone, 2)]


def _beside_control(results: FloodResults) -> Iterator[str]:
    """What answering costs, without what sending costs: both share the cores here."""
    rates = [rate for rate in results.rates() if rate and results.rounds(FRONT_DOOR, rate) and results.rounds(CONTROL, rate)]
    if rates:
        yield f"{FRONT_DOOR.title}, fresh connections / those while the same flood goes where nobody answers:\n"
    for rate in rates:
        ratio = results.ratio(lambda one: one.fresh_per_s, FRONT_DOOR, CONTROL, rate)
        yield f"  {rate_in_words(rate)} SYN/s: {cell(ratio, 2)}\n"


def _goals(results: FloodResults) -> Iterator[str]:
    for goal in GOALS if results.of_mode(FRONT_DOOR) else ():
        yield f"goal, {goal.in_words}: {cell(goal.figure(results), goal.decimals)}, {goal.outcome(results)}\n"


def _ends(results: FloodResults) -> Iterator[str]:
    yield f"broken (any error, or below {LEAST_SHARE:.0%} of the mode's own unflooded rate) at:\n"
    for mode in MODES:
        measured = [rate for rate in results.rates() if results.rounds(mode, rate)]
        if not measured:
            continue
        first, highest = results.breaks_at(mode), rate_in_words(max(measured))
        yield f"  {mode.title}: {f'held at all rates up to {highest}' if first is None else rate_in_words(first)} SYN/s\n"


def _errors(results: FloodResults) -> Iterable[str]:
    return (
        f"  {mode.title}, {rate_in_words(rate)} SYN/s: {'; '.join(results.errors(mode, rate))}\n"
        for mode in MODES
        for rate in results.rates()
        if results.rounds(mode, rate) and results.errors(mode, rate)
    )
