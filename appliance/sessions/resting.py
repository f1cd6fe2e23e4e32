"""Endpoints of short-lived sessions that are over: each rests, with its entry and its flows, until it is used again.

The kernel puts them into their pools (`sessions.pools`) and takes them out. The shard takes one out for a packet that is late or
a client who comes again, when local ports are missing, and when it has rested as long as a session is in TIME_WAIT. When
something changes that decisions are made by, all of them are leaving: they are used for no new session, and are freed by and by.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from math import inf
from typing import Protocol

from appliance.ipc.admission_layout import NO_POOL, REST_NS
from appliance.ipc.shared_layout import SharedState
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import TcpState
from appliance.sessions.admission import Admission
from appliance.sessions.lane import Lane
from appliance.sessions.lookup_tables import LookupTables
from appliance.sessions.pools import Homes, Pool, free_pools
from appliance.sessions.ring import Ring, Ticket
from appliance.sessions.short_figures import ShortFigures
from appliance.sessions.spares import Spares
from appliance.state.by_state import ByState
from appliance.state.kernel_schedule import KernelSchedule, schedule_of
from appliance.state.lane_entry import LAST_SEEN_WORD, LONGS, NS_PER_S, each, flows_in, is_session
from appliance.state.live_tunables import LiveTunables
from appliance.state.progress import RS_ACKED
from appliance.state.real_server import RealServer
from appliance.state.services import VirtualService
from appliance.state.session import Session

FREED = 100
"""Endpoints that are freed at most in a look, or when one is missing."""

_FREE_EVERY_S = 0.1
"""How often it is looked for those whose time is over. Those that nobody will use are freed at each look."""

_TIME_WAIT = int(TcpState.TIME_WAIT)

_LEAST_SPARE = 4
"""Spare endpoints of a real server, where there are any."""
_SPARED_AT_ONCE = 128
"""A millisecond's work, or two."""


class Owner(Protocol):
    """What endpoints that rest need of the sessions of their shard."""

    lane: Lane
    tunables: LiveTunables
    by_state: ByState[Session]


class Resting:
    """Those of one shard, and the pools that they stand in."""

    def __init__(
        self,
        owner: Owner,
        admission: Admission,
        shared: SharedState,
        shard: int,
        figures: ShortFigures,
        read: Callable[[Pool], None],
        spares: Spares,
    ) -> None:
        """`admission` is that of TCP; `read` finds out what the kernel has done with a pool. The rings of the shard are closed;
        what an earlier worker has left in pools belongs to none of them any more."""
        self._owner = owner
        self._admission = admission
        self._figures = figures
        self.read = read
        self._spares = spares
        self._time_wait_counts, self._shard = shared.time_wait_counts, shard
        maps = owner.lane.maps
        self._cells, self._longs = maps.records.cast("I"), maps.records.cast("Q")
        self._homes = Homes(maps)
        for entries in owner.lane.entries.parts.values():
            self._homes.clear_all(entries)
        self._free_pools = free_pools(maps.entries, shard, shared.shards)
        self._lookups = LookupTables(maps.lookup_tables, shard, shared.shards)
        self._free_at_s = 0.0
        self.pools: dict[RealServer, Pool] = {}
        """Of the real servers that have one."""
        self.tickets: dict[int, Ticket] = {}
        """By entry: all that rest."""
        self.leaving: dict[int, Ticket] = {}
        """Those of them that are in no pool any more."""

    def pool_of(self, ticket: Ticket) -> Pool:
        """The pool of a session that belongs to one."""
        return self.pools[ticket.session.real_server]

    def pool_with_room(self, real_server: RealServer, ring: Ring) -> Pool | None:
        """The pool of a real server, with room for one more endpoint; None when there is none."""
        pool = self.pools.get(real_server)
        if pool is None and self._free_pools:
            maps = self._owner.lane.maps
            pool = self.pools[real_server] = Pool(maps, self._homes, self._free_pools.pop(), ring)
        return pool if pool is not None and pool.room and pool.ring is ring else None

    def schedule(self, ring: Ring, service: VirtualService[Session]) -> None:
        """Let the kernel give sessions of a service to its real servers by turns, or by the client, when it does not yet, and all
        have pools."""
        if ring.has_schedule or not self._have_pools(service):
            return
        schedule = schedule_of(service, self._owner.by_state.now)
        pools = [None if each is None else self.pools.get(each) for each in schedule.real_servers]
        if pools and all(pool is None or pool.ring is ring for pool in pools):
            with ring.closed():
                self._put(ring, schedule, [NO_POOL if pool is None else pool.number for pool in pools])

    def _put(self, ring: Ring, schedule: KernelSchedule, pools: Sequence[int]) -> None:
        """Publish a schedule, unless there is no table left for it."""
        table = self._lookups.put(ring.number, schedule.table) if schedule.table else None
        if table is not None or not schedule.table:
            ring.put_schedule(pools, schedule.hash_state, schedule.remembering, schedule.first_slot, table)

    def _have_pools(self, service: VirtualService[Session]) -> bool:
        """Whether all that get new sessions have one: what they get is worked out only then."""
        return all(real_server in self.pools for real_server in service.candidates if real_server.weight)

    def spare(self, ring: Ring, service: VirtualService[Session], number: int) -> None:
        """Have about so many endpoints ready that no session has had, for a service that chooses by the client: in the pools of
        real servers that have none to give which has rested."""
        takers = [real_server for real_server in service.candidates if real_server.weight]
        of_each = max(_LEAST_SPARE, -(-number // max(1, len(takers))))
        pools = [
            (real_server, pool)
            for real_server in takers
            if self._spares.number(real_server) < of_each
            and (pool := self.pool_with_room(real_server, ring)) is not None
            and not self._has_rested(pool)
        ]
        if not pools:
            return
        with ring.closed():
            left = min(_SPARED_AT_ONCE, number)
            for real_server, pool in pools:
                self.read(pool)
                left -= self._spares.put(pool, service, real_server, min(left, of_each - self._spares.number(real_server)))
            self._owner.lane.publish_flows()  # a flow that has to go may be one of those that come

    def _has_rested(self, pool: Pool) -> bool:
        """Whether an endpoint of a session that is over may be used again."""
        last_seen_ns = self._owner.by_state.now * NS_PER_S - REST_NS
        return any(self._longs[entry * LONGS + LAST_SEEN_WORD] <= last_seen_ns for entry in pool.firsts(self._spares))

    def drop_spares(self, ring: Ring) -> None:
        """Have none ready in the pools of a ring."""
        for real_server, pool in self.pools.items() if self._spares else ():
            if pool.ring is ring and self._spares.number(real_server):
                with ring.closed():
                    self.read(pool)
                    self._spares.empty(real_server, pool)

    def leave_all(self) -> None:
        """All that rest are leaving, and there are no pools. No session is young."""
        for real_server, pool in self.pools.items():
            with pool.ring.closed():
                self.read(pool)
                pool.ring.put_schedule(())
                self._spares.empty(real_server, pool)
                for entry, ticket in self.tickets.items():
                    if entry not in self.leaving and self.pools.get(ticket.session.real_server) is pool:
                        pool.dismiss(entry)
                        self.leaving[entry] = ticket
        self._free_pools += [pool.number for pool in self.pools.values()]
        self._lookups.free_all()
        self.pools.clear()

    def has_client(self, ticket: Ticket) -> bool:
        """Whether the session of an endpoint that rests is still that of its client, and the client has opened no other one."""
        return is_session(self._cells, ticket.entry)

    def take_out(self, ticket: Ticket) -> bool:
        """Take one out, to be a session in the tables; False when the kernel has taken it meanwhile."""
        if not self._taken_out([ticket]):
            return False
        del self.tickets[ticket.entry]
        self._figures.wake(ticket)
        return True

    def _taken_out(self, tickets: Sequence[Ticket]) -> Sequence[Ticket]:
        """Take endpoints out that are all leaving, or all of one pool; returns those that still rested."""
        if not tickets or tickets[0].entry in self.leaving:
            for ticket in tickets:
                del self.leaving[ticket.entry]
            return tickets
        pool = self.pool_of(tickets[0])
        with pool.ring.closed():
            self.read(pool)
            found = [ticket for ticket in tickets if ticket.entry in self.tickets]
            for ticket in found:
                pool.dismiss(ticket.entry)
        return found

    def free_leaving(self, is_meant: Callable[[Session], bool]) -> bool:
        """Free some that are leaving, of sessions of which this is true; whether there were any."""
        leaving = (ticket for ticket in self.leaving.values() if is_meant(ticket.session))
        freed = self.free(list(islice(leaving, FREED)), EndReason.EXPIRED)
        self._owner.lane.publish_flows()
        return freed > 0

    def free_for(self, real_server: RealServer) -> bool:
        """Free some towards the endpoint of this real server, because there is none for a new session; whether there were any."""
        endpoint = real_server.endpoint
        leaving = [ticket for ticket in self.leaving.values() if ticket.session.real_server.endpoint == endpoint]
        freed = self.free(leaving[:FREED], EndReason.PORT_TAKEN)
        for other, pool in self.pools.items():
            if other.endpoint == endpoint:
                freed += self._free_firsts(pool, FREED - freed, EndReason.PORT_TAKEN)
        self._owner.lane.publish_flows()
        return freed > 0

    def come(self, pool: Pool, ticket: Ticket) -> None:
        """One that belonged to no pool comes to rest in this one. It is held; the ring is closed, and all events are known."""
        pool.admit(ticket.entry)
        self.put_in_line(pool, ticket)
        self._figures.come_to_rest(ticket)

    def put_in_line(self, pool: Pool, ticket: Ticket) -> None:
        """One of this pool rests from now on. It is held; the ring is closed, and all events are known."""
        pool.put(ticket.entry)
        self.tickets[ticket.entry] = ticket

    def free_rested(self, pool: Pool, most: int) -> None:
        """Free up to so many that have rested long enough, because others come."""
        self._free_firsts(pool, most, EndReason.PORT_TAKEN, self._owner.by_state.now * NS_PER_S - REST_NS)
        self._owner.lane.publish_flows()

    def free_some(self, now: float) -> None:
        """Free those that nobody will use, those whose time is over, and those that are too many in TIME_WAIT."""
        left = FREED - self.free(list(self.leaving.values())[:FREED], EndReason.EXPIRED)
        if now < self._free_at_s:
            return
        self._free_at_s = now + _FREE_EVERY_S
        tunables = self._owner.tunables
        last_seen_ns = (now - tunables.timeouts_s[_TIME_WAIT]) * NS_PER_S
        for pool in self.pools.values():
            left -= self._free_firsts(pool, left, EndReason.EXPIRED, last_seen_ns)
        counts, own = self._time_wait_counts, self._owner.by_state.counts[_TIME_WAIT]
        too_many = min(left, sum(counts) - counts[self._shard] + own - tunables.time_wait_max)
        for pool in self.pools.values():
            too_many -= self._free_firsts(pool, too_many, EndReason.TIME_WAIT_OVERFLOW)
        self._drop_empty_pools()

    def _drop_empty_pools(self) -> None:
        """A real server whose endpoints are all gone has no pool any more: others may need it."""
        for real_server, pool in list(self.pools.items()):
            if not pool.size:
                with pool.ring.closed():
                    pool.ring.put_schedule(())
                self._free_pools.append(self.pools.pop(real_server).number)

    def _free_firsts(self, pool: Pool, most: int, because: EndReason, last_seen_ns: float = inf) -> int:
        """Free those that have rested longest in a pool, and were seen last at this moment or before; returns how many."""
        freed = 0
        while freed < most:
            firsts = [entry for entry in pool.firsts(self._spares) if self._longs[entry * LONGS + LAST_SEEN_WORD] <= last_seen_ns]
            tickets = [self.tickets[entry] for entry in firsts if entry in self.tickets]
            number = self.free(tickets[: most - freed], because)
            if not number:
                break
            freed += number
        return freed

    def free(self, tickets: Sequence[Ticket], because: EndReason) -> int:
        """Free endpoints that are all leaving, or all of one pool; returns how many of them still rested."""
        found = self._taken_out(tickets)
        for ticket in found:
            self._give_back(ticket, because)
        return len(found)

    def free_void(self, entry: int, pool: Pool) -> None:
        """Free one of a pool that the kernel has taken for nothing."""
        if self._spares.give_back(entry, pool):
            return
        ticket = self.tickets[entry]
        pool.dismiss(entry)
        self._give_back(ticket, EndReason.PORT_TAKEN)

    def _give_back(self, ticket: Ticket, because: EndReason) -> None:
        entry, lane = ticket.entry, self._owner.lane
        del self.tickets[entry]
        self._figures.end(ticket, because)
        last_seq: int = lane.words(entry)[RS_ACKED]
        client_flow, server_flow = each(flows_in(lane.maps.records, entry))
        is_own = lane.maps.value_of(client_flow) == 2 * entry  # its client may have another session by now
        lane.flows.go(client_flow + server_flow if is_own else server_flow)
        lane.return_entry(entry)
        self._admission.take_back(ticket.session, last_seq)
