"""What a flood does to fresh connections, as a table. Pure."""

import statistics
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bench.flood.load import Load
from bench.flood.modes import COMPARED, KERNEL, MODES
from bench.modes.mode import Mode
from bench.rig.machine import Machine
from bench.rig.tables import aligned

LEAST_SHARE = 0.5
"""A mode that makes less than this share of the fresh connections that it makes without a flood counts as broken."""

_HEADS = (
    "SYN/s wanted",
    "mode",
    "SYN/s sent",
    "fresh conn/s",
    "of unflooded",
    "connect ms, median",
    "worst",
    "errors",
    "queue drops",
    "SYNs again",
)


class Round(NamedTuple):
    """One measurement, and what the kernel counted during it: packets that found a queue full, and SYNs that wrk and the probe
    had to send again."""

    load: Load
    queue_drops: int
    syns_again: int


class FloodResults:
    """All rounds of one run, by mode and by the rate that was wanted."""

    def __init__(self) -> None:
        self._rounds: dict[tuple[str, int], list[Round]] = {}

    def add(self, mode: Mode, rate_per_s: int, one: Round) -> None:
        """Add the next round."""
        self._rounds.setdefault((mode.name, rate_per_s), []).append(one)

    def rates(self) -> list[int]:
        """The rates that were measured, in order."""
        return sorted({rate for _, rate in self._rounds})

    def rounds(self, mode: Mode, rate_per_s: int) -> list[Round]:
        """The rounds of one mode at one rate; empty when this was not measured."""
        return self._rounds.get((mode.name, rate_per_s), [])

    def fresh_per_s(self, mode: Mode, rate_per_s: int) -> float:
        """Fresh connections per second, the median of all rounds."""
        return statistics.median(one.load.fresh.value for one in self.rounds(mode, rate_per_s))

    def share(self, mode: Mode, rate_per_s: int) -> float:
        """Fresh connections at this rate divided by the mode's own without a flood; 0 when it has none."""
        unflooded = self.fresh_per_s(mode, 0)
        return self.fresh_per_s(mode, rate_per_s) / unflooded if unflooded else 0.0

    def errors(self, mode: Mode, rate_per_s: int) -> list[str]:
        """Errors of wrk and of the probe, a line each."""
        rounds = self.rounds(mode, rate_per_s)
        failed = sum(one.load.failed_probes for one in rounds)
        said = [one.load.fresh.trouble for one in rounds if one.load.fresh.trouble]
        return [*said, f"{failed} probes failed"] if failed else said

    def is_broken(self, mode: Mode, rate_per_s: int) -> bool:
        """Whether there were errors, or fewer connections than LEAST_SHARE allows."""
        return bool(self.errors(mode, rate_per_s)) or self.share(mode, rate_per_s) < LEAST_SHARE

    def breaks_at(self, mode: Mode) -> int | None:
        """The first rate at which the mode is broken; None when it held at all that were measured."""
        return next((rate for rate in self.rates() if self.rounds(mode, rate) and self.is_broken(mode, rate)), None)


def as_text(machine: Machine, rounds: int, seconds: int, shards: int, results: FloodResults) -> str:
    """The table and what follows from it, for people."""
    rows = [_row(results, mode, rate) for rate in results.rates() for mode in MODES if results.rounds(mode, rate)]
    parts = (
        f"{machine.in_words}\n"
        f"shards: {shards}, rounds: {rounds}, seconds a measurement: {seconds}; two modes in turns, the others after them\n"
        f"the {machine.cores} cores also run the flooder, the client and the real servers, and the load was "
        f"{machine.load_at_start} at the start:\ncompare the modes with each other, do not take the figures for a machine's\n",
        aligned([_HEADS, *rows], left={1}),
        "".join(_ratios(results)),
        "".join(_ends(results)),
        "".join(_errors(results)),
    )
    return "\n".join(filter(None, parts))


def _row(results: FloodResults, mode: Mode, rate: int) -> list[str]:
    rounds = results.rounds(mode, rate)
    connects_ms = [1000 * took_s for one in rounds for took_s in one.load.connects_s]
    return [
        f"{rate:,}",
        mode.title,
        f"{statistics.median(one.load.flood_per_s for one in rounds):,.0f}",
        f"{results.fresh_per_s(mode, rate):,.0f}",
        f"{results.share(mode, rate):.0%}",
        f"{statistics.median(connects_ms):.2f}" if connects_ms else "-",
        f"{max(connects_ms):,.1f}" if connects_ms else "-",
        "yes" if results.errors(mode, rate) else "0",
        f"{sum(one.queue_drops for one in rounds):,}",
        f"{sum(one.syns_again for one in rounds):,}",
    ]


def _ratios(results: FloodResults) -> Iterator[str]:
    for mode in (mode for mode in COMPARED if mode is not KERNEL):
        compared = [rate for rate in results.rates() if results.rounds(mode, rate) and results.rounds(KERNEL, rate)]
        if compared:
            yield f"fresh conn/s, {mode.title} / {KERNEL.title}, by SYN/s:\n"
        for rate in compared:
            base = results.fresh_per_s(KERNEL, rate)
            yield f"  {rate:>8,}  {results.fresh_per_s(mode, rate) / base:.2f}\n" if base else f"  {rate:>8,}  -\n"


def _ends(results: FloodResults) -> Iterator[str]:
    yield f"broken (any error, or below {LEAST_SHARE:.0%} of the mode's own unflooded rate) at:\n"
    for mode in MODES:
        measured = [rate for rate in results.rates() if results.rounds(mode, rate)]
        if not measured:
            continue
        first, highest = results.breaks_at(mode), max(measured)
        yield f"  {mode.title}: {f'held at all rates up to {highest:,}' if first is None else f'{first:,}'} SYN/s\n"


def _errors(results: FloodResults) -> Iterable[str]:
    return (
        f"  {mode.title}, {rate:,} SYN/s: {'; '.join(results.errors(mode, rate))}\n"
        for mode in MODES
        for rate in results.rates()
        if results.rounds(mode, rate) and results.errors(mode, rate)
    )
