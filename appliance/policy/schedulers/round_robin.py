"""Round robin: each real server in turn (LVS `rr`, `wrr`)."""

from collections.abc import Sequence
from math import gcd

from appliance.policy.schedulers.contract import Candidate, CandidateT, Scheduler, Setup
from appliance.policy.schedulers.turns import Turns


class RoundRobin:
    """Picks each real server with a weight above 0 in turn, however high its weight is."""

    needs_load = False
    needs_client = False

    def __init__(self, setup: Setup) -> None:
        self._last = setup.shard - 1

    def pick(self, candidates: Sequence[CandidateT], client_key: bytes, now: float) -> CandidateT | None:  # noqa: ARG002
        """The next candidate after the last one picked; None when all weights are 0. The client makes no difference.

        One in its slow start lets some of its turns pass, unless all others are in theirs as well.
        """
        count = len(candidates)
        passed = None
        before = self._last
        for step in range(1, count + 1):
            index = (before + step) % count
            candidate = candidates[index]
            if candidate.weight > 0:
                if _takes_its_turn(candidate, now):
                    self._last = index
                    return candidate
                if passed is None:
                    passed, self._last = candidate, index
        return passed


class WeightedRoundRobin:
    """Picks each real server as often as its weight says, interleaved; see `turns.Turns` for how exactly.

    Each shard has turns of its own. So over all shards together a real server is less than one session for each shard away from
    its exact share, and shards begin at different ones of those with equal weights.
    """

    needs_load = False
    needs_client = False

    def __init__(self, setup: Setup) -> None:
        self._candidates: Sequence[Candidate] = ()
        self._turns: Turns | None = None
        self._picked = setup.shard
        """How many turns were taken, counted from the number of the shard."""

    def pick(self, candidates: Sequence[CandidateT], client_key: bytes, now: float) -> CandidateT | None:  # noqa: ARG002
        """The candidate whose turn it is; None when all weights are 0. The client makes no difference.

        One in its slow start lets some of its turns pass, unless too many turns in a row come to such ones.
        """
        if candidates is not self._candidates:
            self._begin(candidates)
        if self._turns is None:
            return None
        candidate = candidates[0]
        for _ in range(
            len(candidates) + 1
        ):  # one more than all, so that it is not always the same one when nobody takes its turn
            self._picked += 1
            candidate = candidates[self._turns.take()]
            if _takes_its_turn(candidate, now):
                break
        return candidate

    def _begin(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        weights = [candidate.weight for candidate in candidates]
        self._turns = Turns(weights, self._picked % len(weights)) if any(weights) else None


def round_length(scheduler: Scheduler, candidates: Sequence[Candidate]) -> int:
    """After how many turns a scheduler begins again, when nobody is in its slow start; 0 when it does not go by turns alone."""
    weights = [candidate.weight for candidate in candidates if candidate.weight]
    if isinstance(scheduler, WeightedRoundRobin):
        return sum(weights) // gcd(*weights) if weights else 0
    return len(weights) if isinstance(scheduler, RoundRobin) else 0


def _takes_its_turn(candidate: Candidate, now: float) -> bool:
    return candidate.slow_start is None or candidate.slow_start.admits(now)
