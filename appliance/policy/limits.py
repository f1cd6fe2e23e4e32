"""How many sessions a service and its real servers may have, and who takes what one of them has no room for. Pure."""

from collections.abc import Sequence
from math import log

from appliance.policy.schedulers.contract import CandidateT
from appliance.policy.schedulers.hashing import fixed_hash, mixed

REFUSE, DROP = "refuse", "drop"
WHEN_FULL = (REFUSE, DROP)
"""What becomes of sessions beyond a limit: they are answered with RST or ICMP, or with nothing."""

_STEPS = 1 << 52


def next_best(candidates: Sequence[CandidateT], client_key: bytes) -> CandidateT | None:
    """One of these candidates, each of which has room, for a session whose own choice has none; None when there is none with a
    weight above 0. O(n).

    By weighted rendezvous hashing of the client's address and port (see `source_hash`): what one has no room for is spread over
    all others by their weights. To hand it to the next in the row would give that one the load of two.
    """
    spread = mixed(fixed_hash(client_key, b"full"))
    best, most = None, 0.0
    for candidate in candidates:
        if candidate.weight > 0:
            number = mixed(fixed_hash(candidate.endpoint, b"full") ^ spread)
            score = -candidate.weight / log((number % _STEPS + 0.5) / _STEPS)
            if score > most:
                best, most = candidate, score
    return best
