"""Sessions that the kernel has opened by prepared admissions and that a shard has not taken into its tables: most are over soon.

A session is young at first. When it is over, with both FINs acknowledged, it never comes into the tables: the kernel puts its
endpoint in line in its pool (`sessions.pools`), where it rests with its entry and its flows, and uses it again for a later client
whose turn it is, with a number beyond the last one. The shard only reads what has happened. A packet that is late comes up, and
brings its session into the tables. The shard looks twice at those that are young: one whose handshake takes long, and one that is
not over half a second later, is taken into the tables like any other. So is each young one that somebody asks about: a packet
that came up, a query, a change of what decisions are made by.

Until then a young session counts as established and a resting one as in TIME_WAIT, in all figures.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import PERSISTENCE_HITS
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import TcpState
from appliance.sessions.admission import Admission
from appliance.sessions.ended import EndedSessions
from appliance.sessions.pools import Pool
from appliance.sessions.readiness import may_be_short
from appliance.sessions.resting import Owner as RestingOwner
from appliance.sessions.resting import Resting
from appliance.sessions.retiring import Owner as RetiringOwner
from appliance.sessions.retiring import Retiring
from appliance.sessions.ring import Ring, Ticket
from appliance.sessions.short_books import ShortBooks
from appliance.sessions.short_figures import Owner as FiguresOwner
from appliance.sessions.short_figures import ShortFigures
from appliance.sessions.spares import Spares
from appliance.state.lane_entry import CELLS, HELD_CELL, age_ms, client_isn_in, is_closed, state_in
from appliance.state.real_server import RealServer
from appliance.state.services import VirtualService
from appliance.state.session import Session

MOST = 16_384
"""Sessions of a shard that may be young or rest; fewer where the lane has few entries."""
_ENTRIES_FOR_ONE = 4

HANDSHAKE_MS = 50
"""How old a session may become before its handshake is a matter of the shard."""
YOUNG_MS = 500
"""How old it may become before it is one of the tables."""
_MS_PER_S = 1000

_READ_EVERY_S = 0.04
_MOST_UNREAD = 512
"""How often, and behind how many turns, it is read at least what the kernel has done: each time looks at all lines, however few
sessions have moved."""

_LOOKS = 2000
_TAKE_IN_PRICE = 20
"""What a look does: a look at a session costs one, and one that is taken into the tables as much as so many looks. A millisecond
or two in all."""

_HALF_OPEN = (int(TcpState.SYN_RECV), int(TcpState.SYN_SENT))

Batches = deque[tuple[float, list[int]]]
"""Entries of sessions that were opened, and when that was known; the oldest in front. Some of them are young no more."""


class Owner(FiguresOwner, RestingOwner, RetiringOwner, Protocol):
    """What short-lived sessions need of the sessions of their shard."""

    ended: EndedSessions


class ShortLived:
    """Those of one shard."""

    def __init__(
        self,
        owner: Owner,
        admission: Admission,
        shared: SharedState,
        shard: int,
        counts: memoryview,
        take_in: Callable[[Ticket], None],
    ) -> None:
        """`admission` is that of TCP; `counts` is the table "queue" of the shard. `take_in` takes a session into the tables. The
        rings of the shard are closed."""
        self._owner, self._counts = owner, counts
        self._figures = ShortFigures(owner, shared, shard, counts)
        self._take_in_tables = take_in
        self._time_wait_counts = shared.time_wait_counts
        records = owner.lane.maps.records
        self._cells, self._longs = records.cast("I"), records.cast("Q")
        self.spares = Spares(owner, admission, counts)
        self._resting = Resting(owner, admission, shared, shard, self._figures, self._read, self.spares)
        self.retiring = Retiring(owner, admission.local_ports, self._resting, self._figures, self.may_have, lambda: self.room)
        self._young: dict[int, Ticket] = {}
        """By entry."""
        self._books = ShortBooks(self._young, self._resting.tickets, self.spares, self._figures)
        self.unread = 0
        """Turns that the kernel has taken, as far as that is known, since it was read last what it has done."""
        self._read_at_s = 0.0
        self._fresh: Batches = deque()
        """Those that nobody has looked at."""
        self._older: Batches = deque()
        """Those that had their handshake behind them."""
        self._most = min(MOST, sum(map(len, owner.lane.entries.parts.values())) // _ENTRIES_FOR_ONE)

    @property
    def fresh(self) -> int:
        """How many sessions nobody has looked at, at most. Each may be half-open."""
        return self.unread + sum(len(entries) for _, entries in self._fresh)

    @property
    def young(self) -> int:
        """How many sessions are young."""
        return len(self._young)

    @property
    def resting(self) -> int:
        """How many endpoints rest."""
        return len(self._resting.tickets)

    @property
    def room(self) -> int:
        """How many more may be young or rest."""
        return self._most - len(self._young) - self.resting

    def at_rest(self) -> list[Ticket]:
        """The tickets whose endpoints rest now, and whose clients have not come again."""
        self.read()
        return [ticket for ticket in self._resting.tickets.values() if self._resting.has_client(ticket)]

    def rests(self, ticket: Ticket) -> bool:
        """Whether the endpoint of a ticket rests and its client has not come again, as far as it is known: the kernel may just
        have taken it."""
        return self._resting.tickets.get(ticket.entry) is ticket and self._resting.has_client(ticket)

    def young_in(self, entries: Collection[int]) -> dict[int, Ticket]:
        """Those of some entries that are young, by entry."""
        return {entry: self._young[entry] for entry in entries if entry in self._young}

    def resting_in(self, entries: Collection[int]) -> dict[int, Ticket]:
        """Those of some entries that rest, by entry."""
        return {entry: self._resting.tickets[entry] for entry in entries if entry in self._resting.tickets}

    def may_have(self, service: VirtualService[Session], rate: float) -> bool:
        """Whether sessions of a service, of which the kernel opens `rate` between two looks, may stay out of the tables."""
        owner = self._owner
        return not owner.ended.is_on and may_be_short(service, rate, owner.tunables, sum(self._time_wait_counts))

    def schedule(self, ring: Ring, service: VirtualService[Session], spare: int = 0) -> None:
        """Let the kernel use endpoints again by itself for a service, as soon as it can; by the client, with `spare` ones."""
        if service.needs_client:
            self._resting.spare(ring, service, min(spare, self.room - len(self.spares)))
        self._resting.schedule(ring, service)

    def drop_spares(self, ring: Ring) -> None:
        """Have none of those ready for the service of a ring."""
        self._resting.drop_spares(ring)

    def add(self, tickets: Sequence[Ticket], ring: Ring) -> None:
        """The kernel has opened these sessions by tickets of a ring."""
        self._figures.begin(tickets)
        opened = list[int]()
        for ticket in tickets:
            pool = self._resting.pool_with_room(ticket.session.real_server, ring) if self.room > 0 else None
            if pool is None:
                self._take_in(ticket)
                continue
            pool.admit(ticket.entry)
            self._young[ticket.entry] = ticket
            opened.append(ticket.entry)
        if opened:
            self._fresh.append((self._owner.by_state.now, opened))

    def read(self) -> None:
        """Find out what the kernel has done since."""
        self.unread = 0
        for pool in self._resting.pools.values():
            self._read(pool)

    def _read(self, pool: Pool) -> None:
        """The same for one pool."""
        events = pool.events()
        ended = pool.too_early + events.ended
        if events.opened:
            self._counts[PERSISTENCE_HITS] += len(events.opened) if pool.ring.is_by_persistence else 0
            self._fresh.append((self._owner.by_state.now, events.opened))
            self._books.open(events.opened, ended)
        for entry in events.void:
            self._resting.free_void(entry, pool)
        if ended:
            pool.too_early = self._books.end(ended)

    def look(self, now: float) -> bool:
        """Read what happened, look at those that are old enough, and free what has rested long enough; True when there is more to
        do."""
        if not self._resting.pools and not self._resting.leaving:
            self._owner.lane.over.clear()
            return False
        if now >= self._read_at_s or self.unread >= _MOST_UNREAD:
            self.read()
            self._read_at_s = now + (0.0 if self.retiring.look() else _READ_EVERY_S)
        left = self._look_at(self._fresh, HANDSHAKE_MS, _LOOKS, now)
        left = self._look_at(self._older, YOUNG_MS, left, now)
        self._resting.free_some(now)
        self._owner.lane.publish_flows()
        return left <= 0 or bool(self._resting.leaving)

    def _look_at(self, batches: Batches, least_ms: int, left: int, now: float) -> int:
        """Look at sessions from the oldest on that are at least so old; returns what is left to do of `left`."""
        until, now_ms, young, cells = now - least_ms / _MS_PER_S, int(now * _MS_PER_S), self._young, self._cells
        due = list[int]()
        while left > 0 and batches and batches[0][0] <= until:
            entries = [entry for entry in batches.popleft()[1] if entry in young]
            left -= len(entries)
            if batches is self._fresh:
                later = {entry for entry in entries if state_in(cells, entry) not in _HALF_OPEN and not self._is_over(entry)}
                if later:
                    self._older.append((now - least_ms / _MS_PER_S, list(later)))
                    entries = [entry for entry in entries if entry not in later]
            early = {entry for entry in entries if age_ms(cells, entry, now_ms) < least_ms}  # `now` was late, or it began again
            if early:
                batches.append((now, list(early)))
            some = [entry for entry in entries if entry not in early]
            left -= len(some) * _TAKE_IN_PRICE
            due += some
        self._settle(due)
        return left

    def _is_over(self, entry: int) -> bool:
        return is_closed(self._longs, self._cells, entry)

    def _settle(self, entries: Iterable[int]) -> None:
        """Put the endpoints of those in line whose sessions are over, which the kernel could not do when they ended; and take all
        others into the tables."""
        by_pool = dict[Pool, list[int]]()
        for entry in entries:
            by_pool.setdefault(self._resting.pool_of(self._young[entry]), []).append(entry)
        for pool, some in by_pool.items():
            tickets = list[Ticket]()
            with pool.ring.closed():
                self._read(pool)
                for entry in some:
                    ticket = self._young.pop(entry, None)
                    if ticket is None:
                        continue
                    if self._is_over(entry):
                        self._put_in_line(pool, ticket)
                    else:
                        pool.dismiss(entry)
                        tickets.append(ticket)
            for ticket in tickets:
                self._take_in(ticket)

    def _put_in_line(self, pool: Pool, ticket: Ticket) -> None:
        self._cells[ticket.entry * CELLS + HELD_CELL] = 1
        self._resting.put_in_line(pool, ticket)
        self._figures.rest(ticket, 1)

    def _take_in(self, ticket: Ticket) -> None:
        """Take a session that is young no more into the tables."""
        self._figures.take_in(ticket)
        self._take_in_tables(ticket)

    def look_at_fresh(self) -> None:
        """Find out which sessions are half-open: those are taken into the tables."""
        self.read()
        fresh = [entry for _, entries in self._fresh for entry in entries if entry in self._young]
        half_open = {entry for entry in fresh if state_in(self._cells, entry) in _HALF_OPEN}
        later = [entry for entry in fresh if entry not in half_open]
        self._fresh.clear()
        self._settle(half_open)
        if later:
            self._older.append((self._owner.by_state.now, later))

    def take_in_all(self) -> None:
        """Take all young sessions into the tables, but for those that are over."""
        self.read()
        while self._young:  # one that the kernel had just taken was known too late
            self._settle(list(self._young))
        self._fresh.clear()
        self._older.clear()

    def change(self) -> None:
        """Something changes that decisions are made by: what rests is used for no new session, and is freed by and by."""
        for pool in self._resting.pools.values():
            pool.ring.close()
        self.take_in_all()
        self._resting.leave_all()

    def find(self, entry: int, opens_at: int | None) -> bool:
        """Somebody asks about a packet of the session with this entry; whether the session was young or resting, and is in the
        tables now. `opens_at` is the number of a SYN: one that rests makes way for a new connection, but not for a late copy of
        the SYN that has opened it. So does one whose client has begun one before."""
        known = self._young.get(entry) or self._resting.tickets.get(entry) or self.spares.tickets.get(entry)
        if known is not None and entry not in self._resting.leaving:
            pool = self._resting.pool_of(known)
            with pool.ring.closed():
                self._read(pool)
                ticket = self._young.pop(entry, None)
                if ticket is not None:
                    pool.dismiss(entry)
            if ticket is not None:
                self._take_in(ticket)
                return True
        ticket = self._resting.tickets.get(entry)
        if ticket is None:
            return False
        is_new = opens_at is not None and opens_at != client_isn_in(self._cells, entry)
        if is_new or not self._resting.has_client(ticket):
            self._resting.free([ticket], EndReason.REPLACED)
            self._owner.lane.publish_flows()
            return False
        if not self._resting.take_out(ticket):
            return False
        self._cells[entry * CELLS + HELD_CELL] = 0
        self._take_in_tables(ticket)
        return True

    def free_at_rest(self, is_meant: Callable[[Session], bool]) -> bool:
        """Free some endpoints that are leaving, of sessions of which this is true; whether there were any."""
        return self._resting.free_leaving(is_meant)

    def free_for(self, real_server: RealServer) -> bool:
        """Free some endpoints that rest towards the endpoint of this real server, because there is none for a new session;
        whether there were any."""
        return self._resting.free_for(real_server)
