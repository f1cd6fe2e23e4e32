"""The sessions of one shard: its services, its tables, its local ports and its timers, and how a session begins and ends."""

from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address

from appliance import steering
from appliance.admission import Admission
from appliance.conn import ConnEntry, ConnTable, Opening
from appliance.control import Plan, ServicePlan
from appliance.model import pack_endpoint
from appliance.nat.fullnat import reset_both_sides
from appliance.nat.isn import IsnSource
from appliance.nat.lport import LocalPorts
from appliance.outbox import Outbox
from appliance.service import USUAL_MTU, VirtualService
from appliance.settings import Settings
from appliance.shared_state import SharedState
from appliance.stats import CONNS
from appliance.tcp_state import UDP_STATE, TcpState
from appliance.timers import TimerWheel
from appliance.verdict import REAL_SERVER_GONE, Verdict


class Sessions:
    """`tcp` and `udp` are the tables, `wheel` has the timers of both. `settings` are the tunables in force."""

    def __init__(self, plan: Plan, shared: SharedState, outbox: Outbox, now: float) -> None:
        self.tcp = ConnTable()
        self.udp = ConnTable()
        self.wheel: TimerWheel[ConnEntry] = TimerWheel(now)
        self._plan = plan
        self._shared = shared
        self._outbox = outbox
        counters = partial(shared.destination, plan.shard)
        services = (VirtualService(service, counters) for service in plan.services)
        self._services = {(service.protocol, service.endpoint): service for service in services}
        self.settings = Settings(shared.tunables, plan.shards)
        ports = self._ports()
        self._tcp_admission = Admission(LocalPorts(ports), IsnSource(bytes.fromhex(plan.isn_secret)))
        self._udp_admission = Admission(LocalPorts(ports), None)
        self.read_shared()

    def __iter__(self) -> Iterator[ConnEntry]:
        """Those there are at this moment: packets may be handled between two of them."""
        return iter((*self.tcp, *self.udp))

    def service(self, protocol: str, endpoint: bytes) -> VirtualService | None:
        """The service with this address and port, six bytes."""
        return self._services.get((protocol, endpoint))

    def open_tcp(self, service: VirtualService, client_key: bytes, client_isn: int, now: float) -> ConnEntry | Verdict:
        """A new session, in its opening; or why there is none."""
        conn = self._tcp_admission.open_conn(service, client_key, client_isn, self.settings.lport_tries, now)
        if isinstance(conn, ConnEntry):
            conn.opening = Opening()
            conn.long_way = True
            self.tcp.insert(conn)
            conn.counts[CONNS] += 1
        return conn

    def open_udp(self, service: VirtualService, client_key: bytes, now: float) -> ConnEntry | Verdict:
        """A new session, or why there is none."""
        conn = self._udp_admission.open_conn(service, client_key, 0, self.settings.lport_tries, now)
        if isinstance(conn, ConnEntry):
            conn.state = UDP_STATE
            self.udp.insert(conn)
            conn.counts[CONNS] += 1
        return conn

    def end(self, conn: ConnEntry) -> None:
        """Remove a session, and tell both ends when they believe it to be alive."""
        if conn.state == TcpState.ESTABLISHED and self.settings.expire_rst:
            self._outbox.segments += reset_both_sides(conn)
        self.wheel.disarm(conn)
        is_udp = conn.state == UDP_STATE
        (self.udp if is_udp else self.tcp).remove(conn)
        (self._udp_admission if is_udp else self._tcp_admission).close_conn(conn)

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
        """
        changed = False
        for plan in plans:
            service = self._services[plan.protocol, pack_endpoint(IPv4Address(plan.vip), plan.port)]
            changed |= service.change_real_servers(plan.real_servers)
        if changed:
            for conn in self:
                conn.settle()
        self.read_shared()

    def publish_counts(self) -> None:
        """Make the traffic counted so far visible to the director."""
        for service in self._services.values():
            for real_server in service.all_real_servers:
                real_server.publish()

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
