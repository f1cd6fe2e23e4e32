"""The sessions of one shard: its services, tables, local ports and timers, and how a session begins and ends."""

from array import array
from collections.abc import Iterable
from functools import partial

from appliance.ipc.plan import Plan, ServiceKey, ServicePlan
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import CONNS
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import UDP_STATE, TcpState
from appliance.model.verdict import Verdict
from appliance.model.verdicts import SERVERS_FULL, SOURCE_LIMIT, TABLE_FULL
from appliance.nat.isn import IsnSource
from appliance.nat.lport import LocalPorts, port_key
from appliance.policy import steering
from appliance.sessions.admission import Admission
from appliance.sessions.datagrams import Datagrams
from appliance.sessions.ended import EndedSessions
from appliance.sessions.farewell import FAREWELLS
from appliance.sessions.lane import Lane
from appliance.sessions.lane_maps import LaneMaps, NoMaps
from appliance.sessions.latches import Latches
from appliance.sessions.limits import LimitedSessions
from appliance.sessions.prepared import Prepared
from appliance.sessions.room import Room
from appliance.sessions.service_changes import ServiceChanges, Services
from appliance.state.by_state import YIELDING, ByState
from appliance.state.live_tunables import LiveTunables
from appliance.state.output import ShardOutput
from appliance.state.progress import RS_ACKED, RS_PACKETS
from appliance.state.real_server import RealServer
from appliance.state.server_errors import note_silence
from appliance.state.services import VirtualService
from appliance.state.session import Session
from appliance.state.session_phases import Opening
from appliance.state.session_table import SessionTable
from appliance.state.shard_facts import ShardFacts
from appliance.state.sources import Places, SourceCounts
from appliance.timers import TimerWheel
from appliance.wire.flow import Direction, source_address_of

_SYN_RECV = int(TcpState.SYN_RECV)


class Sessions:
    """All sessions of a shard. `tcp` and `udp` are the tables, `wheel` has the timers of both."""

    def __init__(self, plan: Plan, shared: SharedState, output: ShardOutput, now: float, maps: LaneMaps | None = None) -> None:
        maps = maps or NoMaps()
        self.tcp, self.udp = SessionTable(), SessionTable()
        self.wheel: TimerWheel[Session] = TimerWheel(now)
        self._plan, self._shared, self._session_counts, self._output = plan, shared, shared.session_counts, output
        self.by_state: ByState[Session] = ByState(now)
        shared.forget_sessions(plan.shard)
        self._queue_counts, self._gauges = shared.table(plan.shard, "queue"), shared.table(plan.shard, "states")
        counters = partial(shared.destination, plan.shard)
        facts = ShardFacts.of(plan, shared, maps.remembered.cast("Q"))
        self.maglev_tables = facts.tables
        self._services: Services = {}
        make = partial(VirtualService[Session], counters=counters, by_state=self.by_state, facts=facts)
        self.changes = ServiceChanges(self._services, make, self)
        self.changes.put_services(plan.services, gone=())
        self.tunables = LiveTunables(shared)
        """The tunables in force."""
        table = steering.shard_table(plan.shards)
        self._ports = partial(steering.ports_of_shard, table, plan.shard)
        slots = [slot for slot, shard in enumerate(table) if shard == plan.shard]
        self.lane = Lane(maps, slots, self, self._queue_counts, plan.shard)
        """Those of them that the kernel carries."""
        self._datagrams = Datagrams(self.lane.maps, shared, plan.shard)
        self.latches = Latches(self.lane.maps, shared, plan.shard, self.service, lambda: self.by_state.now)
        self.latches.put_services(plan.services, ())
        self.ended = EndedSessions(self, plan.log_per_s, plan.logged_services)
        self._room = Room(shared, self.by_state, self._services.values(), self.end, self.lane.refresh)
        self.limited = LimitedSessions(shared, plan.shard, self._room, self.lane, facts.clients, self.end)
        self.busy: dict[RealServer, VirtualService[Session]] = {}
        """Real servers whose counters may have changed since they were published: those that have sessions, or had some."""
        self.sources = {protocol: SourceCounts(self.tunables.source_prefix_bits) for protocol in ("tcp", "udp")}
        """By protocol, how many sessions each source network has in this shard."""
        ports, key = self._ports(*self.tunables.lport_range), port_key(plan.isn_secret, plan.shard, now)
        self._isns = IsnSource(bytes.fromhex(plan.isn_secret))
        self._tcp_admission = Admission(LocalPorts(ports, b"tcp" + key), self._isns, self._end_for_port)
        self._udp_admission = Admission(LocalPorts(ports, b"udp" + key), None, self._end_for_port)
        self.prepared = Prepared(self, self._tcp_admission, shared, plan.shard, output, self._queue_counts)
        self.prepared.put_services(plan.services, ())
        self.changes.before = self.ended.before = self.prepared.change
        self.changes.free_at_rest = self.prepared.short.free_at_rest
        self.changes.put_drained(plan.drained)
        self.changes.put_health(plan.down)
        self.read_shared(self._shared.generation[0])

    def __len__(self) -> int:
        return len(self.tcp) + len(self.udp)

    def service(self, protocol: str, endpoint: bytes) -> VirtualService[Session] | None:
        """The service of a protocol, "tcp" or "udp", at this endpoint."""
        return self._services.get((protocol, endpoint))

    def local_ports(self, protocol: str) -> LocalPorts:
        """The pools of one protocol, "tcp" or "udp"."""
        return (self._tcp_admission if protocol == "tcp" else self._udp_admission).local_ports

    def open_tcp(self, service: VirtualService[Session], client_key: bytes, client_isn: int, now: float) -> Session | Verdict:
        """A new session of TCP, half-open; or why there is none."""
        places = self.sources["tcp"].places(source_address_of(client_key))
        session = self._admit(self._tcp_admission, service, client_key, places, client_isn, now)
        if isinstance(session, Session):
            self.begin(session, places)
        return session

    def begin(self, session: Session, places: Places) -> None:
        """Put a session of TCP that was just opened into its table. `places` are those of its source network."""
        session.state, session.opening, session.needs_slow_path = _SYN_RECV, Opening(), True
        self._insert(self.tcp, session, places)

    def open_udp(self, service: VirtualService[Session], client_key: bytes, now: float) -> Session | Verdict:
        """A new session of UDP, or why there is none."""
        places = self.sources["udp"].places(source_address_of(client_key))
        session = self._admit(self._udp_admission, service, client_key, places, 0, now)
        if isinstance(session, Session):
            session.state = UDP_STATE
            self._insert(self.udp, session, places)
            session.await_confirmation()
        elif session is SOURCE_LIMIT:
            self._datagrams.refuse(client_key, self.tunables, now)
        return session

    def _admit(
        self, admission: Admission, service: VirtualService[Session], key: bytes, places: Places, isn: int, now: float
    ) -> Session | Verdict:
        """A session that is in no table yet, or why there is none."""
        if self._is_source_full(service, places):
            return SOURCE_LIMIT
        if service.limits is not None:
            self.prepared.make_room(service)
            if (why := self.limited.reason_against(service, key, self.tunables, now)) is not None:
                return why
        if not self._room.in_table(service, self.tunables, now):
            return TABLE_FULL
        opened = admission.open(service, key, isn, self.tunables.lport_tries, now)
        if opened is SERVERS_FULL and self.limited.make_server_room(service, self.tunables, now):
            opened = admission.open(service, key, isn, self.tunables.lport_tries, now)
        return opened

    def take_in(self, session: Session, state: int) -> None:
        """Put a session that an earlier worker has opened into its table, in this state, and count it there."""
        session.state = state
        places = self.sources[session.service.protocol].places(session.client_address)
        self._put(self.udp if state == UDP_STATE else self.tcp, session, places)

    def _insert(self, table: SessionTable, session: Session, places: Places) -> None:
        self._put(table, session, places)
        session.counts[CONNS] += 1
        if session.service.limits is not None:
            session.real_server.publish_open()

    def _put(self, table: SessionTable, session: Session, places: Places) -> None:
        table.insert(session)
        if table is self.udp:
            self._datagrams.begin(session)
        self.busy[session.real_server] = session.service
        self._session_counts[self._plan.shard] += 1
        self.sources[session.service.protocol].add(places)

    def has_backlog_room(self, service: VirtualService[Session], client_key: bytes, now: float) -> bool:
        """Whether the service may have one more half-open session, or may after its oldest one was dropped for it. None is
        dropped for a client whose network has all it may have; `open_tcp` refuses it."""
        backlog = self.tunables.backlog
        if self.prepared.half_open(service, backlog) < backlog:
            return True
        if self._is_source_full(service, self.sources[service.protocol].places(source_address_of(client_key))):
            return True
        self.lane.look_for_room(now)
        return self.prepared.half_open(service, backlog) < backlog or self._room.in_backlog(service, self.tunables, now)

    def _is_source_full(self, service: VirtualService[Session], places: Places) -> bool:
        """Whether the source network that is counted at `places` has all it may have."""
        most, counts = self.tunables.source_max, self.sources[service.protocol]
        if self.lane.is_on and counts.count(places) < most <= counts.count(places) + self.prepared.short.young:
            self.prepared.take_in_all()
        return bool(most) and counts.count(places) >= most

    def _end_for_port(self, real_server: RealServer, now: float) -> Session | None:
        """End a session of this real server because its local port is needed; None when there is none that may end.

        One of TCP in TIME_WAIT may end at once. The next connection on its port begins with a sequence number beyond all that the
        real server has seen (see `nat.isn`), so the real server accepts it although it rests as well.
        """
        order = real_server.orders[YIELDING]
        if order.oldest is None:
            self.lane.look_for_room(now)
        session: Session | None = order.oldest
        if session is None:
            return None
        if not session.is_unconfirmed:
            self.end(session, EndReason.PORT_TAKEN)
        elif self._room.may_drop_for_port(session, self.tunables, now):
            self.end(session, EndReason.UNCONFIRMED_DROPPED)
        else:
            return None
        return session

    def idle_time_of_unconfirmed(self, session: Session, direction: int) -> float:
        """How long a UDP session that was not confirmed before this packet may be idle after it, in seconds."""
        if direction or not session.words[RS_PACKETS]:
            return self.tunables.udp_unconfirmed_s
        session.confirm()
        return self.tunables.timeouts_s[UDP_STATE]

    def make_room_in_time_wait(self) -> None:
        """Make room for one more session in TIME_WAIT: the oldest ends when there is none."""
        self._thin_out_time_wait(self.tunables.time_wait_max - 1, 1)
        self._shared.time_wait_counts[self._plan.shard] += 1

    def thin_out_time_wait(self, at_most: int) -> None:
        """End up to `at_most` of the oldest sessions in TIME_WAIT while there are too many, for instance by a lower limit."""
        self._thin_out_time_wait(self.tunables.time_wait_max, at_most)

    def _thin_out_time_wait(self, most: int, at_most: int) -> None:
        by_state, counts, shard = self.by_state, self._shared.time_wait_counts, self._plan.shard
        counts[shard] = by_state.counts[TcpState.TIME_WAIT]
        while at_most and sum(counts) > most and (oldest := by_state.time_wait.oldest) is not None:
            self.end(oldest, EndReason.TIME_WAIT_OVERFLOW)
            counts[shard] = by_state.counts[TcpState.TIME_WAIT]
            at_most -= 1

    def enter(self, session: Session, state: int) -> None:
        """Change the state of a session to another one; when that is TIME_WAIT, room is made for it."""
        if state == TcpState.TIME_WAIT:
            self.make_room_in_time_wait()
        if session.state == _SYN_RECV and session.entry is None and self.lane.flows.reserved:
            self.lane.flows.release_of(session)
        session.enter(state)

    def end(self, session: Session, because: EndReason) -> None:
        """End a session: tell both ends what they have to hear of it, give back its port, and count why it ended."""
        if self.ended.is_on:
            self.ended.note(session, because.name.lower())
        if session.entry is not None or self.lane.outside or self.lane.flows.reserved:
            self.lane.forget(session)
        self._output.segments += FAREWELLS[because](session, self.tunables)
        self.wheel.disarm(session)
        is_udp = session.state == UDP_STATE
        (self.udp if is_udp else self.tcp).remove(session)
        (self._udp_admission if is_udp else self._tcp_admission).close(session)
        self.sources[session.service.protocol].remove(session.client_address)
        if is_udp:
            self._datagrams.end(session)
        self._session_counts[self._plan.shard] -= 1
        self._queue_counts[because] += 1

    def next_isn(self, session: Session) -> int:
        """The initial sequence number that a new connection in the place of this session shows the real server."""
        return self._isns.following(session.leaving_key(Direction.INBOUND), session.words[RS_ACKED])

    def time_out(self, session: Session, now: float) -> None:
        """The deadline of a session has passed: end it, unless the kernel has seen packets of it meanwhile, or it only waits for
        its SYN to be sent once more."""
        if session.entry is not None:
            self.lane.refresh(session)
            if session.deadline > now:
                self.wheel.arm(session)
                return
        opening = session.opening
        if opening is None or opening.syn is None or not opening.stale_answers or opening.is_resent:
            note_silence(session, now)
            self.end(session, EndReason.EXPIRED)
            return
        opening.is_resent = True
        self._output.segments.append(opening.syn)
        self.wait(session, now + self.tunables.timeouts_s[session.state])

    def wait(self, session: Session, until: float) -> None:
        """Set the deadline of a session, which may be earlier than the one it has."""
        session.deadline = until
        self.wheel.arm(session)

    def change_services(self, plans: Iterable[ServicePlan], gone: Iterable[ServiceKey]) -> None:
        """See `Shard.change_services`. Sessions of a removed real server stay until their time is over or their client sends a
        packet. Those of a removed service or on a local address that goes are reset by and by, see `ServiceChanges`."""
        plans, gone = tuple(plans), tuple(gone)
        concerned = self.changes.put_services(plans, gone)
        self.prepared.put_services(plans, gone)
        self.latches.put_services(plans, gone)
        self._room.look_at_services()
        self._read_mtus(concerned)

    def publish_counts(self) -> None:
        """Make what was counted so far visible to the director. Real servers without sessions cost nothing."""
        orphans, idle = 0, []
        for real_server, service in self.busy.items():
            real_server.publish()
            has_ended = service.is_removed and self.changes.is_settled
            if has_ended or not (sessions := real_server.sessions):
                idle.append(real_server)
            elif real_server.is_removed and service.protocol == "tcp":
                orphans += sessions
        for real_server in idle:
            del self.busy[real_server]
        by_state = self.by_state.counts
        self._gauges[:] = array("Q", (*by_state, orphans))
        self._shared.time_wait_counts[self._plan.shard] = by_state[TcpState.TIME_WAIT]

    def read_shared(self, generation: int) -> None:
        """Take over the tunables and route MTUs that the director wrote; they are those of `generation`, or later ones.

        The director may have written one end of the range of local ports only: one without ports is left for the next generation.
        """
        self.prepared.change()
        lport_range, prefix_bits = self.tunables.lport_range, self.tunables.source_prefix_bits
        tunables = LiveTunables(self._shared)
        ports = None if tunables.lport_range == lport_range else self._ports(*tunables.lport_range)
        if ports is not None and not ports:
            return
        self.tunables = tunables
        self.prepared.read_tunables(generation)
        self._datagrams.read_tunables(generation)
        self.lane.timeouts_s = tunables.timeouts_s
        if self.tunables.source_prefix_bits != prefix_bits:
            for counts in self.sources.values():
                counts.change_prefix(self.tunables.source_prefix_bits)
        if ports is not None:
            self._tcp_admission.local_ports.change_range(ports)
            self._udp_admission.local_ports.change_range(ports)
        self._read_mtus(self._services.values())

    def _read_mtus(self, services: Iterable[VirtualService[Session]]) -> None:
        for service in services:
            service.read_mtus(self._shared.mtu)
