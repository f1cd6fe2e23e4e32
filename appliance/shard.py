"""One worker's whole world: its sessions, its local ports, its timers. No sockets, no clock, no logging.

Five things are the contract: `handle` a packet, take the `segments` to send, ask for the `next_look` of the timers, `expire`
what is due, and read `sessions` for a view.
"""

from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from appliance import steering
from appliance.admission import Admission
from appliance.conn import Challenge, ConnEntry, ConnTable, Opening
from appliance.control import Plan, ServicePlan, SessionRow
from appliance.listing import session_row
from appliance.model import Direction, destination_of, pack_endpoint
from appliance.nat import opening as opening_phase
from appliance.nat.fullnat import reset_both_sides, translate
from appliance.nat.icmp import translate_error
from appliance.nat.isn import IsnSource, following
from appliance.nat.lport import LocalPorts
from appliance.nat.udp import translate_datagram
from appliance.ratelimit import TokenBucket
from appliance.sanity import whole_packet_verdict
from appliance.service import USUAL_MTU, VirtualService
from appliance.settings import Settings
from appliance.shared_state import SharedState
from appliance.stats import BYTES, CONNS, FULLNAT_REUSED, FULLNAT_REUSED_FROM, SESSIONS_EXPIRED
from appliance.tcp_state import EVENT, NEXT, STATE_NAMES, UDP_STATE, TcpState
from appliance.timers import TimerWheel
from appliance.verdict import (
    BAD_DATA_OFFSET,
    BAD_HEADER,
    CHALLENGED,
    ICMP_TRANSLATED,
    NO_SESSION,
    NOT_OURS,
    REAL_SERVER_GONE,
    STALE_ANSWER,
    TO_CLIENT,
    TO_REAL_SERVER,
    Verdict,
)
from appliance.wire import craft
from appliance.wire.layout import (
    ACK,
    ADDRESSES_END,
    ADDRESSES_START,
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
    PROTO_UDP,
    RST,
    SYN,
    TCP_HEADER_BYTES,
    UDP_REWRITTEN_END,
)
from appliance.wire.seq import HALF as SEQ_HALF
from appliance.wire.seq import MASK as SEQ_MASK

_parse = HEADERS.unpack_from
_SHORTEST_TCP_BYTES = IP_HEADER_BYTES + TCP_HEADER_BYTES

_TRANSLATED = (TO_REAL_SERVER, TO_CLIENT)
"""Indexed by Direction."""

_OPENING_FLAGS = SYN | ACK | FIN | RST

_SHAPE = 0xF << DATA_OFFSET_SHIFT | ACK | SYN | RST
_PLAIN = LEAST_OFFSET_FLAGS | ACK
"""A packet without options, with an acknowledgement, that opens and resets nothing: nearly all are like that."""

_RESTING = (TcpState.FIN_WAIT, TcpState.TIME_WAIT, TcpState.CLOSE_WAIT, TcpState.LAST_ACK)

_RST_REACH = 1 << 20
"""How far a client's RST may be ahead of what its real server acknowledged, in bytes: more than is on the way at most times,
and one number in 4096."""

_CHALLENGE_INTERVAL_S = 0.5

_UNREACHABLE_PER_S = 100
_UNREACHABLE_BURST = 50
"""ICMP errors to refused clients: enough for people who try, too few to be of use as a reflector (RFC 1812, 4.3.2.8)."""


class Shard:
    """One slice of the traffic. `handle` leaves the new bytes of a REWRITTEN packet in `rewritten`."""

    def __init__(self, plan: Plan, shared: SharedState, now: float) -> None:
        self.conns = ConnTable()
        self.udp_conns = ConnTable()
        self.rewritten = b""
        self.segments: list[bytes] = []
        """Packets of our own that wait to be sent; the caller takes and clears them."""
        self._inbound, self._outbound = self.conns.by_direction
        self._plan = plan
        self._shared = shared
        self._generation_cell = shared.generation
        self._ext_counts = shared.table(plan.shard, "ext")
        self._verdict_counts = shared.table(plan.shard, "verdicts")
        self._queue_counts = shared.table(plan.shard, "queue")
        counters = partial(shared.destination, plan.shard)
        services = (VirtualService(service, counters) for service in plan.services)
        self._services = {(service.protocol, service.endpoint): service for service in services}
        self._wheel: TimerWheel[ConnEntry] = TimerWheel(now)
        self._unreachables = TokenBucket(_UNREACHABLE_PER_S, _UNREACHABLE_BURST, now)
        self._settings = Settings(shared.tunables)
        ports = self._ports()
        self._admission = Admission(LocalPorts(ports), IsnSource(bytes.fromhex(plan.isn_secret)))
        self._udp_admission = Admission(LocalPorts(ports), None)
        self._read_shared()

    def handle(self, raw: bytes, now: float) -> Verdict:
        """Judge one packet, whatever its bytes are."""
        if self._generation_cell[0] != self._generation:
            self._read_shared()
        length = len(raw)
        if length < _SHORTEST_TCP_BYTES:
            return self._handle_unusual(raw, now)
        fields = _parse(raw)
        (version_ihl, total, fragment, protocol, ip_checksum, addresses,
         seq, ack, offset_flags, window, tcp_checksum) = fields  # fmt: skip
        if protocol != PROTO_TCP or version_ihl != IPV4_NO_OPTIONS or total != length or fragment & FRAGMENT_BITS:
            return self._handle_unusual(raw, now)
        payload_bytes = length - IP_HEADER_BYTES - 4 * (offset_flags >> DATA_OFFSET_SHIFT)
        if payload_bytes < 0 or offset_flags < LEAST_OFFSET_FLAGS:
            return self._count(BAD_DATA_OFFSET)

        flags = offset_flags & FLAG_BITS
        conn, direction = self._inbound.get(addresses), 0
        if conn is None:
            conn, direction = self._outbound.get(addresses), 1
            if conn is None:
                opened = self._open(addresses, flags, seq, raw, now)
                if isinstance(opened, Verdict):
                    return self._count(opened)
                conn, direction = opened, 0
        is_plain = offset_flags & _SHAPE == _PLAIN and not conn.long_way
        if not is_plain and (verdict := self._go_long_way(conn, direction, raw, fields, now)) is not None:
            return verdict

        if direction:
            table, conn.first_table = 1, 0
            # Where the real server stands. Resets and segments older than the last one (seq.is_before, written out) do not count.
            if (ack - conn.rs_ack) & SEQ_MASK < SEQ_HALF and flags & (ACK | RST) == ACK:
                conn.rs_ack = ack
                conn.rs_next_seq = seq + payload_bytes + (flags & SYN == SYN)
        else:
            table = conn.first_table
        state = NEXT[table][EVENT[flags]][conn.state]
        if state != conn.state:
            conn.enter(state)
        conn.deadline = deadline = now + self._timeouts_s[state]
        if deadline <= conn.wheel_time:
            self._wheel.arm(conn)
        counts = conn.counts
        counts[direction] += 1
        counts[direction + BYTES] += length
        if is_plain:
            record = conn.records[direction]
            self.rewritten = translate(raw, record, ip_checksum, seq, ack, offset_flags, window, tcp_checksum)
        return _TRANSLATED[direction]

    def publish_counts(self) -> None:
        """Make the traffic counted so far visible to the director."""
        for service in self._services.values():
            for real_server in service.all_real_servers:
                real_server.publish()

    def update_services(self, plans: Sequence[ServicePlan]) -> None:
        """Have other real servers, or other weights, behind the services there are. Raises KeyError for an unknown service.

        Sessions of a real server that is gone stay until their time is over, or their client asks for more than it can get.
        """
        changed = False
        for plan in plans:
            service = self._services[plan.protocol, pack_endpoint(IPv4Address(plan.vip), plan.port)]
            changed |= service.change_real_servers(plan.real_servers)
        if changed:
            for conn in (*self.conns, *self.udp_conns):
                conn.settle()
        self._read_shared()

    def next_look(self) -> float | None:
        """When `expire` should be called next, on the clock of `now`; None while there is no session."""
        return self._wheel.next_look()

    def expire(self, now: float, limit: int) -> bool:
        """Remove up to `limit` sessions whose time is over; True when more may be due at once."""
        if self._generation_cell[0] != self._generation:
            self._read_shared()
        expired = self._wheel.expired(now, limit)
        for conn in expired:
            self._end(conn)
        self._queue_counts[SESSIONS_EXPIRED] += len(expired)
        return len(expired) == limit

    def sessions(self, now: float) -> Iterator[SessionRow]:
        """The sessions there are at this moment, read lazily: packets may be handled between two rows."""
        return (session_row(conn, now) for conn in (*self.conns, *self.udp_conns))

    def _open(self, addresses: bytes, flags: int, seq: int, raw: bytes, now: float) -> ConnEntry | Verdict:
        """A new session for a TCP packet that has none, or the verdict on that packet."""
        service = self._services.get(("tcp", destination_of(addresses)))
        if service is None:
            return NOT_OURS
        if flags & _OPENING_FLAGS != SYN:
            return NO_SESSION
        opened = self._admission.open_conn(service, addresses, seq, self._settings.lport_tries, now)
        if isinstance(opened, Verdict):
            return self._refuse(opened, raw, now)
        opened.opening = Opening()
        opened.long_way = True
        self.conns.insert(opened)
        opened.counts[CONNS] += 1
        return opened

    def _refuse(self, reason: Verdict, raw: bytes, now: float) -> Verdict:
        if self._unreachables.allow(now):
            self.segments.append(craft.port_unreachable(raw))
        return reason

    def _go_long_way(self, conn: ConnEntry, direction: int, raw: bytes, fields: tuple[Any, ...], now: float) -> Verdict | None:
        """Rewrite a packet that has options, or whose session wants a closer look; a verdict when that is the end of it."""
        if direction:
            opening = conn.opening
            if opening is not None and opening.syn is not None:
                segments = opening_phase.check_answer(conn, opening, opening.syn, fields)
                if segments is not None:
                    self.segments += segments
                    return self._count(STALE_ANSWER)
            self.rewritten = opening_phase.to_client(raw, fields, conn, self._settings)
            return None
        if fields[8] & (SYN | RST) or conn.challenge is not None or conn.real_server.gone:
            verdict = self._look_closer(conn, raw, fields, now)
            if verdict is not None:
                return verdict
        self.rewritten = opening_phase.to_real_server(raw, fields, conn, self._settings, self._ext_counts)
        return None

    def _look_closer(self, conn: ConnEntry, raw: bytes, fields: tuple[Any, ...], now: float) -> Verdict | None:
        """A client's packet that may begin or end a connection: a verdict when it is dealt with, None to go on with it."""
        seq, flags = fields[6], fields[8] & FLAG_BITS
        is_syn = flags & _OPENING_FLAGS == SYN
        shown_seq = (seq + conn.records[0].seq_delta) & SEQ_MASK
        is_late = False
        if is_syn and shown_seq != conn.isn:
            if self._settings.reuse:
                is_live = conn.state == TcpState.ESTABLISHED
                return self._challenge(conn, raw, now) if is_live else self._start_anew(conn, raw, seq, now)
            if conn.state != TcpState.ESTABLISHED:
                conn.start(seq, shown_seq)
        elif is_syn:
            is_late = conn.state in _RESTING
        elif (challenge := conn.challenge) is not None:
            if flags & RST and seq == challenge.ack:
                return self._start_anew(conn, challenge.syn, _parse(challenge.syn)[6], now)
            conn.challenge = None
            conn.settle()
        if conn.real_server.gone:
            return self._meet_gone(conn)
        if is_late or (flags & RST and (shown_seq - conn.rs_ack) & SEQ_MASK > _RST_REACH):
            # A SYN of the connection that is ending, late; or a RST that cannot be for it, and which the real server will see
            # through (RFC 5961, 3.2). Passed on, but neither may move the session.
            self.rewritten = opening_phase.to_real_server(raw, fields, conn, self._settings, self._ext_counts)
            return TO_REAL_SERVER
        return None

    def _challenge(self, conn: ConnEntry, raw: bytes, now: float) -> Verdict:
        """Hold a new SYN on an established session, and ask the client whether it really began anew.

        Obeying such a SYN would let anybody who guesses a client's port cut off its session (RFC 5961, 4). A client that lost its
        connection answers with a RST whose number only it can know; one that still has it does not answer.
        """
        if conn.challenge is None or now >= conn.challenge.until:
            reply = conn.records[Direction.OUTBOUND]
            ack = (conn.rs_ack + reply.ack_delta) & SEQ_MASK
            self.segments.append(craft.challenge_ack(reply.addresses, (conn.rs_next_seq + reply.seq_delta) & SEQ_MASK, ack))
            conn.challenge = Challenge(raw, ack, now + _CHALLENGE_INTERVAL_S)
            conn.settle()
        return self._count(CHALLENGED)

    def _start_anew(self, conn: ConnEntry, syn: bytes, client_isn: int, now: float) -> Verdict:
        """Let a new connection take the place of the old one between the same client and VIP. LVS behaviour 3.5."""
        self._ext_counts[FULLNAT_REUSED] += 1
        if (place := FULLNAT_REUSED_FROM.get(STATE_NAMES[conn.state])) is not None:
            self._ext_counts[place] += 1
        if conn.real_server.weight:
            conn.start(client_isn, following(conn.rs_ack))
        else:
            self._end(conn)
        return self.handle(syn, now)

    def _meet_gone(self, conn: ConnEntry) -> Verdict:
        """The real server was removed: the session ends with its time, or now."""
        if self._settings.expire_nodest:
            self._end(conn)
        return self._count(REAL_SERVER_GONE)

    def _end(self, conn: ConnEntry) -> None:
        """Remove a session, and tell both ends when they believe it to be alive."""
        if conn.state == TcpState.ESTABLISHED and self._settings.expire_rst:
            self.segments += reset_both_sides(conn)
        self._wheel.disarm(conn)
        is_udp = conn.state == UDP_STATE
        (self.udp_conns if is_udp else self.conns).remove(conn)
        (self._udp_admission if is_udp else self._admission).close_conn(conn)

    def _handle_unusual(self, raw: bytes, now: float) -> Verdict:
        """Everything but a whole IPv4 TCP packet without IP options."""
        verdict = whole_packet_verdict(raw)
        if verdict is not None:
            return self._count(verdict)
        if raw[9] == PROTO_UDP:
            return self._handle_datagram(raw, now)
        if raw[9] != PROTO_ICMP:
            return self._count(NOT_OURS)
        tables = {PROTO_TCP: self.conns, PROTO_UDP: self.udp_conns}
        translated = translate_error(raw, tables, self._settings.toa_kind if self._settings.toa else None)
        if isinstance(translated, Verdict):
            return self._count(translated)
        self.rewritten = translated
        return self._count(ICMP_TRANSLATED)

    def _handle_datagram(self, raw: bytes, now: float) -> Verdict:
        """A whole UDP packet. LVS behaviour 3.11."""
        if len(raw) < UDP_REWRITTEN_END:
            return self._count(BAD_HEADER)
        addresses = raw[ADDRESSES_START:ADDRESSES_END]
        conn, direction = self.udp_conns.find(addresses)
        if conn is None:
            opened = self._open_udp(addresses, raw, now)
            if isinstance(opened, Verdict):
                return self._count(opened)
            conn = opened
        elif conn.long_way and not direction:
            return self._meet_gone(conn)
        conn.deadline = now + self._timeouts_s[UDP_STATE]
        if conn.deadline <= conn.wheel_time:
            self._wheel.arm(conn)
        conn.counts[direction] += 1
        conn.counts[direction + BYTES] += len(raw)
        self.rewritten = translate_datagram(raw, conn.records[direction])
        return _TRANSLATED[direction]

    def _open_udp(self, addresses: bytes, raw: bytes, now: float) -> ConnEntry | Verdict:
        service = self._services.get(("udp", destination_of(addresses)))
        if service is None:
            return NOT_OURS
        opened = self._udp_admission.open_conn(service, addresses, 0, self._settings.lport_tries, now)
        if isinstance(opened, Verdict):
            return self._refuse(opened, raw, now)
        opened.state = UDP_STATE
        self.udp_conns.insert(opened)
        opened.counts[CONNS] += 1
        return opened

    def _count(self, verdict: Verdict) -> Verdict:
        self._verdict_counts[verdict.index] += 1
        return verdict

    def _read_shared(self) -> None:
        """Take over what the director wrote. The generation is read first: a write in between shows up at the next packet."""
        self._generation = self._shared.generation[0]
        lport_range = self._settings.lport_range
        self._settings = Settings(self._shared.tunables)
        self._timeouts_s = self._settings.timeouts_s
        if self._settings.lport_range != lport_range:
            ports = self._ports()
            self._admission.local_ports.change_range(ports)
            self._udp_admission.local_ports.change_range(ports)
        for service in self._services.values():
            for real_server in service.all_real_servers:
                real_server.mtu = self._shared.mtus[real_server.slot] or USUAL_MTU

    def _ports(self) -> "array[int]":
        return steering.ports_of_shard(self._plan.shard, self._plan.shards, *self._settings.lport_range)
