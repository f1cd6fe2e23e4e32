"""Prepared admissions: sessions that a shard decides before their clients come, for the kernel to hand out (`ipc.admissions`).

The shard takes real server, local endpoint and numbers as for any new session, and writes the record of the session into the
lane's table, but for its client and its version. When a SYN comes, the kernel makes it a session, which the shard takes into its
tables afterwards, unless it is over soon (`sessions.short_lived`). Until then nobody may ask the tables about it: `has`, `change`
or `take_in_all` come before whatever does.

How many are ready follows from how many are taken. They count where they could do harm: with the half-open sessions of their
service they are never more than its backlog, and there are none where the table of sessions or a source network is nearly full.
So all these limits hold, and near them each SYN comes up. Whenever something changes that a decision was made by, those that are
ready are taken back before the change is in force.
"""

from array import array
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Protocol

from appliance.ipc.admission_layout import RINGS
from appliance.ipc.admissions import first_rings, may_be_prepared
from appliance.ipc.plan import ServiceKey, ServicePlan
from appliance.ipc.shared_layout import SharedState
from appliance.sessions.admission import Admission
from appliance.sessions.readiness import is_beyond, is_outdated, room_for, wanted
from appliance.sessions.ring import Ring, Ticket
from appliance.sessions.short_lived import ShortLived
from appliance.sessions.spares import no_client
from appliance.sessions.tickets import Owner as TicketsOwner
from appliance.sessions.tickets import Tickets
from appliance.state.lane_entry import flow_of_segment, is_session
from appliance.state.output import ShardOutput
from appliance.state.real_server import RealServer
from appliance.state.services import VirtualService
from appliance.state.session import Session
from appliance.wire.flow import pack_endpoint

MOST_READY_OF_SHARD = 4096
"""Admissions of all services of a shard that may be ready at once: about three megabytes, and as many local ports."""

_RATE_KEPT = 1 - 1 / 128
"""Of the rate, from one look to the next."""
_IDLE_RATE = 0.01
"""Below this rate, none are kept ready: some five to twelve seconds behind the last one."""

_PREPARED_AT_ONCE, _TAKEN_AT_ONCE = 128, 200
"""A millisecond's work, or two."""

_LOOK_AT_SOURCES_S, _MUCH_SOURCE_ROOM = 0.5, 4 * MOST_READY_OF_SHARD
"""How often the busiest source network is looked for, a millisecond's work; not while all sessions of the table leave so much."""


class Owner(TicketsOwner, Protocol):
    """What prepared admissions need of the sessions of their shard."""

    def service(self, protocol: str, endpoint: bytes) -> VirtualService[Session] | None:
        """The service of a protocol at this endpoint."""


class Prepared:
    """The prepared admissions of one shard. Without a lane there are none."""

    def __init__(
        self, owner: Owner, admission: Admission, shared: SharedState, shard: int, output: ShardOutput, counts: memoryview
    ) -> None:
        """`admission` is that of TCP; `counts` is the table "queue" of the shard. What an earlier worker has left is closed."""
        self._owner, self._admission = owner, admission
        admission.give_up_prepared = self.give_up
        self._shared, self._shard = shared, shard
        self._maps = owner.lane.maps
        self._cells = owner.lane.maps.records.cast("I")
        if self._maps.rings:
            for number in range(shard, RINGS, shared.shards):
                Ring(self._maps, number)
        self._tickets = Tickets(owner, admission, shared, shard, output, counts)
        self._short = self._tickets.short
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
            self._look_for_half_open(service, ring, self._owner.tunables.backlog)

    def _look_for_half_open(self, service: VirtualService[Session], ring: Ring, backlog: int) -> None:
        """Have all half-open sessions of a service in the tables, when it may have as many as `backlog`."""
        not_known = ring.allowed + self._short.fresh
        if not_known and len(service.half_open) + len(ring.tickets) + not_known >= backlog:
            self._short.look_at_fresh()

    def half_open(self, service: VirtualService[Session], backlog: int) -> int:
        """How many half-open sessions a service has, with those that may be. When `backlog` is reached with them, it is found out
        which are, and those that nobody has taken go."""
        ring = self._rings.get(service)
        if ring is None:
            return len(service.half_open)
        self._look_for_half_open(service, ring, backlog)
        if len(service.half_open) + len(ring.tickets) + ring.allowed >= backlog:
            self.take_back_of(ring)
        return len(service.half_open) + len(ring.tickets)

    def make_room(self, service: VirtualService[Session]) -> None:
        """A session of a service with limits is about to be opened: nothing that is ready stands in its way."""
        ring = self._rings.get(service)
        if ring is not None and is_beyond(ring, service, self._shared.shards):
            self.take_back_of(ring)

    def take_over(self, at_most: int = 1 << 30) -> bool:
        """Take the sessions of up to `at_most` tickets that were taken into the tables, or keep them as short-lived ones; whether
        there were any."""
        left = at_most
        for ring, service in self._active.items():
            if ring.has_taken:
                left = self._take_over(ring, left, self._short.may_have(service, ring.rate))
        return left != at_most

    def _take_over(self, ring: Ring, left: int, are_short: bool) -> int:
        opened = list[Ticket]()
        while left and ring.has_taken and self._is_done(ring):
            is_void, ticket = ring.is_void(), ring.next()
            ring.wanted += 1
            left -= 1
            if is_void:
                self._return(ticket)
                continue
            self._ready -= 1
            self._source_room -= 1
            if are_short:
                opened.append(ticket)
            else:
                self._tickets.take_in(ticket)
                self._tickets.count_ready(ticket.session.real_server, -1)  # behind that, so that no other shard misses it
        if opened:
            self._short.add(opened, ring)
        for ticket in opened:
            self._tickets.count_ready(ticket.session.real_server, -1)
        return left

    def _is_done(self, ring: Ring) -> bool:
        """Whether it is known what became of the oldest ticket, which was taken. If not, it is in a moment."""
        cells, entry = self._cells, ring.tickets[0].entry
        if is_session(cells, entry):
            return True

        def is_known() -> bool:
            return is_session(cells, entry) or ring.is_void()

        if not is_known():
            self._maps.wait_until(is_known)
        return is_known()

    def _return(self, ticket: Ticket) -> None:
        self._ready -= 1
        self._tickets.give_back(ticket)

    def has(self, key: bytes, opens_at: int | None) -> bool:
        """Whether segments with this key, of which one came up, belong to a session that the kernel has opened and that has just
        come into the tables. `opens_at`: the number of the segment, when it is a SYN."""
        if self.take_over() and self._owner.tcp.find(key)[0] is not None:
            return True
        if not self._short.young and not self._short.resting and not self._short.spares:
            return False
        value = self._maps.value_of(flow_of_segment(key))
        return value is not None and self._short.find(value >> 1, opens_at)

    def take_in_all(self) -> None:
        """Take all sessions that the kernel has opened, and that are not over, into the tables."""
        self.take_over()
        self._short.take_in_all()

    @property
    def short(self) -> ShortLived:
        """Those that the kernel has opened and that are in no table."""
        return self._short

    @property
    def rings(self) -> Iterable[Ring]:
        """The rings that have tickets."""
        return self._active

    @property
    def ready(self) -> int:
        """How many tickets and spare endpoints there are."""
        return self._ready + len(self._short.spares)

    def publish(self) -> None:
        """Make visible to the director how many short-lived sessions and spare endpoints there are."""
        figures = array("Q", (self._short.young, self._short.resting, len(self._short.spares)))
        self._shared.short_lived[self._shard :: self._shared.shards] = memoryview(figures)

    def give_up(self, real_server: RealServer) -> bool:
        """Free local ports of a real server which no session needs; whether there were any."""
        return self.take_back() or self._short.free_for(real_server)

    def take_back(self) -> bool:
        """Take back what is ready; whether there was anything. When it returns, the kernel opens no session by what was prepared
        before; those that it has opened may still have to be taken over."""
        before = self.ready
        for ring in self._active:
            self.take_back_of(ring)
        return self.ready < before

    def take_back_of(self, ring: Ring) -> None:
        """The same for one ring."""
        for ticket in ring.take_back():
            self._return(ticket)
        self._short.drop_spares(ring)

    def change(self) -> None:
        """Something changes that decisions are made by: nothing is ready, and all sessions are in the tables."""
        if self._active:
            self.take_back()
            self.take_over()
        self._short.change()

    def look(self, now: float) -> bool:
        """Take over what was taken, and prepare as many as will be wanted; True when there is more to do. To be called every few
        milliseconds."""
        is_more = self._short.look(now)
        if not self._active:
            return is_more
        is_more |= self.take_over(_TAKEN_AT_ONCE) and any(ring.has_taken for ring in self._active)
        room = self._room(now)
        if room < 0 and self.ready:
            self.take_back()
        for ring, service in list(self._active.items()):
            turns = ring.turns_taken()
            self._short.unread += turns
            ring.wanted += turns
            self._source_room -= turns
            ring.rate = max(float(ring.wanted), ring.rate * _RATE_KEPT)
            ring.wanted = 0
            before = self.ready
            ring.is_for_proofs = service.is_engaged
            if is_outdated(ring, service, now) or is_beyond(ring, service, self._shared.shards):
                self.take_back_of(ring)
            if ring.rate < _IDLE_RATE:
                self.take_back_of(ring)
                if not ring.tickets:  # else one was just taken, and its session has to be taken over
                    del self._active[ring]
            elif room > 0:
                is_more |= self._prepare(ring, service, room, now)
            room -= self.ready - before + ring.allowed
        return is_more

    def _room(self, now: float) -> int:
        """How many more may be ready for the sake of the table of sessions and of source networks, each of which may send all the
        SYNs. Other shards have some ready as well."""
        owner, shared, tunables = self._owner, self._shared, self._owner.tunables
        rooms = [MOST_READY_OF_SHARD - self.ready if tunables.prepared else 0]
        if tunables.conn_max:
            limit = tunables.conn_max - tunables.conn_max * tunables.reserved_percent // 100
            rooms.append(limit - sum(shared.session_counts) - shared.shards * MOST_READY_OF_SHARD)
        if tunables.source_max:
            if now >= self._look_at_sources_s:
                self._look_at_sources_s = now + _LOOK_AT_SOURCES_S
                are_few = tunables.source_max - len(owner.tcp) >= _MUCH_SOURCE_ROOM
                self._source_room = tunables.source_max - (len(owner.tcp) if are_few else owner.sources["tcp"].most)
            rooms.append(self._source_room - self.ready - self._short.young)
        return min(rooms)

    def _prepare(self, ring: Ring, service: VirtualService[Session], room: int, now: float) -> bool:
        """Prepare what is missing of the admissions of a service, but for those that would take too long now; True for more."""
        fresh, by_client = self._short.fresh, service.needs_client  # a ticket is for whoever comes
        missing = 0 if by_client else wanted(ring, service) - len(ring.tickets)
        most = min(room, room_for(ring, service, self._owner.tunables, self._shared.shards, fresh))
        if most <= 0 or service.drops_new or not service.is_steady(now):
            self._allow(ring, service, 0)
            return False
        number, tickets, client_key = min(missing, most, _PREPARED_AT_ONCE), list[Ticket](), no_client(service)
        while len(tickets) < number and (ticket := self._tickets.make(service, client_key, now)) is not None:
            tickets.append(ticket)
        if tickets:
            self._ready += len(tickets)
            self._owner.lane.publish_flows()  # a flow that has to go may be one of those that come
            ring.put(tickets, self.generation)
        self._allow(ring, service, most - len(tickets))
        return 0 < number == len(tickets) < missing

    def _allow(self, ring: Ring, service: VirtualService[Session], most: int) -> None:
        """Allow the kernel to use endpoints again by itself, up to so many times until the next look."""
        if not self._short.may_have(service, ring.rate):
            most = 0
        if most:
            self._short.schedule(ring, service, min(most, wanted(ring, service)))
        else:
            self._short.drop_spares(ring)
        if ring.has_schedule:
            ring.allow(min(most, wanted(ring, service)), self.generation, self._admission.steps)
