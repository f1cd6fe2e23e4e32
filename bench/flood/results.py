"""What was measured under floods in one run, and how modes compare. Pure."""

from collections.abc import Callable
from typing import NamedTuple

from bench.flood.load import Load
from bench.modes.mode import Mode
from bench.rig.results import Spread, spread

LEAST_SHARE = 0.5
"""A mode that makes less than this share of the fresh connections that it makes without a flood counts as broken."""


class Round(NamedTuple):
    """One measurement, and what the kernel counted during it: packets that found a queue full, and SYNs that wrk and the probe
    had to send again."""

    load: Load
    queue_drops: int
    syns_again: int

    @property
    def fresh_per_s(self) -> float:
        """Fresh connections of wrk in a second."""
        return self.load.fresh.value

    @property
    def sent_per_s(self) -> float:
        """SYNs of the flood in a second."""
        return self.load.flood.sent

    @property
    def answered_per_s(self) -> float:
        """SYN-ACKs to the flood in a second."""
        return self.load.flood.answered

    @property
    def answered_alone_per_s(self) -> float:
        """The same while nothing else used the cores: before wrk begins."""
        return self.load.alone.answered

    @property
    def errors(self) -> int:
        """Errors of legitimate clients: of wrk and of the probe."""
        return self.load.errors


Figure = Callable[[Round], float]


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

    def of_mode(self, mode: Mode) -> list[Round]:
        """The rounds of one mode at all rates."""
        return [one for rate in self.rates() for one in self.rounds(mode, rate)]

    def captured(self) -> int:
        """How many SYNs were captured and had right checksums, in all rounds."""
        return sum(one.load.captured for rounds in self._rounds.values() for one in rounds)

    def spread(self, figure: Figure, mode: Mode, rate_per_s: int) -> Spread | None:
        """The spread of one figure over all rounds; None when it was not measured."""
        return spread(map(figure, self.rounds(mode, rate_per_s)))

    def share(self, mode: Mode, rate_per_s: int) -> Spread | None:
        """Fresh connections at this rate divided by the mode's own without a flood, round by round; 0 for a mode that has none
        without a flood. None when it was not measured."""
        rounds, unflooded = self.rounds(mode, rate_per_s), self.rounds(mode, 0)
        pairs = zip(rounds, unflooded, strict=False)
        return spread(one.fresh_per_s / base.fresh_per_s if base.fresh_per_s else 0.0 for one, base in pairs)

    def ratio(self, figure: Figure, mode: Mode, base: Mode, rate_per_s: int) -> Spread | None:
        """How a mode compares with another at a rate, round by round: within a round the machine is the same, over all it is not.

        Rounds in which `base` has 0 are left out; None when no round is left.
        """
        pairs = zip(self.rounds(mode, rate_per_s), self.rounds(base, rate_per_s), strict=False)
        return spread(figure(one) / figure(other) for one, other in pairs if figure(other))

    def errors(self, mode: Mode, rate_per_s: int) -> list[str]:
        """Errors of wrk and of the probe, a line each."""
        rounds = self.rounds(mode, rate_per_s)
        failed = sum(one.load.failed_probes for one in rounds)
        said = [one.load.fresh.trouble for one in rounds if one.load.fresh.trouble]
        return [*said, f"{failed} probes failed"] if failed else said

    def is_broken(self, mode: Mode, rate_per_s: int) -> bool:
        """Whether there were errors, or fewer connections than LEAST_SHARE allows."""
        share = self.share(mode, rate_per_s)
        return bool(self.errors(mode, rate_per_s)) or share is None or share.median < LEAST_SHARE

    def breaks_at(self, mode: Mode) -> int | None:
        """The first rate at which the mode is broken; None when it held at all that were measured."""
        return next((rate for rate in self.rates() if self.rounds(mode, rate) and self.is_broken(mode, rate)), None)
