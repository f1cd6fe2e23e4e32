"""What floods of unsolicited packets do to requests, with the defence and without, as a table. Pure."""

import statistics
from collections.abc import Sequence

from bench.defence.load import CASES, CONTROL, DEFENDED, QUIET, Case, Counted
from bench.rig.machine import Machine
from bench.rig.results import Spread, spread
from bench.rig.tables import aligned, cell

GOAL = 0.8
"""The least share of the requests without a flood that the defence is to keep."""

_HEADS = (
    "flood of",
    "against",
    "sent/s",
    "requests/s, median (min..max)",
    "of unflooded",
    "of the control",
    "sent",
    "counted",
    "difference",
)


class DefenceResults:
    """All rounds of one run, by case; those of each in their order."""

    def __init__(self) -> None:
        self._rounds: dict[Case, list[Counted]] = {case: [] for case in CASES}

    def add(self, case: Case, one: Counted) -> None:
        """Add the next round."""
        self._rounds[case].append(one)

    def rounds(self, case: Case) -> list[Counted]:
        """All of them so far."""
        return self._rounds[case]

    def ratio(self, case: Case, base: Case) -> Spread | None:
        """Requests of one case divided by those of another, round by round, because a machine drifts. None without a round to
        compare."""
        pairs = zip(self.rounds(case), self.rounds(base), strict=False)
        return spread(one.requests.value / other.requests.value for one, other in pairs if other.requests.value)

    def differences(self) -> list[str]:
        """A line for each counter that did not count exactly what was sent."""
        return [
            f"{case.kind or 'no'} flood, {case.title}, round {number + 1}: {one.sent} sent, but {name} differs by {move:+}"
            for case in CASES
            for number, one in enumerate(self.rounds(case))
            for name, move in one.difference(case).items()
        ]

    def goal_outcome(self) -> str:
        """ "reached" when the median share of unflooded requests is at least GOAL under each flood, else "missed".

        It is "undecided" when one of the measurements it uses had errors.
        """
        cases = [case for case in CASES if case.against == DEFENDED]
        if any(one.requests.trouble for case in (QUIET, *cases) for one in self.rounds(case)):
            return "undecided"
        ratios = [self.ratio(case, QUIET) for case in cases]
        return "reached" if all(ratio is not None and ratio.median >= GOAL for ratio in ratios) else "missed"


def as_text(machine: Machine, rounds: int, seconds: int, shards: int, results: DefenceResults) -> str:
    """The table and what follows from it, for people."""
    rows = [_row(results, case) for case in CASES if results.rounds(case)]
    parts = (
        f"{machine.in_words}\n"
        f"shards: {shards}, rounds: {rounds}, seconds a measurement: {seconds}; all cases in turns\n"
        f"the {machine.cores} cores also run the flooder, the client and the real servers, and the load was "
        f"{machine.load_at_start} at the start:\nthe control shows what sending alone costs here\n",
        aligned([_HEADS, *rows], left={0, 1}),
        f"goal, at least {GOAL} of the requests without a flood while the defence is on: {results.goal_outcome()}\n",
        _listed("counters that differ from what was sent", results.differences()),
        _listed("measurements with errors", _troubles(results)),
    )
    return "\n".join(filter(None, parts))


def _row(results: DefenceResults, case: Case) -> list[str]:
    rounds = results.rounds(case)
    control = next((other for other in CASES if other.against == CONTROL and other.kind == case.kind), case)
    sent, counted = sum(one.sent for one in rounds), sum(sum(one.counted.values()) for one in rounds)
    differences = sum(sum(map(abs, one.difference(case).values())) for one in rounds)
    return [
        case.kind or "-",
        case.title,
        f"{statistics.median(one.sent_per_s for one in rounds):,.0f}",
        cell(spread(one.requests.value for one in rounds), 0),
        "-" if case == QUIET else cell(results.ratio(case, QUIET), 2),
        "-" if case == control else cell(results.ratio(case, control), 2),
        f"{sent:,}",
        f"{counted:,}",
        f"{differences:,}",
    ]


def _troubles(results: DefenceResults) -> list[str]:
    return [
        f"{case.kind or 'no'} flood, {case.title}, round {number + 1}: {one.requests.trouble}"
        for case in CASES
        for number, one in enumerate(results.rounds(case))
        if one.requests.trouble
    ]


def _listed(title: str, lines: Sequence[str]) -> str:
    return "".join((f"{title}:\n", *(f"  {line}\n" for line in lines))) if lines else ""
