"""Source hash: a client's address always goes to the same real server (LVS `sh`)."""

from collections.abc import Sequence
from itertools import islice
from math import log

from appliance.policy.schedulers.contract import ByClient, Candidate, CandidateT, Setup
from appliance.policy.schedulers.hashing import fixed_hash, hash_state, mixed
from appliance.wire.flow import source_address_of

BUCKETS = 4096
"""Addresses are hashed into so many buckets, and a bucket belongs to one real server. LVS has 256."""

_STEPS = 1 << 52
"""A hash is made a fraction of so many steps, which a float holds exactly, so that none is 0 or 1."""


_SCORES_AT_ONCE = 1000
"""About a millisecond's work."""

_PURPOSE = b"sh"


class SourceHash:
    """Picks by the client's address alone. Each bucket of addresses belongs to the real server with the highest score there.

    The property, that of weighted rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings", 1998; weights as in
    Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005): a real server has a share of the buckets as of the sum
    of weights, give or take what chance makes of BUCKETS. When one is added, or gets a higher weight, buckets only move to it;
    when one goes, or gets a lower weight, they only move from it. The choice is a function of the address and of endpoints and
    weights of the candidates: the same in every shard, on every gateway and after every restart, in whatever order the file has
    them. Scores are floats of the C library's logarithm, whose last bit may differ between libraries: two scores would have to be
    that near to each other to change anything.

    Slow start does nothing here: it would send a client to and fro.
    """

    needs_load = False
    needs_client = True

    def __init__(self, setup: Setup) -> None:  # noqa: ARG002
        self._candidates: Sequence[Candidate] = ()
        self._hashes: list[tuple[int, int, bytes, int]] = []
        """Of each candidate with a weight: hash, weight, endpoint, and index among the candidates."""
        self._owners: dict[int, int] = {}
        """By bucket: the index of the candidate that it belongs to. Each is found out when somebody first comes to it."""

    def pick(self, candidates: Sequence[CandidateT], client_key: bytes, now: float) -> CandidateT | None:  # noqa: ARG002
        """The candidate of this client address; None when all weights are 0. O(1); O(n) once for each bucket."""
        if candidates is not self._candidates:
            self._begin(candidates)
        if not self._hashes:
            return None
        bucket = fixed_hash(source_address_of(client_key), _PURPOSE) % BUCKETS
        owner = self._owners.get(bucket)
        if owner is None:
            owner = self._owners[bucket] = self._owner(bucket)
        return candidates[owner]

    def by_client(self, candidates: Sequence[Candidate]) -> ByClient | None:
        """Where all clients go; None until that is known. Each call finds out about some more."""
        if candidates is not self._candidates:
            self._begin(candidates)
        if not self._hashes:
            return None
        owners = self._owners
        unknown = (bucket for bucket in range(BUCKETS) if bucket not in owners) if len(owners) < BUCKETS else ()
        for bucket in list(islice(unknown, max(1, _SCORES_AT_ONCE // len(self._hashes)))):
            owners[bucket] = self._owner(bucket)
        if len(owners) < BUCKETS:
            return None
        return ByClient(hash_state(_PURPOSE), [owners[bucket] for bucket in range(BUCKETS)])

    def _begin(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self._hashes = [
            (fixed_hash(candidate.endpoint, _PURPOSE), candidate.weight, candidate.endpoint, index)
            for index, candidate in enumerate(candidates)
            if candidate.weight > 0
        ]
        self._owners = {}

    def _owner(self, bucket: int) -> int:
        spread = mixed(bucket + 1)
        scores = (
            (-weight / log((mixed(number ^ spread) % _STEPS + 0.5) / _STEPS), endpoint, index)
            for number, weight, endpoint, index in self._hashes
        )
        return max(scores)[2]
