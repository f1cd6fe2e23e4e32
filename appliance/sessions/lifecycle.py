"""The sessions of one shard: its services, its tables, its local ports and its timers, and how a session begins and ends."""

from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address
from itertools import chain

from appliance.ipc.messages import Plan, ServicePlan
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import CONNS, HALF_OPEN_DROPPED, SESSIONS_CUT, TIME_WAIT_OVERFLOWS
from appliance.model.tcp_state import UDP_STATE, TcpState
from appliance.model.verdicts import REAL_SERVER_GONE, TABLE_FULL, Verdict
from appliance.nat.fullnat import reset_both_sides, reset_half_open
from appliance.nat.isn import IsnSource
from appliance.nat.lport import LocalPorts
from appliance.policy import steering
from appliance.sessions.admission import Admission
from appliance.state.by_state import Line, Population
from appliance.state.live_tunables import Settings
from appliance.state.output import Outbox
from appliance.state.services import USUAL_MTU, VirtualService
from appliance.state.session import ConnEntry, Opening
from appliance.state.session_table import ConnTable
from appliance.timers import TimerWheel
from appliance.wire.flow import pack_endpoint

_SETTLED_AT_ONCE = 4000
"""A millisecond's work, or two."""

HALF_OPEN_GRACE_S = 0.5
"""How long a handshake may take before its session makes way for a newcomer: more than most clients need there and back. Without
it newcomers would only push each other out, and a flood leave nobody the time to answer."""

_OVER = frozenset((TcpState.NONE, TcpState.CLOSE, TcpState.TIME_WAIT, UDP_STATE))
"""States in which neither end has a connection that it could be told of."""


class Sessions:
    """`tcp` and `udp` are the tables, `wheel` has the timers of both. `settings` are the tunables in force."""

    def __init__(self, plan: Plan, shared: SharedState, outbox: Outbox, now: float) -> None:
        self.tcp = ConnTable()
        self.udp = ConnTable()
        self.wheel: TimerWheel[ConnEntry] = TimerWheel(now)
        self._plan = plan
        self._shared = shared
        self._outbox = outbox
        self.population = Population(now)
        self._unsettled: Iterator[list[ConnEntry]] = iter(())
        shared.forget_sessions(plan.shard)
        self._session_counts = shared.session_counts
        self._queue_counts = shared.table(plan.shard, "queue")
        self._gauges = shared.table(plan.shard, "population")
        counters = partial(shared.destination, plan.shard)
        services = (VirtualService(service, counters, self.population) for service in plan.services)
        self._services = {(service.protocol, service.endpoint): service for service in services}
        self.settings = Settings(shared.tunables, plan.shards)
        ports = self._ports()
        self._tcp_admission = Admission(LocalPorts(ports), IsnSource(bytes.fromhex(plan.isn_secret)))
        self._udp_admission = Admission(LocalPorts(ports), None)
        self.read_shared()

    def __len__(self) -> int:
        return len(self.tcp) + len(self.udp)

    def service(self, protocol: str, endpoint: bytes) -> VirtualService | None:
        """The service with this address and port, six bytes."""
        return self._services.get((protocol, endpoint))

    def local_ports(self, protocol: str) -> LocalPorts:
        """The pools of one protocol, "tcp" or "udp"."""
        return (self._tcp_admission if protocol == "tcp" else self._udp_admission).local_ports

    def open_tcp(self, service: VirtualService, client_key: bytes, client_isn: int, now: float) -> ConnEntry | Verdict:
        """A new session, in its opening; or why there is none."""
        if not self._may_open(service, now):
            return TABLE_FULL
        conn = self._tcp_admission.open_conn(service, client_key, client_isn, self.settings.lport_tries, now)
        if isinstance(conn, ConnEntry):
            conn.opening = Opening()
            conn.long_way = True
            self._insert(self.tcp, conn)
        return conn

    def open_udp(self, service: VirtualService, client_key: bytes, now: float) -> ConnEntry | Verdict:
        """A new session, or why there is none."""
        if not self._may_open(service, now):
            return TABLE_FULL
        conn = self._udp_admission.open_conn(service, client_key, 0, self.settings.lport_tries, now)
        if isinstance(conn, ConnEntry):
            conn.state = UDP_STATE
            self._insert(self.udp, conn)
        return conn

    def _insert(self, table: ConnTable, conn: ConnEntry) -> None:
        table.insert(conn)
        conn.counts[CONNS] += 1
        self._session_counts[self._plan.shard] += 1

    def _may_open(self, service: VirtualService, now: float) -> bool:
        """Whether the table has room for one more session of the service, or gets it by dropping a half-open one.

        The service's own comes first: who is flooded pays for it. Shards look at each other's counts without a lock, so all
        together they can go over the limit by one less than there are.
        """
        self.population.now = now
        limit = self.settings.conn_max
        if not limit or sum(self._session_counts) < limit:
            return True
        if not self.settings.early_drop or not service.takes_new:
            return False
        if self._drop_oldest(service.half_open, now):
            return True
        by_state = self.population.by_state
        if by_state[TcpState.SYN_RECV] + by_state[TcpState.SYN_SENT] == len(service.half_open):
            return False  # nobody else has any
        return self._drop_oldest(max((other.half_open for other in self._services.values()), key=len), now)

    def _drop_oldest(self, line: Line, now: float) -> bool:
        """Drop the oldest half-open session of a line; False when there is none, or its client may just be about to answer."""
        oldest = line.oldest
        if oldest is None or now - oldest.since < HALF_OPEN_GRACE_S:
            return False
        self._outbox.segments += reset_half_open(oldest)
        self._remove(oldest)
        self._queue_counts[HALF_OPEN_DROPPED] += 1
        return True

    def make_room_in_time_wait(self) -> None:
        """Have room for one more in TIME_WAIT: the oldest goes when there is none."""
        self._thin_out_time_wait(self.settings.time_wait_max - 1, 1)
        self._shared.time_wait_counts[self._plan.shard] += 1

    def thin_out_time_wait(self, at_most: int) -> None:
        """End the oldest sessions in TIME_WAIT, up to `at_most`, while there are more than there may be: the limit was lowered,
        or another shard had its share and more."""
        self._thin_out_time_wait(self.settings.time_wait_max, at_most)

    def _thin_out_time_wait(self, most: int, at_most: int) -> None:
        line, counts, shard = self.population.time_wait, self._shared.time_wait_counts, self._plan.shard
        counts[shard] = len(line)
        while at_most and line.oldest is not None and sum(counts) > most:
            self._remove(line.oldest)
            self._queue_counts[TIME_WAIT_OVERFLOWS] += 1
            counts[shard] = len(line)
            at_most -= 1

    def end(self, conn: ConnEntry) -> None:
        """Remove a session, and tell both ends when they believe it to be alive."""
        if conn.state == TcpState.ESTABLISHED and self.settings.expire_rst:
            self._outbox.segments += reset_both_sides(conn)
        self._remove(conn)

    def cut(self, conn: ConnEntry) -> None:
        """Remove a session because an operator wants it gone, and tell both ends, in whatever state they are."""
        if conn.state not in _OVER:
            self._outbox.segments += reset_both_sides(conn)
        self._remove(conn)
        self._queue_counts[SESSIONS_CUT] += 1

    def _remove(self, conn: ConnEntry) -> None:
        self.wheel.disarm(conn)
        is_udp = conn.state == UDP_STATE
        (self.udp if is_udp else self.tcp).remove(conn)
        (self._udp_admission if is_udp else self._tcp_admission).close_conn(conn)
        self._session_counts[self._plan.shard] -= 1

    def run_out(self, conn: ConnEntry, now: float) -> bool:
        """The time of a session is over: end it, unless it only waits for its SYN to be sent once more. True when it ended."""
        opening = conn.opening
        if opening is not None and opening.syn is not None and opening.stale_answers and not opening.is_resent:
            opening.is_resent = True
            self._outbox.segments.append(opening.syn)
            conn.deadline = now + self.settings.timeouts_s[conn.state]
            self.wheel.arm(conn)
            return False
        self.end(conn)
        return True

    def meet_gone(self, conn: ConnEntry) -> Verdict:
        """A client's packet for a real server that was removed: the session ends with its time, or now. LVS behaviour 2.3."""
        if self.settings.expire_nodest:
            self.end(conn)
        return REAL_SERVER_GONE

    def change_services(self, plans: Sequence[ServicePlan]) -> None:
        """Have other real servers, or other weights, behind the services there are. Raises KeyError for an unknown service.

        Sessions of a real server that is gone stay until their time is over, or their client asks for more than it can get.
        They learn of it at once while they are few, else by and by; see `settle_some`.
        """
        changed = False
        for plan in plans:
            service = self._services[plan.protocol, pack_endpoint(IPv4Address(plan.vip), plan.port)]
            changed |= service.change_real_servers(plan.real_servers)
        if changed:
            self._unsettled = chain(self.tcp.walk(), self.udp.walk())
            self.settle_some()
        self.read_shared()

    def settle_some(self) -> bool:
        """Tell some sessions that real servers have gone or come back; True while there are more to tell.

        To tell a million at once would hold up their packets for a quarter of a second.
        """
        looked_at = 0
        for bucket in self._unsettled:
            for conn in bucket:
                conn.settle()
            looked_at += len(bucket)
            if looked_at >= _SETTLED_AT_ONCE:
                return True
        return False

    def publish_counts(self) -> None:
        """Make what was counted so far visible to the director."""
        orphans = 0
        for service in self._services.values():
            for real_server in service.all_real_servers:
                real_server.publish()
                if real_server.gone and service.protocol == "tcp":
                    orphans += real_server.sessions
        by_state = self.population.by_state
        self._gauges[:] = array("Q", (*by_state, orphans))
        self._shared.time_wait_counts[self._plan.shard] = by_state[TcpState.TIME_WAIT]

    def read_shared(self) -> None:
        """Take over the tunables and route MTUs that the director wrote."""
        lport_range = self.settings.lport_range
        self.settings = Settings(self._shared.tunables, self._plan.shards)
        if self.settings.lport_range != lport_range:
            ports = self._ports()
            self._tcp_admission.local_ports.change_range(ports)
            self._udp_admission.local_ports.change_range(ports)
        for service in self._services.values():
            for real_server in service.all_real_servers:
                real_server.mtu = self._shared.mtus[real_server.slot] or USUAL_MTU

    def _ports(self) -> "array[int]":
        return steering.ports_of_shard(self._plan.shard, self._plan.shards, *self.settings.lport_range)
