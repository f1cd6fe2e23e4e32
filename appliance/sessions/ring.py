"""A ring of prepared admissions: the memory that a shard and the kernel's program share, see RING_FIELDS of `ipc.lane_layout`."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from appliance.ipc.lane_layout import RING, RING_OFFSETS, RING_PLACES, VOID_TICKET
from appliance.sessions.lane_maps import LaneMaps
from appliance.state.session import Session

MOST_READY = RING_PLACES

_HEAD, _TAIL = (RING_OFFSETS[name] // 8 for name in ("head", "tail"))
_BUSY, _IS_OPEN, _GENERATION, _TICKETS = (RING_OFFSETS[name] // 4 for name in ("busy", "is_open", "generation", "tickets"))
_PLACE_MASK = RING_PLACES - 1
_GENERATION_MASK = (1 << 32) - 1


class Ticket(NamedTuple):
    """An admission that is ready: a session without a client, in no table."""

    session: Session
    entry: int
    last_seq: int | None
    """The last number on its local port, before it was taken for this session."""
    is_renewed: bool = False
    """Whether its entry and endpoint have had a session before: then its flows are there, and its record has the last number."""


class Ring:
    """One ring, as its shard uses it."""

    __slots__ = ("_cells", "_longs", "_maps", "rate", "renew_at_s", "seen", "tickets", "wanted")

    def __init__(self, maps: LaneMaps, number: int) -> None:
        """What an earlier worker has put there is not handed out any more."""
        self._maps = maps
        own = maps.rings[number * RING.size : (number + 1) * RING.size]
        self._longs, self._cells = own.cast("Q"), own.cast("I")
        self.tickets: deque[Ticket] = deque()
        """Those that are not known to be taken, oldest first."""
        self.wanted = 0
        """How many were taken, or would have been if there were more, since that was looked at."""
        self.rate = 0.0
        """How many are taken between two looks when many are; it falls slowly."""
        self.renew_at_s = 0.0
        """When to look next whether those that are ready have to be decided anew."""
        self.close()
        self.seen = self._longs[_TAIL] = self._longs[_HEAD]
        """The number of the oldest ticket."""

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
        cells[_GENERATION] = generation & _GENERATION_MASK
        cells[_IS_OPEN] = 1

    def take_back(self) -> Iterator[Ticket]:
        """Take back the tickets that nobody has taken, newest first; the ring is closed."""
        self.close()
        taken = self._longs[_HEAD] - self.seen
        self._longs[_TAIL] = self._longs[_HEAD]
        while len(self.tickets) > taken:
            yield self.tickets.pop()

    def close(self) -> None:
        """Have no ticket taken any more. Afterwards each that was is a session, or void."""
        self._cells[_IS_OPEN] = 0
        self._maps.wait_until(lambda: not self._cells[_BUSY])
