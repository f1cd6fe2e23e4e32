"""The sessions of one shard: its services, its tables, its local ports and its timers, and how a session begins and ends."""

from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address
from itertools import chain

from appliance.ipc.plan import Plan, ServicePlan
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import CONNS, HALF_OPEN_DROPPED, SESSIONS_CUT, TIME_WAIT_OVERFLOWS
from appliance.model.tcp_state import UDP_STATE, TcpState
from appliance.model.verdicts import REAL_SERVER_GONE, TABLE_FULL, Verdict
from appliance.nat.fullnat import reset_both_sides, reset_half_open
from appliance.nat.isn import IsnSource
from appliance.nat.lport import LocalPorts
from appliance.policy import steering
from appliance.sessions.admission import Admission
from appliance.state.by_state import ByState, OldestFirst
from appliance.state.live_tunables import LiveTunables
from appliance.state.output import ShardOutput
from appliance.state.services import USUAL_MTU, VirtualService
from appliance.state.session import Opening, Session
from appliance.state.session_table import SessionTable
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

    def __init__(self, plan: Plan, shared: SharedState, output: ShardOutput, now: float) -> None:
        self.tcp = SessionTable()
        self.udp = SessionTable()
        self.wheel: TimerWheel[Session] = TimerWheel(now)
        self._plan = plan
        self._shared = shared
        self._output = output
        self.by_state = ByState(now)
        self._unsettled: Iterator[list[Session]] = iter(())
        shared.forget_sessions(plan.shard)
        self._session_counts = shared.session_counts
        self._queue_counts = shared.table(plan.shard, "queue")
        self._gauges = shared.table(plan.shard, "states")
        counters = partial(shared.destination, plan.shard)
        services = (VirtualService(service, counters, self.by_state) for service in plan.services)
        self._services = {(service.protocol, service.endpoint): service for service in services}
        self.tunables = LiveTunables(shared.tunables, plan.shards)
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

    def open_tcp(self, service: VirtualService, client_key: bytes, client_isn: int, now: float) -> Session | Verdict:
        """A new session, in its opening; or why there is none."""
        if not self._may_open(service, now):
            return TABLE_FULL
        session = self._tcp_admission.open(service, client_key, client_isn, self.tunables.lport_tries, now)
        if isinstance(session, Session):
            session.opening = Opening()
            session.needs_slow_path = True
            self._insert(self.tcp, session)
        return session

    def open_udp(self, service: VirtualService, client_key: bytes, now: float) -> Session | Verdict:
        """A new session, or why there is none."""
        if not self._may_open(service, now):
            return TABLE_FULL
        session = self._udp_admission.open(service, client_key, 0, self.tunables.lport_tries, now)
        if isinstance(session, Session):
            session.state = UDP_STATE
            self._insert(self.udp, session)
        return session

    def _insert(self, table: SessionTable, session: Session) -> None:
        table.insert(session)
        session.counts[CONNS] += 1
        self._session_counts[self._plan.shard] += 1

    def _may_open(self, service: VirtualService, now: float) -> bool:
        """Whether the table has room for one more session of the service, or gets it by dropping a half-open one.

        The service's own comes first: who is flooded pays for it. Shards look at each other's counts without a lock, so all
        together they can go over the limit by one less than there are.
        """
        self.by_state.now = now
        limit = self.tunables.conn_max
        if not limit or sum(self._session_counts) < limit:
            return True
        if not self.tunables.early_drop or not service.takes_new:
            return False
        if self._drop_oldest(service.half_open, now):
            return True
        by_state = self.by_state.counts
        if by_state[TcpState.SYN_RECV] + by_state[TcpState.SYN_SENT] == len(service.half_open):
            return False  # nobody else has any
        return self._drop_oldest(max((other.half_open for other in self._services.values()), key=len), now)

    def _drop_oldest(self, line: OldestFirst, now: float) -> bool:
        """Drop the oldest half-open session of a line; False when there is none, or its client may just be about to answer."""
        oldest = line.oldest
        if oldest is None or now - oldest.since < HALF_OPEN_GRACE_S:
            return False
        self._output.segments += reset_half_open(oldest)
        self._remove(oldest)
        self._queue_counts[HALF_OPEN_DROPPED] += 1
        return True

    def make_room_in_time_wait(self) -> None:
        """Have room for one more in TIME_WAIT: the oldest goes when there is none."""
        self._thin_out_time_wait(self.tunables.time_wait_max - 1, 1)
        self._shared.time_wait_counts[self._plan.shard] += 1

    def thin_out_time_wait(self, at_most: int) -> None:
        """End the oldest sessions in TIME_WAIT, up to `at_most`, while there are more than there may be: the limit was lowered,
        or another shard had its share and more."""
        self._thin_out_time_wait(self.tunables.time_wait_max, at_most)

    def _thin_out_time_wait(self, most: int, at_most: int) -> None:
        line, counts, shard = self.by_state.time_wait, self._shared.time_wait_counts, self._plan.shard
        counts[shard] = len(line)
        while at_most and line.oldest is not None and sum(counts) > most:
            self._remove(line.oldest)
            self._queue_counts[TIME_WAIT_OVERFLOWS] += 1
            counts[shard] = len(line)
            at_most -= 1

    def end(self, session: Session) -> None:
        """Remove a session, and tell both ends when they believe it to be alive."""
        if session.state == TcpState.ESTABLISHED and self.tunables.expire_rst:
            self._output.segments += reset_both_sides(session)
        self._remove(session)

    def cut(self, session: Session) -> None:
        """Remove a session because an operator wants it gone, and tell both ends, in whatever state they are."""
        if session.state not in _OVER:
            self._output.segments += reset_both_sides(session)
        self._remove(session)
        self._queue_counts[SESSIONS_CUT] += 1

    def _remove(self, session: Session) -> None:
        self.wheel.disarm(session)
        is_udp = session.state == UDP_STATE
        (self.udp if is_udp else self.tcp).remove(session)
        (self._udp_admission if is_udp else self._tcp_admission).close(session)
        self._session_counts[self._plan.shard] -= 1

    def run_out(self, session: Session, now: float) -> bool:
        """The time of a session is over: end it, unless it only waits for its SYN to be sent once more. True when it ended."""
        opening = session.opening
        if opening is not None and opening.syn is not None and opening.stale_answers and not opening.is_resent:
            opening.is_resent = True
            self._output.segments.append(opening.syn)
            session.deadline = now + self.tunables.timeouts_s[session.state]
            self.wheel.arm(session)
            return False
        self.end(session)
        return True

    def meet_gone(self, session: Session) -> Verdict:
        """A client's packet for a real server that was removed: the session ends with its time, or now. LVS behaviour 2.3."""
        if self.tunables.expire_nodest:
            self.end(session)
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
            for session in bucket:
                session.settle()
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
        by_state = self.by_state.counts
        self._gauges[:] = array("Q", (*by_state, orphans))
        self._shared.time_wait_counts[self._plan.shard] = by_state[TcpState.TIME_WAIT]

    def read_shared(self) -> None:
        """Take over the tunables and route MTUs that the director wrote."""
        lport_range = self.tunables.lport_range
        self.tunables = LiveTunables(self._shared.tunables, self._plan.shards)
        if self.tunables.lport_range != lport_range:
            ports = self._ports()
            self._tcp_admission.local_ports.change_range(ports)
            self._udp_admission.local_ports.change_range(ports)
        for service in self._services.values():
            for real_server in service.all_real_servers:
                real_server.mtu = self._shared.mtus[real_server.slot] or USUAL_MTU

    def _ports(self) -> "array[int]":
        return steering.ports_of_shard(self._plan.shard, self._plan.shards, *self.tunables.lport_range)
