"""Round robin: each real server in turn."""

from collections.abc import Sequence

from appliance.policy.schedulers.contract import CandidateT


class RoundRobin:
    """Picks each real server with a weight above 0 in turn, however high its weight is (LVS `rr`)."""

    def __init__(self) -> None:
        self._last = -1

    def pick(self, candidates: Sequence[CandidateT], client_key: bytes) -> CandidateT | None:  # noqa: ARG002
        """The next candidate after the last one picked; None when all weights are 0. The client makes no difference."""
        count = len(candidates)
        for step in range(1, count + 1):
            index = (self._last + step) % count
            candidate = candidates[index]
            if candidate.weight > 0:
                self._last = index
                return candidate
        return None
