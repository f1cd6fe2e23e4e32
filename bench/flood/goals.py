"""What the appliance is to reach under a flood, beside the kernel's own SYNPROXY in the same run, on any machine. Pure."""

from collections.abc import Callable
from typing import NamedTuple

from bench.flood.modes import FRONT_DOOR, KERNEL
from bench.flood.results import FloodResults
from bench.rig.results import Spread, spread
from bench.senders.flood import UNPACED_PER_S

ANSWERED_LEAST, FRESH_LEAST, FLOODED_PER_S = 1.3, 0.9, 100_000
"""The least answers to an unpaced flood, of nft's; the least fresh connections at that rate, of the unflooded."""

UNFLOODED_LEAST = 1.0
"""The least fresh connections without a flood, of nft's."""

_SENT_LEAST = 0.95
"""A sender that made less than this share of a rate did not make that rate."""


class Goal(NamedTuple):
    """One figure of the appliance that answers in the kernel, and the bound for it. `rate_per_s` is the rate it is for; 0 when
    it is for all."""

    in_words: str
    rate_per_s: int
    figure: Callable[[FloodResults], Spread | None]
    holds: Callable[[Spread], bool]
    decimals: int = 2

    def outcome(self, results: FloodResults) -> str:
        """ "reached", "missed", "not measured", or "undecided" for a bound that held against less than the rate."""
        figure = self.figure(results)
        if figure is None:
            return "not measured"
        if not self.holds(figure):
            return "missed"
        sent = results.spread(lambda one: one.sent_per_s, FRONT_DOOR, self.rate_per_s)
        if 0 < self.rate_per_s < UNPACED_PER_S and sent and sent.median < _SENT_LEAST * self.rate_per_s:
            return f"undecided: {sent.median:,.0f} SYN/s were sent"
        return "reached"


def _answered(results: FloodResults) -> Spread | None:
    return results.ratio(lambda one: one.answered_per_s, FRONT_DOOR, KERNEL, UNPACED_PER_S)


def _share(results: FloodResults) -> Spread | None:
    return results.share(FRONT_DOOR, FLOODED_PER_S)


def _beside_kernel(results: FloodResults) -> Spread | None:
    return results.ratio(lambda one: one.fresh_per_s, FRONT_DOOR, KERNEL, FLOODED_PER_S)


def _unflooded(results: FloodResults) -> Spread | None:
    return results.ratio(lambda one: one.fresh_per_s, FRONT_DOOR, KERNEL, 0)


def _errors(results: FloodResults) -> Spread | None:
    return spread(one.errors for one in results.of_mode(FRONT_DOOR))


GOALS = (
    Goal(
        f"SYNs answered, unpaced: at least {ANSWERED_LEAST} of {KERNEL.title}",
        UNPACED_PER_S,
        _answered,
        lambda ratio: ratio.median >= ANSWERED_LEAST,
    ),
    Goal(
        f"fresh connections at {FLOODED_PER_S:,} SYN/s: at least {FRESH_LEAST} of unflooded",
        FLOODED_PER_S,
        _share,
        lambda share: share.median >= FRESH_LEAST,
    ),
    Goal(
        f"fresh connections at {FLOODED_PER_S:,} SYN/s: more than {KERNEL.title}",
        FLOODED_PER_S,
        _beside_kernel,
        lambda ratio: ratio.median > 1,
    ),
    Goal("errors of legitimate clients, a measurement: none", 0, _errors, lambda errors: errors.high == 0, decimals=0),
    Goal(
        f"fresh connections without a flood: at least {UNFLOODED_LEAST} of {KERNEL.title}",
        0,
        _unflooded,
        lambda ratio: ratio.median >= UNFLOODED_LEAST,
    ),
)
"""All of them, of FRONT_DOOR."""
