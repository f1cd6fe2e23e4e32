"""Sessions that the kernel has opened by prepared admissions and that a shard has not taken into its tables: most are over soon.

A session is young at first. The shard looks at its record twice: after some hundredths of a second, and half a second later.
One that is over by then, with both FINs acknowledged, never comes into the tables: it is counted, and its local endpoint rests
with its entry and its flows. A packet that is late comes up, and brings its session into the tables. A later admission for the
same real server gets the endpoint, with a number beyond the last one. It is used again in its place: entry, record and the flow
of the real server stay, and the kernel writes the next client over the one before. A session that is not over, or whose
handshake takes long, is taken into the tables like any other. So is each young one that somebody asks about: a packet that came
up, a query, a change of what decisions are made by.

Until then a young session counts as established and a resting one as in TIME_WAIT, in all figures.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from appliance.ipc.shared_layout import SharedState
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import TcpState
from appliance.sessions.admission import Admission
from appliance.sessions.ended import EndedSessions
from appliance.sessions.lane import Lane
from appliance.sessions.ring import Ticket
from appliance.sessions.short_figures import Owner as FiguresOwner
from appliance.sessions.short_figures import ShortFigures
from appliance.state.lane_entry import (
    CELLS,
    HELD_CELL,
    LONGS,
    RS_ACKED_WORD,
    age_ms,
    flows_in,
    is_closed,
    prepare_again,
    state_in,
)
from appliance.state.live_tunables import LiveTunables
from appliance.state.progress import RS_ACKED
from appliance.state.real_server import RealServer
from appliance.state.services import VirtualService
from appliance.state.session import Session

MOST = 16_384
"""Sessions of a shard that may be young or rest; fewer where the lane has few entries."""
_ENTRIES_FOR_ONE = 4

_SHUFFLED = 16
"""An endpoint changes places with one of so many that came to rest before it. So their order changes each time around."""

LEAST_RATE = 4.0
"""Admissions that a service uses between two looks: below this, a few hundred a second, all are taken into the tables at once."""

HANDSHAKE_MS = 50
"""How old a session may become before its handshake is a matter of the shard."""
YOUNG_MS = 500
"""How old it may become before it is one of the tables."""

_ANY_AGE_MS = -(1 << 31)

REST_S = 1.0
"""How long an endpoint rests at least, in seconds: longer than packets are late, as a rule. It is held meanwhile, so no program
is at work any more on a packet of its session when the next one gets its record: that takes microseconds, unless the host is
stopped."""

_LOOKS = 2000
_TAKE_IN_PRICE = 20
"""What a look does: a look at a session costs one, and one that is taken into the tables as much as so many looks. A millisecond
or two in all."""
_FREED = 100
"""Endpoints that are freed at most in a look, or when one is missing."""

_SYN_RECV, _TIME_WAIT = int(TcpState.SYN_RECV), int(TcpState.TIME_WAIT)

Young = OrderedDict[int, Ticket]
"""By entry, the one that was opened first in front."""


class Owner(FiguresOwner, Protocol):
    """What short-lived sessions need of the sessions of their shard."""

    lane: Lane
    tunables: LiveTunables
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
        """`admission` is that of TCP; `counts` is the table "queue" of the shard. `take_in` takes a session into the tables."""
        self._owner = owner
        self._admission = admission
        self._figures = ShortFigures(owner, shared, shard, counts)
        self._time_wait_counts = shared.time_wait_counts
        self._take_in_tables = take_in
        self._cells = owner.lane.maps.records.cast("I")
        self._longs = owner.lane.maps.records.cast("Q")
        self._fresh: Young = OrderedDict()
        """Those that nobody has looked at."""
        self._older: Young = OrderedDict()
        """Those that had their handshake behind them."""
        self._resting: dict[int, Ticket] = {}
        """By entry."""
        self._orders: dict[RealServer, deque[tuple[float, Ticket]]] = {}
        """When each began to rest, in that order; also some that do not rest any more."""
        self._leaving: deque[Ticket] = deque()
        """Those that rest, of a time when decisions were made by something else; also some that do not rest any more."""
        self._most = min(MOST, sum(map(len, owner.lane.entries.parts.values())) // _ENTRIES_FOR_ONE)
        self._room = 0
        """How many more may rest."""

    @property
    def fresh(self) -> int:
        """How many sessions nobody has looked at. Each may be half-open."""
        return len(self._fresh)

    @property
    def young(self) -> int:
        """How many sessions are young."""
        return len(self._fresh) + len(self._older)

    @property
    def resting(self) -> int:
        """How many endpoints rest."""
        return len(self._resting)

    def young_in(self, entries: Collection[int]) -> dict[int, Ticket]:
        """Those of some entries that are young, by entry."""
        return {entry: each[entry] for each in (self._fresh, self._older) for entry in entries if entry in each}

    def resting_in(self, entries: Collection[int]) -> dict[int, Ticket]:
        """Those of some entries that rest, by entry."""
        return {entry: self._resting[entry] for entry in entries if entry in self._resting}

    def may_have(self, service: VirtualService[Session], rate: float) -> bool:
        """Whether sessions of a service, of which the kernel opens `rate` between two looks, may stay out of the tables."""
        owner = self._owner
        if rate < LEAST_RATE or self.young + len(self._resting) >= self._most or owner.ended.is_on or not owner.tunables.reuse:
            return False
        has_limits = service.limits is not None or service.client_limit is not None
        return not has_limits and service.persistence is None and not service.scheduler.needs_load

    def add(self, tickets: Sequence[Ticket]) -> None:
        """The kernel has opened these sessions."""
        self._fresh.update([(ticket.entry, ticket) for ticket in tickets])
        self._figures.begin(tickets)

    def _take_in(self, ticket: Ticket) -> None:
        """Take a session that is young no more into the tables."""
        self._figures.take_in(ticket)
        self._take_in_tables(ticket)

    def _rest(self, ticket: Ticket, now: float) -> bool:
        """Let the endpoint of a session rest that is young no more; False when it is not over, or there is no room. Whoever calls
        this counts it."""
        entry = ticket.entry
        if self._room <= 0 or not is_closed(self._longs, self._cells, entry):
            return False
        self._cells[entry * CELLS + HELD_CELL] = 1
        self._room -= 1
        self._resting[entry] = ticket
        real_server = ticket.session.real_server
        order = self._orders.get(real_server)
        if order is None:
            order = self._orders[real_server] = deque()
        order.append((now, ticket))
        other = 1 + self._admission.local_ports.draw() % _SHUFFLED
        if other <= len(order):
            order[-1], order[-other] = order[-other], order[-1]
        return True

    def look(self, now: float) -> bool:
        """Look at those that are old enough, and free what has rested long enough; True when there is more to do."""
        if not self.young and not self._resting:
            return False
        self._look_for_room()
        left = self._look_at(self._fresh, HANDSHAKE_MS, _LOOKS, now)
        left = self._look_at(self._older, YOUNG_MS, left, now)
        self._free_some(now, _FREED)
        self._owner.lane.publish_flows()
        return left <= 0 or bool(self._leaving)

    def _look_for_room(self) -> None:
        time_wait_room = self._owner.tunables.time_wait_max - sum(self._time_wait_counts)
        self._room = 0 if self._owner.ended.is_on else min(self._most - len(self._resting), time_wait_room)

    def _look_at(self, sessions: Young, least_ms: int, left: int, now: float) -> int:
        """Look at sessions from the oldest on that are at least so old; returns what is left to do of `left`."""
        now_ms, cells, is_fresh, over = int(now * 1000), self._cells, sessions is self._fresh, list[Ticket]()
        while left > 0 and sessions:
            entry = next(iter(sessions))
            if age_ms(cells, entry, now_ms) < least_ms:
                break
            left -= 1
            ticket = sessions.pop(entry)
            if self._rest(ticket, now):
                over.append(ticket)
            elif is_fresh and state_in(cells, entry) != _SYN_RECV:
                self._older[entry] = ticket
            else:
                left -= _TAKE_IN_PRICE
                self._take_in(ticket)
        self._figures.rest(over)
        return left

    def look_at_fresh(self) -> None:
        """Find out which sessions are half-open: those are taken into the tables."""
        self._look_at(self._fresh, _ANY_AGE_MS, MOST * (1 + _TAKE_IN_PRICE), self._owner.by_state.now)

    def take_in_all(self) -> None:
        """Take all young sessions into the tables, but for those that are over."""
        self._look_for_room()
        over = list[Ticket]()
        for sessions in (self._fresh, self._older):
            while sessions:
                _, ticket = sessions.popitem(last=False)
                if self._rest(ticket, self._owner.by_state.now):
                    over.append(ticket)
                else:
                    self._take_in(ticket)
        self._figures.rest(over)

    def change(self) -> None:
        """Something changes that decisions are made by: what rests is used for no new session, and is freed by and by."""
        self.take_in_all()
        for order in self._orders.values():
            self._leaving += [ticket for _, ticket in order]
        self._orders.clear()

    def find(self, entry: int, *, opens: bool) -> bool:
        """Somebody asks about a packet of the session with this entry; whether the session was young, and is in the tables now.
        With `opens` the packet begins a new connection: one that rests makes way for it."""
        ticket = self._fresh.pop(entry, None) or self._older.pop(entry, None)
        if ticket is not None:
            self._take_in(ticket)
            return True
        if (ticket := self._resting.get(entry)) is None:
            return False
        if opens:
            self._free(ticket, EndReason.REPLACED)
            self._owner.lane.publish_flows()
            return False
        self._wake(ticket)
        return True

    def _wake(self, ticket: Ticket) -> None:
        """Take a session whose endpoint rests into the tables, where it is counted anew: a late packet of its has come."""
        del self._resting[ticket.entry]
        self._room += 1
        self._figures.wake(ticket)
        self._cells[ticket.entry * CELLS + HELD_CELL] = 0
        self._take_in_tables(ticket)

    def renew(self, real_server: RealServer, now: float) -> Ticket | None:
        """A new admission for this real server, with an endpoint that has rested; None when none has."""
        order, resting = self._orders.get(real_server), self._resting
        while order and order[0][0] + REST_S <= now:
            ticket = order.popleft()[1]
            entry = ticket.entry
            if resting.get(entry) is ticket:
                self._end(ticket, EndReason.PORT_TAKEN)
                last_seq = self._longs[entry * LONGS + RS_ACKED_WORD]
                prepare_again(self._cells, entry, self._admission.following_isn(last_seq))
                return ticket if ticket.is_renewed else ticket._replace(is_renewed=True)
        return None

    def free_for(self, real_server: RealServer) -> bool:
        """Free some endpoints that rest towards the endpoint of this real server, because there is none for a new session;
        whether there were any."""
        left = _FREED
        for other, order in self._orders.items():
            while left and order and other.endpoint == real_server.endpoint:
                left -= self._free_resting(order.popleft()[1], EndReason.PORT_TAKEN)
        for ticket in [ticket for ticket in self._leaving if ticket.session.real_server.endpoint == real_server.endpoint]:
            left -= left and self._free_resting(ticket, EndReason.PORT_TAKEN)
        self._owner.lane.publish_flows()
        return left < _FREED

    def _free_some(self, now: float, left: int) -> None:
        """Free those that nobody will use, and those whose time is over."""
        while left and self._leaving:
            left -= self._free_resting(self._leaving.popleft(), EndReason.EXPIRED)
        timeout_s = self._owner.tunables.timeouts_s[_TIME_WAIT]
        for real_server, order in list(self._orders.items()):
            while left and order and order[0][0] + timeout_s <= now:
                left -= self._free_resting(order.popleft()[1], EndReason.EXPIRED)
            if not order:
                del self._orders[real_server]

    def _free_resting(self, ticket: Ticket, because: EndReason) -> bool:
        """Free an endpoint, if it still rests; whether it did."""
        if self._resting.get(ticket.entry) is not ticket:
            return False
        self._free(ticket, because)
        return True

    def _free(self, ticket: Ticket, because: EndReason) -> None:
        last_seq = self._withdraw(ticket, because)
        self._admission.take_back(ticket.session, last_seq)

    def _withdraw(self, ticket: Ticket, because: EndReason) -> int:
        """Take the session of an endpoint that rests out of all figures and out of the lane; returns its last number."""
        self._end(ticket, because)
        lane, entry = self._owner.lane, ticket.entry
        last_seq: int = lane.words(entry)[RS_ACKED]
        lane.drop_flows(flows_in(lane.maps.records, entry))
        lane.return_entry(entry)
        return last_seq

    def _end(self, ticket: Ticket, because: EndReason) -> None:
        del self._resting[ticket.entry]
        self._room += 1
        self._figures.end(ticket, because)
