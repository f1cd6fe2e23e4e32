"""Maglev: a client's address goes to the same real server, and few move when real servers come and go (LVS `mh`)."""

from collections.abc import Sequence

from appliance.policy.schedulers.contract import ByClient, Candidate, CandidateT, Setup
from appliance.policy.schedulers.hashing import fixed_hash, hash_state, mixed
from appliance.policy.schedulers.maglev_table import MaglevTable
from appliance.policy.schedulers.source_hash import SourceHash
from appliance.wire.flow import source_address_of

_TRIES = 8
"""How often the hash is made anew when it leads to a real server that takes no new sessions."""


_PURPOSE = b"mh"


class Maglev:
    """Picks by the client's address alone, from the table of `maglev_table`.

    The property (NSDI 2016, 3.4 and 5.3): each real server has its share of the places, to within one place with the same or
    other weights; and when one of n goes, its places go to the others, and few of the other places change hands.

    A table takes some tens of milliseconds, so it is built in steps while packets go on. Until a service has its first one, it is
    served as by `sh`; after a change, the old table serves on, and a client whose real server takes no new sessions any more goes
    where the hash of his hash leads. Both are functions of address, endpoints and weights, too, so shards and gateways that are
    at the same step agree. When the table is there, the choice is a function of the candidates alone.

    Slow start does nothing here: it would send a client to and fro.
    """

    needs_load = False
    needs_client = True

    def __init__(self, setup: Setup) -> None:
        self._tables = setup.tables
        self._places = setup.maglev_places
        self._without = SourceHash(setup)
        self._candidates: Sequence[Candidate] = ()
        self._by_endpoint: dict[bytes, int] = {}
        """The index of each candidate with a weight."""
        self._table: MaglevTable | None = None
        self._wanted: MaglevTable | None = None
        """The table that takes the place of the other one when it is complete."""

    def pick(self, candidates: Sequence[CandidateT], client_key: bytes, now: float) -> CandidateT | None:
        """The candidate of this client address; None when all weights are 0. O(1)."""
        self._look(candidates)
        if self._table is not None and self._by_endpoint:
            number = fixed_hash(source_address_of(client_key), _PURPOSE)
            for _ in range(_TRIES):
                index = self._by_endpoint.get(self._table.endpoint_at(number))
                if index is not None:
                    return candidates[index]
                number = mixed(number)
        return self._without.pick(candidates, client_key, now)

    def by_client(self, candidates: Sequence[Candidate]) -> ByClient | None:
        """Where all clients go; None until the table is there, and without a candidate."""
        self._look(candidates)
        if self._table is None or self._wanted is not None or not self._by_endpoint:
            return None
        owners = [self._by_endpoint[endpoint] for endpoint in self._table.endpoints]
        return ByClient(hash_state(_PURPOSE), owners, self._table.owners)

    def _look(self, candidates: Sequence[Candidate]) -> None:
        """Go by these candidates, and by their table as soon as it is there."""
        if candidates is not self._candidates:
            self._begin(candidates)
        if self._wanted is not None and self._wanted.is_complete:
            self._table, self._wanted = self._wanted, None

    def _begin(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        weighing = sorted((candidate.endpoint, candidate.weight) for candidate in candidates if candidate.weight > 0)
        self._by_endpoint = {candidate.endpoint: index for index, candidate in enumerate(candidates) if candidate.weight > 0}
        self._wanted = self._tables.table(tuple(weighing), self._places) if weighing else None
