"""One worker's whole world: its sessions, its local ports, its timers. No sockets, no clock, no logging.

Five things are the contract: `handle` a packet, take the `segments` to send, ask for the `next_look` of the timers, `expire`
what is due, and read `sessions` for a view.
"""

from collections.abc import Iterator

from appliance import steering
from appliance.admission import close_conn, open_conn
from appliance.conn import ConnEntry, ConnTable
from appliance.control import Plan, SessionRow
from appliance.model import Direction, destination_of, source_of
from appliance.nat.fullnat import reset_both_sides, translate
from appliance.nat.icmp import translate_error
from appliance.nat.lport import LocalPorts
from appliance.ratelimit import TokenBucket
from appliance.service import RealServer, VirtualService
from appliance.shared_state import SharedState
from appliance.stats import BYTES, CONNS, SESSIONS_EXPIRED
from appliance.tcp_state import EVENT, NEXT, TIMEOUT_NAME, TcpState
from appliance.timers import TimerWheel
from appliance.tunables import INDEX
from appliance.verdict import (
    BAD_DATA_OFFSET,
    BAD_HEADER,
    FRAGMENT,
    ICMP_TRANSLATED,
    IP_OPTIONS,
    NO_SESSION,
    NOT_OURS,
    TO_CLIENT,
    TO_REAL_SERVER,
    TRUNCATED,
    Verdict,
)
from appliance.wire import craft
from appliance.wire.layout import (
    ACK,
    DATA_OFFSET_SHIFT,
    FIN,
    FLAG_BITS,
    FRAGMENT_BITS,
    HEADERS,
    IP_HEADER_BYTES,
    IPV4_NO_OPTIONS,
    LEAST_OFFSET_FLAGS,
    PROTO_ICMP,
    PROTO_TCP,
    RST,
    SYN,
    TCP_HEADER_BYTES,
)
from appliance.wire.seq import HALF as SEQ_HALF
from appliance.wire.seq import MASK as SEQ_MASK
from appliance.wire.show import show_endpoint

_parse = HEADERS.unpack_from
_SHORTEST_TCP_BYTES = IP_HEADER_BYTES + TCP_HEADER_BYTES

_TRANSLATED = (TO_REAL_SERVER, TO_CLIENT)
"""Indexed by Direction."""

_OPENING_FLAGS = SYN | ACK | FIN | RST

_NEWBORN_TIMEOUT_S = 2.0
"""For state NONE, which no tunable covers; a session leaves it with its first packet."""

_UNREACHABLE_PER_S = 100
_UNREACHABLE_BURST = 50
"""ICMP errors to refused clients: enough for people who try, too few to be of use as a reflector (RFC 1812, 4.3.2.8)."""


class Shard:
    """One slice of the traffic. `handle` leaves the new bytes of a REWRITTEN packet in `rewritten`."""

    def __init__(self, plan: Plan, shared: SharedState, now: float) -> None:
        self.conns = ConnTable()
        self.rewritten = b""
        self.segments: list[bytes] = []
        """Packets of our own that wait to be sent; the caller takes and clears them."""
        self._inbound, self._outbound = self.conns.by_direction
        self._plan = plan
        self._shared = shared
        self._generation_cell = shared.generation
        self._verdict_counts = shared.table(plan.shard, "verdicts")
        self._queue_counts = shared.table(plan.shard, "queue")
        self._services = {service.endpoint: service for service in _services(plan, shared)}
        self._wheel: TimerWheel[ConnEntry] = TimerWheel(now)
        self._unreachables = TokenBucket(_UNREACHABLE_PER_S, _UNREACHABLE_BURST, now)
        self._port_range = (1, 0)
        self._local_ports = LocalPorts(steering.ports_of_shard(plan.shard, plan.shards, *self._port_range))
        self._read_tunables()

    def handle(self, raw: bytes, now: float) -> Verdict:
        """Judge one packet, whatever its bytes are."""
        if self._generation_cell[0] != self._generation:
            self._read_tunables()
        length = len(raw)
        if length < _SHORTEST_TCP_BYTES:
            return self._handle_unusual(raw)
        (version_ihl, total, fragment, protocol, ip_checksum, addresses,
         seq, ack, offset_flags, window, tcp_checksum) = _parse(raw)  # fmt: skip
        if protocol != PROTO_TCP or version_ihl != IPV4_NO_OPTIONS or total != length or fragment & FRAGMENT_BITS:
            return self._handle_unusual(raw)
        payload_bytes = length - IP_HEADER_BYTES - 4 * (offset_flags >> DATA_OFFSET_SHIFT)
        if payload_bytes < 0 or offset_flags < LEAST_OFFSET_FLAGS:
            return self._count(BAD_DATA_OFFSET)

        flags = offset_flags & FLAG_BITS
        conn = self._inbound.get(addresses)
        if conn is not None:
            direction, table = 0, conn.first_table
        elif (conn := self._outbound.get(addresses)) is not None:
            direction = table = 1
            conn.first_table = 0
            # Where the real server stands, for a RST at the session's idle end. Resets and segments older than the last one
            # (seq.is_before, written out: this is the packet path) do not count.
            if (ack - conn.rs_ack) & SEQ_MASK < SEQ_HALF and not flags & RST:
                conn.rs_ack = ack
                conn.rs_next_seq = seq + payload_bytes + (flags & SYN == SYN)
        else:
            opened = self._open(addresses, flags, raw, now)
            if isinstance(opened, Verdict):
                return self._count(opened)
            conn, direction, table = opened, 0, opened.first_table

        state = NEXT[table][EVENT[flags]][conn.state]
        if state != conn.state:
            conn.enter(state)
            if flags & SYN and not direction:
                conn.rs_ack = seq  # a new incarnation: what the real server acknowledged before means nothing now
        conn.deadline = deadline = now + self._timeouts_s[state]
        if deadline <= conn.wheel_time:
            self._wheel.arm(conn)
        counts = conn.counts
        counts[direction] += 1
        counts[direction + BYTES] += length
        self.rewritten = translate(raw, conn.records[direction], ip_checksum, seq, ack, offset_flags, window, tcp_checksum)
        return _TRANSLATED[direction]

    def publish_counts(self) -> None:
        """Make the traffic counted so far visible to the director."""
        for service in self._services.values():
            for real_server in service.real_servers:
                real_server.publish()

    def next_look(self) -> float | None:
        """When `expire` should be called next, on the clock of `now`; None while there is no session."""
        return self._wheel.next_look()

    def expire(self, now: float, limit: int) -> bool:
        """Remove up to `limit` sessions whose time is over; True when more may be due at once."""
        expired = self._wheel.expired(now, limit)
        for conn in expired:
            if conn.state == TcpState.ESTABLISHED:
                self.segments += reset_both_sides(conn)
            self.conns.remove(conn)
            close_conn(conn, self._local_ports)
        self._queue_counts[SESSIONS_EXPIRED] += len(expired)
        return len(expired) == limit

    def sessions(self, now: float) -> Iterator[SessionRow]:
        """The sessions there are at this moment, read lazily: packets may be handled between two rows."""
        return (_row(conn, now) for conn in tuple(self.conns))

    def _open(self, addresses: bytes, flags: int, raw: bytes, now: float) -> ConnEntry | Verdict:
        """A new session for a packet that has none, or the verdict on that packet."""
        service = self._services.get(destination_of(addresses))
        if service is None:
            return NOT_OURS
        if flags & _OPENING_FLAGS != SYN:
            return NO_SESSION
        opened = open_conn(service, addresses, self._local_ports, self._lport_tries)
        if isinstance(opened, Verdict):
            if self._unreachables.allow(now):
                self.segments.append(craft.port_unreachable(raw))
            return opened
        self.conns.insert(opened)
        opened.counts[CONNS] += 1
        return opened

    def _handle_unusual(self, raw: bytes) -> Verdict:
        """Everything but a whole IPv4 TCP packet without options."""
        verdict = _whole_packet_verdict(raw)
        if verdict is None and raw[9] == PROTO_ICMP:
            translated = translate_error(raw, self.conns)
            if isinstance(translated, Verdict):
                return self._count(translated)
            self.rewritten = translated
            return self._count(ICMP_TRANSLATED)
        return self._count(verdict or NOT_OURS)

    def _count(self, verdict: Verdict) -> Verdict:
        self._verdict_counts[verdict.index] += 1
        return verdict

    def _read_tunables(self) -> None:
        """Take over the tunables in force. The generation is read first: a write in between shows up at the next packet."""
        self._generation = self._shared.generation[0]
        values = self._shared.tunables.tolist()
        self._lport_tries = values[INDEX["fullnat_lport_tries"]]
        self._timeouts_s = [
            values[INDEX[TIMEOUT_NAME[state]]] / 1000 if state in TIMEOUT_NAME else _NEWBORN_TIMEOUT_S for state in TcpState
        ]
        port_range = (values[INDEX["fullnat_lport_min"]], values[INDEX["fullnat_lport_max"]])
        if port_range != self._port_range:
            self._port_range = port_range
            self._local_ports.change_range(steering.ports_of_shard(self._plan.shard, self._plan.shards, *port_range))


def _whole_packet_verdict(raw: bytes) -> Verdict | None:
    """Why the bytes are no whole IPv4 packet without options; None when they are one."""
    if len(raw) < IP_HEADER_BYTES or raw[0] >> 4 != 4:
        return BAD_HEADER
    if raw[0] != IPV4_NO_OPTIONS:
        return IP_OPTIONS
    total, fragment = int.from_bytes(raw[2:4], "big"), int.from_bytes(raw[6:8], "big")
    if fragment & FRAGMENT_BITS:
        return FRAGMENT
    if total > len(raw):
        return TRUNCATED
    if total < len(raw) or raw[9] == PROTO_TCP:
        return BAD_HEADER
    return None


def _services(plan: Plan, shared: SharedState) -> Iterator[VirtualService]:
    for service in plan.services:
        real_servers = [
            RealServer(real_server, shared.destination(plan.shard, real_server.slot)) for real_server in service.real_servers
        ]
        yield VirtualService(service, real_servers)


def _row(conn: ConnEntry, now: float) -> SessionRow:
    client_key, to_real_server = conn.client_key, conn.records[Direction.INBOUND].addresses
    ends = (
        source_of(client_key),
        destination_of(client_key),
        source_of(to_real_server),
        destination_of(to_real_server),
    )
    client, vip, local, real_server = (show_endpoint(end[:4], end[4:]) for end in ends)
    expires_s = max(0.0, conn.deadline - now)
    return SessionRow(conn.service.name, client, vip, local, real_server, TcpState(conn.state).name, expires_s, "TCP")
