"""One worker's whole world: its sessions, its local ports, its timers. No sockets, no clock, no logging."""

from collections.abc import Iterable, Sequence

from appliance.ipc.plan import Plan, ServiceKey, ServicePlan
from appliance.ipc.queries import CONSISTENCY, Query
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import BYTES
from appliance.model.tcp_state import NEXT, OUT, UDP_STATE
from appliance.model.verdict import Verdict
from appliance.model.verdicts import (
    FRAGMENT,
    NOT_OURS,
    SERVER_DOWN,
    SHORT_HEADER,
    STORM,
    TO_CLIENT,
    TO_REAL_SERVER,
)
from appliance.nat.fullnat import translate
from appliance.nat.udp import translate_datagram
from appliance.proxy.synproxy import SynProxy
from appliance.sessions.adoption import Adopted, Adoption
from appliance.sessions.lane_maps import LaneMaps
from appliance.sessions.let_go import LetGo
from appliance.sessions.lifecycle import Sessions
from appliance.sessions.walk import SessionWalk
from appliance.shard.closing import weigh_fin
from appliance.shard.first_packet import FirstPacket
from appliance.shard.icmp_errors import judge_error
from appliance.shard.sanity import HEADERS_BYTES, NEVER_FITS, OFFSET_AND_FLAGS, whole_packet_verdict
from appliance.shard.slow_path import SlowPath
from appliance.shard.strays import HostHasSocket, Strays
from appliance.shard.turned_away import turn_away
from appliance.shard.unsolicited import Unsolicited
from appliance.state.by_state import NOT_IN_ORDER
from appliance.state.output import ShardOutput
from appliance.state.progress import CONSUMES, SENT_REACH, SIDES
from appliance.state.rewrite_record import ACK_DELTA, RECORD, RECORD_BYTES
from appliance.state.server_errors import note_silence
from appliance.state.session import Session
from appliance.state.session_table import BUCKET_SHIFT
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
    PROTOCOL,
    REWRITTEN_END,
    REWRITTEN_START,
    RST,
    SYN,
    TCP_HEADER_BYTES,
    UDP_REWRITTEN_END,
)
from appliance.wire.segment import Segment
from appliance.wire.seq import MASK as SEQ_MASK

_parse = HEADERS.unpack_from
_record_at = RECORD.unpack_from
_make = tuple.__new__
_SHORTEST_TCP_BYTES = IP_HEADER_BYTES + TCP_HEADER_BYTES
_NO_FIELDS = _parse(bytes(_SHORTEST_TCP_BYTES))
"""The fields of a packet that is too short to be TCP: all zero."""

_TRANSLATED = (TO_REAL_SERVER, TO_CLIENT)
"""Indexed by Direction. These two are counted for their real server, and nowhere else."""

_SHAPE = 0xF << DATA_OFFSET_SHIFT | ACK | SYN | FIN | RST
_PLAIN, _PLAIN_FIN = LEAST_OFFSET_FLAGS | ACK, LEAST_OFFSET_FLAGS | ACK | FIN
"""A packet without options, with an acknowledgement, that opens, closes and resets nothing: nearly all are like that. And one
that closes its direction: each connection has two, of some ten packets."""

_ACK_RST = ACK | RST
"""A segment that tells where its sender stands has ACK of these, and not RST. A number that has not changed is not judged again:
most packets of a stream bring one new number of the two, and arithmetic with numbers of this size is slow."""


class Shard:
    """One slice of the traffic. This is its whole contract with the worker that runs it.

    - `handle` judges one packet; its new bytes, and packets of our own, are in `output`. After `gather_flows`, `publish_flows` is
      to be called before any packet that was judged gets its verdict, and at the end of a turn.
    - `on_tick` is called ten times a second, and again at once while it says that more waits.
    - `adopt` takes over sessions in the lane, before the first packet; `reconcile` what the kernel has made of them.
    - `change_services`, `change_health`, `change_drained` and `forget_real_servers` put in force what the director says, and
      `is_settled` says whether all sessions know of it.
    - `walk` begins a question about the sessions; `publish_counts` makes what was counted visible to the director. `close`
      ends what the shard has prepared.
    - `sessions` are for whoever looks at packets beside the shard (`shard.tracer`), and changes nothing.

    Time is `now`, seconds of a monotonic clock, and never goes back.
    """

    def __init__(
        self,
        plan: Plan,
        shared: SharedState,
        now: float,
        maps: LaneMaps | None = None,
        host_has: HostHasSocket = lambda _: True,
    ) -> None:
        """`maps` are those of the lane; None when there is none."""
        self.output = ShardOutput()
        self._number = plan.shard
        self._generation_cell, self._generation = shared.generation, shared.generation[0]
        ext_counts, queue_counts = shared.table(plan.shard, "ext"), shared.table(plan.shard, "queue")
        self._queue_counts, self._verdict_counts = queue_counts, shared.table(plan.shard, "verdicts")
        self._sessions = self.sessions = sessions = Sessions(plan, shared, self.output, now, maps)
        self._inbound, self._outbound = sessions.tcp.by_direction
        self._wheel = sessions.wheel
        self._lane, self._held, self._let_go = sessions.lane, sessions.lane.held, LetGo(sessions.lane.maps)
        self._timeouts_s = sessions.tunables.timeouts_s
        self._proxy = SynProxy(bytes.fromhex(plan.cookie_secret), sessions, self.output, ext_counts, queue_counts, now)
        self._unsolicited = Unsolicited(sessions, ext_counts)
        self._strays = Strays(plan, sessions, self._proxy, self.output, host_has, now)
        self._first_packet = FirstPacket(sessions, self._unsolicited, self._proxy, self._strays, self.output, ext_counts, now)
        self._judge_slow = SlowPath(sessions, self._proxy, self._let_go, self.output, ext_counts).judge

    def adopt(self, now: float) -> Adopted:
        """Take over the sessions that an earlier worker has left in the lane. It takes some 50 us for each."""
        return Adoption(self._sessions, self.output, self._queue_counts, now).run()

    def handle(self, raw: bytes, now: float) -> Verdict:
        """Judge one packet, whatever its bytes are. The new bytes of a REWRITTEN packet are in `output.rewritten`."""
        if self._generation_cell[0] != self._generation:
            self._read_shared()
        length = len(raw)
        fields = _parse(raw) if length >= _SHORTEST_TCP_BYTES else _NO_FIELDS
        version_ihl, total, fragment, protocol, ip_checksum, key, seq, ack, offset_flags, window, tcp_checksum = fields
        is_plain = offset_flags & _SHAPE == _PLAIN
        fits = is_plain or HEADERS_BYTES.get(offset_flags & OFFSET_AND_FLAGS, NEVER_FITS) <= length
        if protocol != PROTO_TCP or version_ihl != IPV4_NO_OPTIONS or total != length or fragment & FRAGMENT_BITS or not fits:
            return self._count(self._judge_unusual(raw, now))
        bucket = hash(key) >> BUCKET_SHIFT
        session, direction = self._inbound[bucket].get(key), 0
        if session is None:
            session, direction = self._outbound[bucket].get(key), 1
            if session is None:
                return self._conclude(self._first_packet.of_tcp(Segment.of(fields, raw), now), now)
        if is_plain and not session.needs_slow_path:
            flags, end = ACK, seq + length - _SHORTEST_TCP_BYTES
        else:
            segment = _make(Segment, (*fields, raw, offset_flags & FLAG_BITS, HEADERS_BYTES[offset_flags & OFFSET_AND_FLAGS]))
            is_plain = not session.needs_slow_path and offset_flags & _SHAPE == _PLAIN_FIN
            outcome = weigh_fin(session, direction, segment) if is_plain else self._judge_slow(session, direction, segment, now)
            if not isinstance(outcome, int):
                return self._conclude(outcome, now)
            flags, end = outcome, seq + length - segment.options_end + CONSUMES[outcome]
        if direction and session.cookie is not None and end == seq and self._is_storm(session, fields, raw, now):
            return self._count(STORM)
        record = _record_at(session.records, direction * RECORD_BYTES)
        words, (acked_at, next_seq_at, window_at, packets_at, bytes_at, sent_at) = session.words, SIDES[direction]
        acked, next_seq = words[acked_at], words[next_seq_at]
        tells = is_plain or flags & _ACK_RST == ACK
        if tells and (ack == acked or (ack - acked) & SEQ_MASK <= (words[sent_at] - record[ACK_DELTA] - acked) & SEQ_MASK):
            words[acked_at], words[window_at] = ack, window
            if end != next_seq and (end - next_seq) & SEQ_MASK < SENT_REACH:
                words[next_seq_at] = end
        words[packets_at] += 1
        words[bytes_at] += length
        session.counts[direction] += 1
        session.counts[direction + BYTES] += length
        if (state := NEXT[OUT if direction else session.first_table][flags][session.state]) != session.state:
            self._sessions.enter(session, state)
        session.deadline = deadline = now + self._timeouts_s[state]
        if deadline <= session.wheel_time:
            self._wheel.arm(session)
        if not is_plain:
            return self._count(_TRANSLATED[direction]) if self._held else _TRANSLATED[direction]
        before, after = raw[:REWRITTEN_START], raw[REWRITTEN_END:]
        self.output.rewritten = translate(before, after, record, ip_checksum, seq, ack, offset_flags, window, tcp_checksum)
        return _TRANSLATED[direction]

    def _is_storm(self, session: Session, fields: tuple[int, ...], raw: bytes, now: float) -> bool:
        return self._proxy.is_storm(session, Segment.of(fields, raw), now)

    def _conclude(self, outcome: Verdict | bytes, now: float) -> Verdict:
        """Count a verdict. Bytes are a packet to judge in the place of the one that is judged."""
        return self.handle(outcome, now) if isinstance(outcome, bytes) else self._count(outcome)

    def gather_flows(self) -> None:
        """Tell the kernel of the flows of several sessions at once, by `publish_flows`, which costs half as much for each."""
        self._lane.gathers_flows = True

    def publish_flows(self) -> None:
        """Let flows come into the lane, and go, that wait for it."""
        self._lane.publish_flows()

    def on_tick(self, now: float, limit: int) -> bool:
        """Look at up to `limit` sessions whose time may be over, and end those for which it is; True when more wait.

        Other work that would take too long at once is done a step further as well.
        """
        if self._generation_cell[0] != self._generation:
            self._read_shared()
        self._sessions.by_state.now = now
        self._first_packet.look_at_kernel_cookies(now)
        self._proxy.engagement.look(now)
        for session in self._wheel.expired(now, limit):
            opening = session.opening
            if opening is not None and opening.handshake is not None:
                note_silence(session, now)
                self._proxy.time_out(session, opening, opening.handshake, now)
            else:
                self._sessions.time_out(session, now)
        self._sessions.thin_out_time_wait(limit)
        more_to_settle, more_to_build = self._sessions.changes.settle_some(), self._sessions.maglev_tables.build_some()
        return self._wheel.is_behind(now) or more_to_settle or more_to_build

    def close(self) -> None:
        """Open no session any more."""
        self._sessions.prepared.change()
        self._sessions.latches.close()

    def reconcile(self, limit: int, now: float) -> bool:
        """Take over what the kernel has made of up to `limit` sessions in the lane, every few milliseconds; True when there may
        be more. Up to `limit` end because too many are in TIME_WAIT, and as many because their clients have too many."""
        is_more = self._sessions.prepared.look(now) | self._lane.reconcile(limit)
        self._sessions.thin_out_time_wait(limit)
        return self._sessions.limited.end_beyond(limit) or is_more

    def change_services(self, plans: Sequence[ServicePlan], gone: Iterable[ServiceKey] | None = None) -> None:
        """These services are new or change, and those with the keys `gone` go, or all others without `gone`: their sessions are
        reset by and by. Raises KeyError, ValueError or TypeError for a plan that makes no sense; then nothing has changed."""
        self._sessions.change_services(plans, self._sessions.changes.keys() if gone is None else gone)
        self._unsolicited.look_at_services()
        self._strays.add(plans)

    def forget_real_servers(self, real_servers: Iterable[tuple[str, str, int]]) -> None:
        """Count no more for these, which were removed: service, address, port. Raises ValueError, as `ServiceChanges.forget`."""
        self._sessions.publish_counts()  # so that none of them is published later
        self._sessions.changes.forget(real_servers)

    def is_settled(self) -> bool:
        """Whether what the last change of services means for sessions is done."""
        return self._sessions.changes.is_settled

    def change_health(self, down: Sequence[int]) -> None:
        """The real servers in the slots `down` are down from now on, and all others up."""
        self._sessions.changes.put_health(down)

    def change_drained(self, drained: Sequence[int]) -> None:
        """The real servers in the slots `drained` get no new sessions from now on, whatever their weights; all others do."""
        self._sessions.changes.put_drained(drained)

    def walk(self, query: Query) -> SessionWalk:
        """A question about the sessions. Raises QueryError or ValueError for one that was not checked."""
        if query.kind != CONSISTENCY:  # that looks at them as they are
            self._sessions.prepared.take_in_all()
        return SessionWalk(self._sessions, self._number, query)

    def publish_counts(self) -> None:
        """Make what was counted so far visible to the director."""
        self._sessions.publish_counts()
        self._sessions.prepared.publish()

    def _judge_unusual(self, raw: bytes, now: float) -> Verdict:
        """Everything but a whole IPv4 TCP packet without IP options whose TCP header makes sense."""
        verdict = whole_packet_verdict(raw)
        if verdict is not None:
            return self._unsolicited.judge_fragment(raw) if verdict is FRAGMENT else verdict
        if raw[PROTOCOL] == PROTO_TCP:
            return self._unsolicited.judge_senseless(Segment.parse(raw))
        if raw[PROTOCOL] == PROTO_UDP:
            return self._judge_datagram(raw, now)
        return judge_error(raw, self._sessions, self._proxy, self.output, now) if raw[PROTOCOL] == PROTO_ICMP else NOT_OURS

    def _judge_datagram(self, raw: bytes, now: float) -> Verdict:
        """A whole UDP packet. LVS behaviour 3.11."""
        if len(raw) < UDP_REWRITTEN_END:
            return SHORT_HEADER
        key = raw[ADDRESSES_START:ADDRESSES_END]
        session, direction = self._sessions.udp.find(key)
        if session is not None and session.needs_slow_path and not self._let_go.is_for_datagram(session, now):
            self._lane.hold(session)
            if session.real_server.lets_go and not direction:
                verdict = turn_away(session, self._sessions)
                if verdict is not SERVER_DOWN:
                    return verdict
                session = None  # this very datagram goes to another real server
        if session is None:
            opened = self._first_packet.of_udp(key, raw, now)
            if isinstance(opened, Verdict):
                return opened
            session = opened
        was_unconfirmed = session.since is not NOT_IN_ORDER
        if was_unconfirmed:
            session.deadline = now + self._sessions.idle_time_of_unconfirmed(session, direction)
        else:
            session.deadline = now + self._timeouts_s[UDP_STATE]
        if session.deadline <= session.wheel_time:
            self._wheel.arm(session)
        session.count_packet(direction, len(raw))
        self.output.rewritten = translate_datagram(raw, session.record(direction))
        if was_unconfirmed and not session.is_unconfirmed:
            self._lane.open(session)
        return _TRANSLATED[direction]

    def _count(self, verdict: Verdict) -> Verdict:
        """Count a verdict: the one place where that is done. Packets that were translated are counted for their real server.

        What the packet's session was held for is over."""
        if self._held:
            self._lane.release_held()
        if verdict not in _TRANSLATED:
            self._verdict_counts[verdict.index] += 1
        return verdict

    def _read_shared(self) -> None:
        """Take over what the director wrote. The generation is read first: a write in between shows up at the next packet."""
        self._generation = self._generation_cell[0]
        self._sessions.read_shared(self._generation)
        self._timeouts_s = self._sessions.tunables.timeouts_s
