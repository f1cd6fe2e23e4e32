"""Prepared admissions: sessions that a shard decides before their clients come, for the kernel to hand out (`ipc.admissions`).

The shard takes real server, local endpoint and numbers as for any new session, and writes the record of the session into the
lane's table, but for its client and its version. When a SYN comes, the kernel makes it a session, which the shard takes into its
tables afterwards. Until then nobody may ask the tables about it: `take_over` comes before whatever does.

How many are ready follows from how many are taken. They count where they could do harm: with the half-open sessions of their
service they are never more than its backlog, and there are none where the table of sessions or a source network is nearly full.
So all these limits hold, and near them each SYN comes up. Whenever something changes that a decision was made by, those that are
ready are taken back before the change is in force.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Protocol

from appliance.ipc.admissions import first_rings, may_be_prepared
from appliance.ipc.lane_layout import RINGS
from appliance.ipc.plan import ServiceKey, ServicePlan
from appliance.ipc.session_record import VERSION
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import TICKETS_RETURNED
from appliance.model.end_reasons import EndReason
from appliance.model.syn_offer import ALWAYS_COOKIES
from appliance.model.tcp_state import TcpState
from appliance.sessions.admission import Admission
from appliance.sessions.lane import Lane
from appliance.sessions.readiness import is_outdated, wanted
from appliance.sessions.ring import Ring, Ticket
from appliance.state.lane_entry import CELLS, each, flows_of, prepare_record, take_client
from appliance.state.live_tunables import LiveTunables
from appliance.state.output import ShardOutput
from appliance.state.progress import RS_ACKED
from appliance.state.services import NEVER, VirtualService
from appliance.state.session import Session
from appliance.state.session_phases import Opening
from appliance.state.session_table import SessionTable
from appliance.state.sources import Places, SourceCounts
from appliance.wire import craft
from appliance.wire.family import IPV4
from appliance.wire.flow import FIRST_KEY, Direction, flow_key, pack_endpoint
from appliance.wire.layout import MOST_WINDOW, SYN
from appliance.wire.seq import add

MOST_READY_OF_SHARD = 4096
"""Admissions of all services of a shard that may be ready at once: about three megabytes, and as many local ports."""

_RATE_KEPT = 1 - 1 / 128
"""Of the rate, from one look to the next."""
_IDLE_RATE = 0.01
"""Below this rate, none are kept ready: some five to twelve seconds behind the last one."""

_PREPARED_AT_ONCE = 128
_TAKEN_AT_ONCE = 200
"""A millisecond's work, or two."""

_LOOK_AT_SOURCES_S = 0.5
"""How often the source network with most sessions is looked for, which takes a millisecond."""

_NO_CLIENT = FIRST_KEY[: IPV4.endpoint_bytes]
_VERSION_MASK = 0xFFFF
_SYN_RECV = int(TcpState.SYN_RECV)
_OVER = (int(TcpState.TIME_WAIT), int(TcpState.CLOSE))


class Owner(Protocol):
    """What prepared admissions need of the sessions of their shard."""

    tcp: SessionTable
    lane: Lane
    tunables: LiveTunables
    sources: dict[str, SourceCounts]

    def service(self, protocol: str, endpoint: bytes) -> VirtualService[Session] | None:
        """The service of a protocol at this endpoint."""

    def begin(self, session: Session, places: Places) -> None:
        """Put a session of TCP that was just opened into its table."""

    def end(self, session: Session, because: EndReason) -> None:
        """End a session."""


class Prepared:
    """The prepared admissions of one shard. Without a lane there are none."""

    def __init__(
        self, owner: Owner, admission: Admission, shared: SharedState, shard: int, output: ShardOutput, counts: memoryview
    ) -> None:
        """`admission` is that of TCP; `counts` is the table "queue" of the shard. What an earlier worker has left is closed."""
        self._owner = owner
        self._admission = admission
        self._shared, self._shard = shared, shard
        self._counts = counts
        self._output = output
        self._maps = owner.lane.maps
        self._cells = owner.lane.maps.records.cast("I")
        self._plans: dict[ServiceKey, ServicePlan] = {}
        """Of the services that can have prepared admissions."""
        self._rings: dict[VirtualService[Session], Ring] = {}
        self._active: dict[Ring, VirtualService[Session]] = {}
        """Rings in which there are tickets, or are to be some."""
        self._ready = 0
        self._look_at_sources_s = 0.0
        self._source_room = 0
        """How many sessions the source network with most of them could still have at that look, less those since."""
        self.generation = 0
        """Of the tunables that are prepared by."""
        if self._maps.rings:
            for number in range(shard, RINGS, shared.shards):
                Ring(self._maps, number)

    def put_services(self, plans: Iterable[ServicePlan], gone: Iterable[ServiceKey]) -> None:
        """These services are new, or others than before, and those with the keys `gone` are none any more. Nothing is prepared
        for any service then."""
        for key in gone:
            self._plans.pop(key, None)
        for plan in plans:
            if may_be_prepared(plan):
                self._plans[plan.key] = plan
            else:
                self._plans.pop(plan.key, None)
        self._allot()

    def read_tunables(self, generation: int) -> None:
        """Go by the tunables of this generation. Nothing is prepared then."""
        self.generation = generation
        if self._owner.tunables.prepared != bool(self._rings):
            self._allot()

    def _allot(self) -> None:
        """Give each service its ring, while there are any."""
        self._active.clear()
        is_on = self._owner.tunables.prepared and self._maps.rings
        numbers = first_rings(self._plans.values(), self._shared.shards) if is_on else {}
        self._rings = {
            service: Ring(self._maps, numbers[plan.name] + self._shard)
            for plan in self._plans.values()
            if plan.name in numbers
            and (service := self._owner.service(plan.protocol, pack_endpoint(IPv4Address(plan.vip), plan.port))) is not None
        }

    def miss(self, service: VirtualService[Session]) -> None:
        """A SYN to a service came up."""
        ring = self._rings.get(service)
        if ring is not None and self._owner.tunables.prepared:
            ring.wanted += 1
            self._active[ring] = service

    def half_open(self, service: VirtualService[Session], backlog: int) -> int:
        """How many half-open sessions a service has, with those that may be. Those that nobody has taken go when `backlog` is
        reached with them."""
        ring, sessions = self._rings.get(service), len(service.half_open)
        if ring is None:
            return sessions
        if ring.tickets and sessions + len(ring.tickets) >= backlog:
            self.take_back_of(ring)
        return sessions + len(ring.tickets)

    def take_over(self, most: int = 1 << 30) -> bool:
        """Take the sessions of up to `most` tickets that were taken into the tables; whether there were any."""
        left = most
        for ring in self._active:
            if ring.has_taken:
                left = self._take_over(ring, left)
        return left != most

    def _take_over(self, ring: Ring, left: int) -> int:
        while left and ring.has_taken and self._is_done(ring):
            is_void, ticket = ring.is_void(), ring.next()
            ring.wanted += 1
            left -= 1
            if is_void:
                self._return(ticket)
            else:
                self._take_in(ticket)
        return left

    def _is_done(self, ring: Ring) -> bool:
        """Whether it is known what became of the oldest ticket, which was taken. If not, it is in a moment."""
        at = ring.tickets[0].entry * CELLS

        def is_known() -> bool:
            return self._cells[at] & _VERSION_MASK == VERSION or ring.is_void()

        if not is_known():
            self._maps.wait_until(is_known)
        return is_known()

    def _take_in(self, ticket: Ticket) -> None:
        """A ticket was taken, and is a session now."""
        self._ready -= 1
        self._source_room -= 1
        session, owner, lane = ticket.session, self._owner, self._owner.lane
        take_client(session, lane.maps.records, ticket.entry)
        other = owner.tcp.find(session.client_key)[0]
        if other is not None:
            if other.entry is not None or other.state not in _OVER or not owner.tunables.reuse:
                self._give_up(ticket, other)
                return
            owner.end(other, EndReason.REPLACED)
        lane.give(session, ticket.entry)
        session.real_server.ready -= 1
        owner.begin(session, owner.sources["tcp"].places(session.client_address))
        lane.refresh(session)
        opening = session.opening
        if opening is not None and opening.rs_first_seq is None:
            opening.syn = craft.segment(session.leaving_key(Direction.INBOUND), session.isn, 0, SYN, MOST_WINDOW)

    def _give_up(self, ticket: Ticket, other: Session) -> None:
        """The client has another session, of which the kernel did not know: that one goes on, and the client sends again."""
        session, lane = ticket.session, self._owner.lane
        lane.publish_flows()  # those of the other one among them
        client_flow, server_flow = each(flows_of(session))
        lane.maps.remove_flow(server_flow)
        if other.entry is None:
            lane.maps.remove_flow(client_flow)
        lane.clear(ticket.entry)
        self._output.segments.append(craft.rst(session.leaving_key(Direction.INBOUND), add(session.isn, 1)))
        self._ready += 1
        self._return(ticket._replace(last_seq=lane.words(ticket.entry)[RS_ACKED]))

    def _return(self, ticket: Ticket) -> None:
        """A ticket came to nothing: its real server is the next one to be picked, and all else is free."""
        self._ready -= 1
        session = ticket.session
        session.real_server.ready -= 1
        session.service.take_back_pick(session.real_server)
        self._admission.take_back(session, ticket.last_seq)
        self._owner.lane.return_entry(ticket.entry)
        self._counts[TICKETS_RETURNED] += 1

    def take_back(self) -> bool:
        """Take back what is ready; whether there was anything. When it returns, the kernel opens no session by what was prepared
        before; those that it has opened may still have to be taken over."""
        before = self._ready
        for ring in self._active:
            self.take_back_of(ring)
        return self._ready < before

    def take_back_of(self, ring: Ring) -> None:
        """The same for one ring."""
        for ticket in ring.take_back():
            self._return(ticket)

    def change(self) -> None:
        """Something changes that decisions are made by: nothing is ready, and all sessions are in the tables."""
        if self._active:
            self.take_back()
            self.take_over()

    def look(self, now: float) -> bool:
        """Take over what was taken, and prepare as many as will be wanted; True when there is more to do. To be called every few
        milliseconds."""
        if not self._active:
            return False
        is_more = self.take_over(_TAKEN_AT_ONCE) and any(ring.has_taken for ring in self._active)
        room = self._room(now)
        if room < 0 and self._ready:
            self.take_back()
        for ring, service in list(self._active.items()):
            ring.rate = max(float(ring.wanted), ring.rate * _RATE_KEPT)
            ring.wanted = 0
            before = self._ready
            if is_outdated(ring, service, now):
                self.take_back_of(ring)
            if ring.rate < _IDLE_RATE:
                self.take_back_of(ring)
                if not ring.tickets:  # else one was just taken, and its session has to be taken over
                    del self._active[ring]
            elif room > 0:
                is_more |= self._prepare(ring, service, room, now)
            room -= self._ready - before
        return is_more

    def _room(self, now: float) -> int:
        """How many more may be ready for the sake of the table of sessions and of source networks, each of which may send all the
        SYNs. Other shards have some ready as well."""
        owner, shared = self._owner, self._shared
        tunables = owner.tunables
        rooms = [MOST_READY_OF_SHARD - self._ready if tunables.prepared else 0]
        if tunables.conn_max:
            limit = tunables.conn_max - tunables.conn_max * tunables.reserved_percent // 100
            rooms.append(limit - sum(shared.session_counts) - shared.shards * MOST_READY_OF_SHARD)
        if tunables.source_max:
            if now >= self._look_at_sources_s:
                self._look_at_sources_s = now + _LOOK_AT_SOURCES_S
                self._source_room = tunables.source_max - owner.sources["tcp"].most
            rooms.append(self._source_room - self._ready)
        return min(rooms)

    def _prepare(self, ring: Ring, service: VirtualService[Session], room: int, now: float) -> bool:
        """Prepare what is missing of the admissions of a service, but for those that would take too long now; True for more."""
        there = len(ring.tickets)
        missing = wanted(ring, service) - there
        number = min(missing, room, self._owner.tunables.backlog - len(service.half_open) - there, _PREPARED_AT_ONCE)
        if number <= 0 or service.drops_new or self._sends_cookies(service) or not service.is_steady(now):
            return False
        tickets = list[Ticket]()
        while len(tickets) < number and (ticket := self._ticket(service, now)) is not None:
            tickets.append(ticket)
        self._ready += len(tickets)
        self._owner.lane.publish_flows()  # a flow that has to go may be one of those that come
        ring.put(tickets, self.generation)
        return len(tickets) == number < missing

    def _sends_cookies(self, service: VirtualService[Session]) -> bool:
        """Whether SYNs to the service are answered with cookies at the moment."""
        return service.is_engaged or (service.synproxy != NEVER and self._owner.tunables.syncookies == ALWAYS_COOKIES)

    def _ticket(self, service: VirtualService[Session], now: float) -> Ticket | None:
        """A new admission; None when there is no real server, local port or entry for it."""
        prepared = self._admission.prepare(service, flow_key(_NO_CLIENT, service.endpoint), self._owner.tunables.lport_tries, now)
        if prepared is None:
            return None
        session, last_seq = prepared
        entry = self._owner.lane.take_entry(session)
        if entry is None:
            service.take_back_pick(session.real_server)
            self._admission.take_back(session, last_seq)
            return None
        session.real_server.ready += 1
        session.state, session.opening = _SYN_RECV, Opening()
        prepare_record(session, self._owner.lane.maps.records, entry)
        return Ticket(session, entry, last_seq)
