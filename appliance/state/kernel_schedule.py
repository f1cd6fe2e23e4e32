"""How the kernel chooses real servers for new sessions of a service by itself (`ipc.admission_layout`, RING_FIELDS). Pure."""

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from appliance.ipc.admission_layout import LOOKUP_PLACES, MOST_TURNS, SCHEDULE_PLACES
from appliance.policy.schedulers.contract import ByClient
from appliance.policy.schedulers.maglev import Maglev
from appliance.policy.schedulers.source_hash import SourceHash
from appliance.state.persistence import Remembering
from appliance.state.real_server import RealServer
from appliance.state.services import VirtualService


class KernelSchedule(NamedTuple):
    """A real server for each place, or None: by turns; with a `hash_state` by the client's address, which leads to a place by
    itself or by way of a `table`; with `remembering` as well, by the slot of who is remembered for the client, from `first_slot`
    on. Without places, the kernel opens no session by it."""

    real_servers: Sequence[RealServer | None] = ()
    hash_state: tuple[int, ...] = ()
    remembering: Remembering | None = None
    first_slot: int = 0
    table: "array[int]" = array("B")


def schedule_of(service: VirtualService[Any], now: float) -> KernelSchedule:
    """That of a service at this moment, at which no real server is in its slow start. It has no places until all is known, and
    where a round of turns is too long."""
    if service.persistence is not None:
        return _by_slot(service.candidates, *service.persistence.in_kernel)
    scheduler, candidates = service.scheduler, service.candidates
    if isinstance(scheduler, SourceHash | Maglev):
        found = scheduler.by_client(candidates)
        return KernelSchedule() if found is None else _by_address(candidates, found)
    return KernelSchedule(service.turns(MOST_TURNS, now))


def _by_address(candidates: Sequence[RealServer], found: ByClient) -> KernelSchedule:
    """A place for each hash, or for each real server with a table that leads there; none when these are too many."""
    owners, table = [candidates[index] for index in found.owners], found.table
    if len(owners) > SCHEDULE_PLACES or len(table) > LOOKUP_PLACES:
        return KernelSchedule()
    if len(table) > SCHEDULE_PLACES:
        return KernelSchedule(owners, found.hash_state, table=table)
    return KernelSchedule([owners[place] for place in table] if table else owners, found.hash_state)


def _by_slot(candidates: Sequence[RealServer], hash_state: tuple[int, ...], remembering: Remembering) -> KernelSchedule:
    """A place for each slot of those that may get new sessions, and for all between; none when these are too many."""
    takers = {candidate.slot: candidate for candidate in candidates if candidate.weight}
    if not takers or max(takers) - min(takers) >= SCHEDULE_PLACES:
        return KernelSchedule()
    slots = range(min(takers), max(takers) + 1)
    return KernelSchedule([takers.get(slot) for slot in slots], hash_state, remembering, slots.start)
