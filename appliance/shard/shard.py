"""One worker's whole world: its sessions, its local ports, its timers. No sockets, no clock, no logging.

Four things are the contract: `handle` a packet, take the `segments` to send, ask for the `next_look` of the timers, and
`expire` what is due. `sessions` is what there is; `conn_walk` looks at it, piece by piece.
"""

from appliance.ipc.plan import Plan
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import BYTES, SESSIONS_EXPIRED
from appliance.model.tcp_state import EVENT, NEXT, UDP_STATE, TcpState
from appliance.model.verdicts import FRAGMENT, ICMP_TRANSLATED, NOT_OURS, SHORT_HEADER, STORM, TO_CLIENT, TO_REAL_SERVER, Verdict
from appliance.nat.fullnat import translate
from appliance.nat.icmp import translate_error
from appliance.nat.udp import translate_datagram
from appliance.proxy.synproxy import SynProxy
from appliance.sessions.lifecycle import Sessions
from appliance.shard.first_packet import FirstPacket
from appliance.shard.sanity import ARE_SENSIBLE, whole_packet_verdict
from appliance.shard.slow_path import SlowPath
from appliance.shard.unsolicited import Unsolicited
from appliance.state.output import ShardOutput
from appliance.state.rewrite_record import RECORD, RECORD_BYTES
from appliance.state.session import Session
from appliance.state.session_table import BUCKET_SHIFT
from appliance.wire.layout import (
    ACK,
    ADDRESSES_END,
    ADDRESSES_START,
    DATA_OFFSET_SHIFT,
    FLAG_BITS,
    FRAGMENT_BITS,
    HEADERS,
    IP_HEADER_BYTES,
    IPV4_NO_OPTIONS,
    LEAST_OFFSET_FLAGS,
    PROTO_ICMP,
    PROTO_TCP,
    PROTO_UDP,
    REWRITTEN_END,
    REWRITTEN_START,
    RST,
    SYN,
    TCP_HEADER_BYTES,
    UDP_REWRITTEN_END,
)
from appliance.wire.seq import HALF as SEQ_HALF
from appliance.wire.seq import MASK as SEQ_MASK

_parse = HEADERS.unpack_from
_record_at = RECORD.unpack_from
_SHORTEST_TCP_BYTES = IP_HEADER_BYTES + TCP_HEADER_BYTES
_NO_FIELDS = _parse(bytes(_SHORTEST_TCP_BYTES))
"""Those of a packet that is too short to be TCP: all zero."""

_TIME_WAIT = int(TcpState.TIME_WAIT)

_TRANSLATED = (TO_REAL_SERVER, TO_CLIENT)
"""Indexed by Direction."""

_SHAPE = 0xF << DATA_OFFSET_SHIFT | ACK | SYN | RST
_PLAIN = LEAST_OFFSET_FLAGS | ACK
"""A packet without options, with an acknowledgement, that opens and resets nothing: nearly all are like that."""


class Shard(ShardOutput):
    """One slice of the traffic. `handle` leaves the new bytes of a REWRITTEN packet in `rewritten`."""

    def __init__(self, plan: Plan, shared: SharedState, now: float) -> None:
        super().__init__()
        self.number = plan.shard
        self._generation_cell = shared.generation
        self._generation = shared.generation[0]
        ext_counts = shared.table(plan.shard, "ext")
        self._verdict_counts = shared.table(plan.shard, "verdicts")
        self._queue_counts = shared.table(plan.shard, "queue")
        self.sessions = Sessions(plan, shared, self, now)
        self._inbound, self._outbound = self.sessions.tcp.by_direction
        self._wheel = self.sessions.wheel
        self._timeouts_s = self.sessions.tunables.timeouts_s
        cookie_secret = bytes.fromhex(plan.cookie_secret)
        self._proxy = SynProxy(cookie_secret, self.sessions, self, ext_counts, self._queue_counts, now)
        self._unsolicited = Unsolicited(plan.services, self.sessions, ext_counts)
        self._first_packet = FirstPacket(self.sessions, self._unsolicited, self._proxy, self, now)
        self._slow_path = SlowPath(self.sessions, self._proxy, self, ext_counts, self._count, self.handle)

    def handle(self, raw: bytes, now: float) -> Verdict:
        """Judge one packet, whatever its bytes are."""
        if self._generation_cell[0] != self._generation:
            self._read_shared()
        length = len(raw)
        fields = _parse(raw) if length >= _SHORTEST_TCP_BYTES else _NO_FIELDS
        (version_ihl, total, fragment, protocol, ip_checksum, addresses,
         seq, ack, offset_flags, window, tcp_checksum) = fields  # fmt: skip
        if protocol != PROTO_TCP or version_ihl != IPV4_NO_OPTIONS or total != length or fragment & FRAGMENT_BITS:
            return self._handle_unusual(raw, now)
        payload_bytes = length - IP_HEADER_BYTES - 4 * (offset_flags >> DATA_OFFSET_SHIFT)
        flags = offset_flags & FLAG_BITS
        if payload_bytes < 0 or offset_flags < LEAST_OFFSET_FLAGS or not ARE_SENSIBLE[flags]:
            return self._count(self._unsolicited.judge_senseless(addresses, payload_bytes, offset_flags))
        bucket = hash(addresses) >> BUCKET_SHIFT
        session, direction = self._inbound[bucket].get(addresses), 0
        if session is None:
            session, direction = self._outbound[bucket].get(addresses), 1
            if session is None:
                opened = self._first_packet.of_tcp(raw, fields, payload_bytes, now)
                if isinstance(opened, Verdict):
                    return self._count(opened)
                session, direction = opened, 0
        is_plain = offset_flags & _SHAPE == _PLAIN and not session.needs_slow_path
        if not is_plain and (verdict := self._slow_path.take(session, direction, raw, fields, now)) is not None:
            return verdict

        if direction:
            if not payload_bytes and session.cookie is not None and self._proxy.is_storm(session, raw, fields, now):
                return self._count(STORM)
            table, session.first_table = 1, 0
            # Where the real server stands. Resets and segments older than the last one (seq.is_before, written out) do not count.
            if (ack - session.rs_ack) & SEQ_MASK < SEQ_HALF and flags & (ACK | RST) == ACK:
                session.rs_ack, session.rs_window = ack, window
                session.rs_next_seq = seq + payload_bytes + (flags & SYN == SYN)
        else:
            table, session.client_ack = session.first_table, ack
        state = NEXT[table][EVENT[flags]][session.state]
        if state != session.state:
            session.enter(state) if state != _TIME_WAIT else self._rest(session)
        session.deadline = deadline = now + self._timeouts_s[state]
        if deadline <= session.wheel_time:
            self._wheel.arm(session)
        counts = session.counts
        counts[direction] += 1
        counts[direction + BYTES] += length
        if is_plain:
            before, after, record = (
                raw[:REWRITTEN_START],
                raw[REWRITTEN_END:],
                _record_at(session.records, direction * RECORD_BYTES),
            )
            self.rewritten = translate(before, after, record, ip_checksum, seq, ack, offset_flags, window, tcp_checksum)
        return _TRANSLATED[direction]

    def _rest(self, session: Session) -> None:
        self.sessions.make_room_in_time_wait()
        session.enter(_TIME_WAIT)

    def next_look(self) -> float | None:
        """When `expire` should be called next, on the clock of `now`; None while there is no session."""
        return self._wheel.next_look()

    def expire(self, now: float, limit: int) -> bool:
        """Look at up to `limit` sessions whose time may be over, and remove those for which it is; True when more wait.

        What else takes too long to be done at once is taken a step further as well.
        """
        if self._generation_cell[0] != self._generation:
            self._read_shared()
        self.sessions.by_state.now = now
        expired = self._wheel.expired(now, limit)
        for session in expired:
            opening = session.opening
            if opening is not None and opening.handshake is not None:
                self._proxy.run_out(session, opening, opening.handshake, now)
            elif self.sessions.run_out(session, now):
                self._queue_counts[SESSIONS_EXPIRED] += 1
        self.sessions.thin_out_time_wait(limit)
        more_to_settle = self.sessions.settle_some()
        return self._wheel.is_behind(now) or more_to_settle

    def _handle_unusual(self, raw: bytes, now: float) -> Verdict:
        """Everything but a whole IPv4 TCP packet without IP options."""
        verdict = whole_packet_verdict(raw)
        if verdict is not None:
            return self._count(self._unsolicited.judge_fragment(raw) if verdict is FRAGMENT else verdict)
        if raw[9] == PROTO_UDP:
            return self._handle_datagram(raw, now)
        if raw[9] != PROTO_ICMP:
            return self._count(NOT_OURS)
        sessions, tunables = self.sessions, self.sessions.tunables
        tables = {PROTO_TCP: sessions.tcp, PROTO_UDP: sessions.udp}
        translated = translate_error(raw, tables, tunables.toa_kind if tunables.toa else None)
        if isinstance(translated, Verdict):
            return self._count(translated)
        self.rewritten = translated
        return self._count(ICMP_TRANSLATED)

    def _handle_datagram(self, raw: bytes, now: float) -> Verdict:
        """A whole UDP packet. LVS behaviour 3.11."""
        if len(raw) < UDP_REWRITTEN_END:
            return self._count(SHORT_HEADER)
        addresses = raw[ADDRESSES_START:ADDRESSES_END]
        session, direction = self.sessions.udp.find(addresses)
        if session is None:
            opened = self._first_packet.of_udp(addresses, raw, now)
            if isinstance(opened, Verdict):
                return self._count(opened)
            session = opened
        elif session.needs_slow_path and not direction:
            return self._count(self.sessions.meet_gone(session))
        session.deadline = now + self._timeouts_s[UDP_STATE]
        if session.deadline <= session.wheel_time:
            self._wheel.arm(session)
        session.counts[direction] += 1
        session.counts[direction + BYTES] += len(raw)
        self.rewritten = translate_datagram(raw, session.record(direction))
        return _TRANSLATED[direction]

    def _count(self, verdict: Verdict) -> Verdict:
        self._verdict_counts[verdict.index] += 1
        return verdict

    def _read_shared(self) -> None:
        """Take over what the director wrote. The generation is read first: a write in between shows up at the next packet."""
        self._generation = self._generation_cell[0]
        self.sessions.read_shared()
        self._timeouts_s = self.sessions.tunables.timeouts_s
