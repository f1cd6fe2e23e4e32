"""A ring of prepared admissions: the memory that a shard and the kernel's program share, see `ipc.admission_layout`."""

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from appliance.ipc.admission_layout import (
    BY_ADDRESS,
    BY_LOOKUP,
    BY_PERSISTENCE,
    RING,
    RING_OFFSETS,
    RING_PLACES,
    SCHEDULE_PLACES,
    STEPS,
    VOID_TICKET,
)
from appliance.sessions.lane_maps import LaneMaps
from appliance.sessions.lookup_tables import LookupTable
from appliance.state.persistence import Remembering
from appliance.state.session import Session

MOST_READY = RING_PLACES

_HEAD, _TAIL = (RING_OFFSETS[name] // 8 for name in ("head", "tail"))
_TURN, _TURN_LIMIT = (RING_OFFSETS[name] // 8 for name in ("turn", "turn_limit"))
_BUSY, _IS_OPEN, _GENERATION, _TICKETS = (RING_OFFSETS[name] // 4 for name in ("busy", "is_open", "generation", "tickets"))
_LENGTH, _BY_CLIENT, _STEPS = (RING_OFFSETS[name] // 4 for name in ("schedule_length", "by_client", "steps"))
_FOR_PROOFS = RING_OFFSETS["for_proofs"] // 4
_FIRST_SLOT, _LOOKUP = RING_OFFSETS["first_slot"] // 4, RING_OFFSETS["lookup"] // 4
_REMEMBERING = RING_OFFSETS["client_service"] // 4
_HASH_STATE = RING_OFFSETS["hash_state"] // 4
_SCHEDULE = RING_OFFSETS["schedule"] // 2
_PLACE_MASK = RING_PLACES - 1
_GENERATION_MASK = (1 << 32) - 1


class Ticket(NamedTuple):
    """An admission that is ready: a session without a client, in no table."""

    session: Session
    entry: int
    last_seq: int | None
    """The last number on its local port, before it was taken for this session."""


class Ring:
    """One ring, as its shard uses it."""

    __slots__ = (
        "_cells", "_halves", "_longs", "_maps", "_stepped", "_turns_seen", "allowed", "number", "rate", "renew_at_s", "seen",
        "tickets", "wanted",
    )  # fmt: skip

    def __init__(self, maps: LaneMaps, number: int) -> None:
        """What an earlier worker has put there is not handed out any more."""
        self._maps = maps
        own = maps.rings[number * RING.size : (number + 1) * RING.size]
        self._longs, self._cells, self._halves = own.cast("Q"), own.cast("I"), own.cast("H")
        self.number = number
        self.tickets: deque[Ticket] = deque()
        """Those that are not known to be taken, oldest first."""
        self.wanted = 0
        """How many were taken, or would have been if there were more, since that was looked at."""
        self.rate = 0.0
        """How many are taken between two looks when many are; it falls slowly."""
        self.renew_at_s = 0.0
        """When to look next whether those that are ready have to be decided anew."""
        self.allowed = 0
        """How many turns the kernel was allowed to take at the last look."""
        self.close()
        self.seen = self._longs[_TAIL] = self._longs[_HEAD]
        """The number of the oldest ticket."""
        self.put_schedule(())
        self._turns_seen = self._longs[_TURN]
        self._stepped = self._turns_seen
        """Up to this turn there are steps."""

    @property
    def has_taken(self) -> bool:
        """Whether tickets were taken that are still among `tickets`."""
        return self._longs[_HEAD] != self.seen

    def is_void(self) -> bool:
        """Whether the oldest ticket was taken and came to nothing."""
        return self._cells[_TICKETS + (self.seen & _PLACE_MASK)] == VOID_TICKET

    def is_in_step(self) -> bool:
        """Whether the memory that the kernel reads has the same tickets, and in the same order."""
        cells, seen = self._cells, self.seen
        places = (cells[_TICKETS + (number & _PLACE_MASK)] for number in range(seen, seen + len(self.tickets)))
        same = all(there in (ticket.entry, VOID_TICKET) for there, ticket in zip(places, self.tickets, strict=True))
        return same and self._longs[_TAIL] - seen == len(self.tickets)

    def next(self) -> Ticket:
        """The oldest ticket, which leaves the ring; it was taken."""
        self.seen += 1
        return self.tickets.popleft()

    def put(self, tickets: Sequence[Ticket], generation: int) -> None:
        """Have the kernel hand out these, no more than there is room for, behind those that are there. `generation` is that of
        the tunables that they were prepared by."""
        cells, longs = self._cells, self._longs
        tail = longs[_TAIL]
        for ticket in tickets:
            cells[_TICKETS + (tail & _PLACE_MASK)] = ticket.entry
            tail += 1
        self.tickets += tickets
        longs[_TAIL] = tail
        self._open(generation)

    @property
    def has_schedule(self) -> bool:
        """Whether the kernel takes turns here, as long as it is allowed to."""
        return self._cells[_LENGTH] > 0

    @property
    def is_by_persistence(self) -> bool:
        """Whether the kernel opens sessions here for clients that are remembered, and for nobody else."""
        return self._cells[_BY_CLIENT] == BY_PERSISTENCE

    def put_schedule(
        self,
        pools: Sequence[int],
        hash_state: Sequence[int] = (),
        remembering: Remembering | None = None,
        first_slot: int = 0,
        lookup: LookupTable | None = None,
    ) -> None:
        """Have the kernel go by this schedule, up to SCHEDULE_PLACES pools, from its next turn on; empty for none. With a
        `hash_state` a client's address has its place there, by way of a `lookup` table when there is one, or with `remembering`
        as well the slot of who is remembered for it, from `first_slot` on (`ipc.admission_layout`). The ring is closed, unless it
        has none so far and gets one of turns. The next turn is the first of a round: so all turns together are less than one
        session of each real server away from its share."""
        assert len(pools) <= SCHEDULE_PLACES
        first = 0 if hash_state or not pools else self._longs[_TURN] % len(pools)
        by_address = BY_LOOKUP if lookup else BY_ADDRESS
        self._cells[_BY_CLIENT] = BY_PERSISTENCE if remembering else by_address if hash_state else 0
        for place, word in enumerate(lookup or ()):
            self._cells[_LOOKUP + place] = word
        for place, word in enumerate(remembering or ()):
            self._cells[_REMEMBERING + place] = word
        self._cells[_FIRST_SLOT] = first_slot
        for place, word in enumerate(hash_state):
            self._cells[_HASH_STATE + place] = word
        for place, pool in enumerate(pools):
            self._halves[_SCHEDULE + (first + place) % len(pools)] = pool
        self._cells[_LENGTH] = len(pools)

    @property
    def is_for_proofs(self) -> bool:
        """Whether no SYN takes anything here, but only who returns a SYN cookie."""
        return self._cells[_FOR_PROOFS] > 0

    @is_for_proofs.setter
    def is_for_proofs(self, is_so: bool) -> None:
        self._cells[_FOR_PROOFS] = is_so

    def turns_taken(self) -> int:
        """How many turns the kernel has taken since this was asked last."""
        before, self._turns_seen = self._turns_seen, self._longs[_TURN]
        return self._turns_seen - before

    def allow(self, turns: int, generation: int, draw: Callable[[int], "array[int]"]) -> None:
        """Allow the kernel so many turns from now on, up to STEPS; `draw` gives so many steps (`ipc.admission_layout`). With 0
        none; else the ring is open afterwards, for what was prepared by the tunables of this `generation`."""
        longs = self._longs
        turn = longs[_TURN]
        self.allowed = turns
        if not turns:
            longs[_TURN_LIMIT] = turn
            return
        missing = turn + turns - max(turn, self._stepped)  # those up to there that are there were not used
        if missing > 0:
            self._put_steps(turn + turns - missing, draw(missing))
        longs[_TURN_LIMIT] = turn + turns
        self._open(generation)

    def _put_steps(self, first: int, steps: "array[int]") -> None:
        """Put the steps of turns where they belong, from that of the turn `first` on."""
        place = first % STEPS
        before_end = min(len(steps), STEPS - place)
        self._cells[_STEPS + place : _STEPS + place + before_end] = memoryview(steps)[:before_end]
        self._cells[_STEPS : _STEPS + len(steps) - before_end] = memoryview(steps)[before_end:]
        self._stepped = first + len(steps)

    def _open(self, generation: int) -> None:
        self._cells[_GENERATION] = generation & _GENERATION_MASK
        self._cells[_IS_OPEN] = 1

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Have nobody take anything, or put an endpoint in line, meanwhile."""
        was_open = self._cells[_IS_OPEN]
        self.close()
        try:
            yield
        finally:
            self._cells[_IS_OPEN] = was_open

    def take_back(self) -> Iterator[Ticket]:
        """Take back the tickets that nobody has taken, newest first; the ring is closed, and no turn is allowed."""
        self.close()
        self.allowed, self._longs[_TURN_LIMIT] = 0, self._longs[_TURN]
        taken = self._longs[_HEAD] - self.seen
        self._longs[_TAIL] = self._longs[_HEAD]
        while len(self.tickets) > taken:
            yield self.tickets.pop()

    def close(self) -> None:
        """Have no ticket taken any more. Afterwards each that was is a session, or void."""
        self._cells[_IS_OPEN] = 0
        self._maps.wait_until(lambda: not self._cells[_BUSY])
