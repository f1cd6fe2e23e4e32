"""What the appliance is to reach beside the other modes, on any machine. Pure."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from bench.compare.results import Results
from bench.measures.bulk import BULK_FROM_SERVER, BULK_TO_SERVER
from bench.measures.latency import LATENCY_FROM_SERVER, LATENCY_TO_SERVER
from bench.measures.measure import Measure
from bench.measures.requests import CONNECTIONS, REQUESTS
from bench.modes.appliance import APPLIANCE
from bench.modes.haproxy import HAPROXY
from bench.modes.mode import Mode
from bench.modes.nft_nat import NFT_NAT
from bench.modes.routing import ROUTING
from bench.rig.results import Spread

_TIMES_ALONE = "times_alone"


class Goal(NamedTuple):
    """The median of ratios to `base` is at least `bound`; without a base, the median wait beside bulk traffic is at most so many
    times the one alone."""

    measure: Measure
    base: Mode | None
    bound: float

    def figure(self, results: Results) -> Spread | None:
        """What is held against the bound; None when it was not measured."""
        if self.base is None:
            return results.detail(self.measure, APPLIANCE, _TIMES_ALONE)
        return results.ratio(self.measure, APPLIANCE, self.base)

    def outcome(self, results: Results) -> str:
        """ "reached", "missed", or "undecided" when one of the measurements it uses had errors."""
        if any(results.troubled_rounds(self.measure, mode) for mode in (APPLIANCE, self.base) if mode):
            return "undecided"
        figure = self.figure(results)
        if figure is None:
            return "undecided"
        return "reached" if (figure.median <= self.bound if self.base is None else figure.median >= self.bound) else "missed"

    def in_words(self) -> str:
        """One line of text, without its outcome."""
        if self.base is None:
            return f"{self.measure.title}: median at most {self.bound} of undisturbed"
        return f"{self.measure.title}: at least {self.bound} of {self.base.title}"


GOALS = (
    Goal(CONNECTIONS, NFT_NAT, 1.05),
    Goal(CONNECTIONS, HAPROXY, 1.5),
    Goal(REQUESTS, NFT_NAT, 1.0),
    Goal(BULK_TO_SERVER, ROUTING, 0.9),
    Goal(BULK_FROM_SERVER, ROUTING, 0.9),
    Goal(LATENCY_TO_SERVER, None, 1.5),
    Goal(LATENCY_FROM_SERVER, None, 1.5),
)


def goals_of(measures: Collection[Measure], modes: Collection[Mode]) -> Iterator[Goal]:
    """The goals of which everything was measured."""
    for goal in GOALS:
        if goal.measure in measures and {APPLIANCE, goal.base or APPLIANCE} <= set(modes):
            yield goal
