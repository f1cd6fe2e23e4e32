"""Least connections: the real server that has least to do (LVS `lc`, `wlc`).

The load of a real server is OPEN for each session that is established or opening, and 1 for each other one. LVS counts the same
256 and 1, for the same reason: a session that closes costs its real server next to nothing, and there may be thousands in
TIME_WAIT. But LVS takes a session that is opening for one of those, so the clients of one round trip all go to the real server
that was least loaded before, and one that answers no SYN looks idle for as long as its clients wait. Here such a session counts
in full.
"""

from collections.abc import Sequence
from math import inf
from typing import Protocol

from appliance.policy.schedulers.contract import Candidate, CandidateT, Setup

OPEN = 256
"""What a session that is established or opening, or ready to be, weighs, beside one that is closing, or of UDP."""


class PreparedFor(Candidate, Protocol):
    """A candidate that sessions may be ready for, whose clients have not come yet. They count in its load."""

    @property
    def ready(self) -> int:
        """How many."""


def load_of(active: int, inactive: int, opening: int) -> int:
    """The load of a real server with so many sessions in ESTABLISHED and in other states, `opening` of the latter half-open."""
    return OPEN * (active + opening) + inactive - opening


class WeightedLeastConnections:
    """Picks the real server whose load is least for its weight, O(n). Those with equal loads take turns."""

    needs_load = True
    needs_client = False
    _weighs = True

    def __init__(self, setup: Setup) -> None:
        self._last = setup.shard - 1

    def pick(self, candidates: Sequence[CandidateT], client_key: bytes, now: float) -> CandidateT | None:  # noqa: ARG002
        """The candidate with the least load for its weight; None when all weights are 0. The client makes no difference.

        The weight of one in its slow start counts as its share, so its load grows to that of the others by and by.
        """
        count, picked, least = len(candidates), None, inf
        begin = (self._last + 1) % count if count else 0
        for index in (*range(begin, count), *range(begin)):
            candidate = candidates[index]
            weight: float = candidate.weight
            if weight <= 0:
                continue
            if not self._weighs:
                weight = 1
            if candidate.slow_start is not None:
                weight *= candidate.slow_start.share(now)
            load = candidate.load / weight
            if load < least:
                picked, least, self._last = candidate, load, index
        return picked

    def is_outdated(self, candidates: Sequence[PreparedFor]) -> bool:
        """Whether half of the sessions that are ready for one of them would be picked for another one now, O(n): without them it
        has more than that one with half as many again.

        Right behind `pick` that is never so, because each session goes to the least. It is when others have ended."""
        least, most = inf, -inf
        for candidate in candidates:
            if candidate.weight > 0:
                weight = candidate.weight if self._weighs else 1
                half = OPEN * max(1, (candidate.ready + 1) // 2)
                least = min(least, (candidate.load + half) / weight)
                if candidate.ready:
                    most = max(most, (candidate.load - half) / weight)
        return most > least


class LeastConnections(WeightedLeastConnections):
    """Picks the real server whose load is least, O(n), however high its weight is. Those with equal loads take turns."""

    _weighs = False
