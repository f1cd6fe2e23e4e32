"""Persistence: for some time, a client goes to the real server again that it was sent to before.

The first session of a client goes where the scheduler says, and its entry in the table that all shards share says so to the next
ones, in whatever shard. Each new session renews it. It holds only as long as its real server may get new sessions: when that is
down, removed or at weight 0, the scheduler chooses another one. (LVS keeps clients at a real server with weight 0, unless
`expire_quiescent_template` is set. A drain that new sessions of old clients go on for does not end, so here it is always set.)
"""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from typing import Generic, NamedTuple, Protocol, TypeVar

from appliance.ipc.persistence_table import Locks, PersistenceTable, client_number
from appliance.model.counters import PERSISTENCE_DISPLACED, PERSISTENCE_HITS
from appliance.wire.flow import source_address_of


class _WithSlot(Protocol):
    @property
    def slot(self) -> int: ...

    @property
    def weight(self) -> int: ...


ServerT = TypeVar("ServerT", bound=_WithSlot)


class Remembered(NamedTuple):
    """What the services of a shard share for their persistence."""

    table: PersistenceTable
    locks: Locks
    counts: memoryview
    """The queue table of the shard's counters."""


class Remembering(NamedTuple):
    """How the kernel finds the clients of a service, and for how long it goes on remembering one (`ipc.admission_layout`)."""

    service: int
    client_mask: int
    lasts_ms: int


class Persistence(Generic[ServerT]):
    """The persistence of one service in one shard. `ServerT` is the type of its real servers."""

    def __init__(self, remembered: Remembered, service: int, lasts_s: int, prefix_bits: int) -> None:
        """`service` is its number in the table. A client is remembered for `lasts_s` seconds; those with the same first
        `prefix_bits` of their address are one."""
        self._table, self._locks, self._counts = remembered
        self._service = service
        self._lasts_ms = lasts_s * 1000
        self._prefix_bits = prefix_bits
        self._candidates: Sequence[ServerT] = ()
        self._by_slot: dict[int, ServerT] = {}

    def pick(
        self, candidates: Sequence[ServerT], client_key: bytes, now: float, schedule: Callable[[], ServerT | None]
    ) -> ServerT | None:
        """The real server of this client; the one that `schedule` picks when none is known that may get a new session.

        `candidates` are those of the scheduler, and another object whenever anything of them has changed.
        """
        if candidates is not self._candidates:
            self._candidates = candidates
            self._by_slot = {candidate.slot: candidate for candidate in candidates if candidate.weight}
        client = client_number(self._service, source_address_of(client_key), self._prefix_bits)
        bucket, now_ms = self._table.bucket(client), int(now * 1000)
        known = self._known(bucket, client, now_ms)
        if known is not None:
            return known
        # Another shard may have been quicker: the first sessions of one client must not go to two real servers.
        is_locked = self._locks.take(bucket)
        try:
            return self._known(bucket, client, now_ms) or self._first(bucket, client, now_ms, schedule)
        finally:
            if is_locked:
                self._locks.give_back(bucket)

    @property
    def in_kernel(self) -> tuple[tuple[int, ...], Remembering]:
        """How the kernel finds the same for clients that are known: the state of the hash of their buckets, and the rest."""
        mask = int(IPv4Network((0, self._prefix_bits)).netmask)
        return self._table.hash_state, Remembering(self._service, mask, self._lasts_ms)

    def _known(self, bucket: int, client: int, now_ms: int) -> ServerT | None:
        found = self._table.find(bucket, client, now_ms)
        real_server = self._by_slot.get(found[1]) if found else None
        if found is not None and real_server is not None:
            self._table.renew(found[0], now_ms + self._lasts_ms)
            self._counts[PERSISTENCE_HITS] += 1
        return real_server

    def _first(self, bucket: int, client: int, now_ms: int, schedule: Callable[[], ServerT | None]) -> ServerT | None:
        picked = schedule()
        if picked is not None:
            until_ms = now_ms + self._lasts_ms
            self._counts[PERSISTENCE_DISPLACED] += self._table.put(bucket, client, picked.slot, until_ms, now_ms)
        return picked
