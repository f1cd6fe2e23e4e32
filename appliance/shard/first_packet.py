"""A packet that belongs to no session: open one, ask the client for a proof first, or say why neither is done."""

from appliance.model.tcp_state import TcpState
from appliance.model.verdict import Verdict
from appliance.model.verdicts import (
    BAD_CHECKSUM,
    BAD_HEADER,
    LAND,
    LIMITS_REACHED,
    NO_SERVICE,
    NO_SESSION,
    NONE_HEALTHY,
    OVERFLOWS,
    SYN_BACKLOG_FULL,
    TO_REAL_SERVER,
)
from appliance.nat.opening import to_real_server
from appliance.proxy.cookie import COOKIE_LIFE_S
from appliance.proxy.synproxy import SynProxy
from appliance.sessions.lifecycle import Sessions
from appliance.shard.strays import Strays
from appliance.shard.unsolicited import Unsolicited
from appliance.state.lane_entry import flow_of_segment
from appliance.state.output import ShardOutput
from appliance.state.services import ALWAYS, NEVER, VirtualService
from appliance.state.session import Session
from appliance.state.token_bucket import TokenBucket
from appliance.wire import craft
from appliance.wire.flow import Direction, destination_of, parts_of, reverse_key, source_address_of
from appliance.wire.integrity import has_udp_length, is_damaged
from appliance.wire.layout import ACK, PROTO_TCP, PROTO_UDP, RST, SYN
from appliance.wire.segment import Segment
from appliance.wire.seq import add

# Plain integers, bound once: an enum's member would be looked up for each connection.
_SYN_RECV, _INBOUND = int(TcpState.SYN_RECV), int(Direction.INBOUND)

_ANSWERS_PER_S = 100
_ANSWERS_BURST = 50
"""Answers to refused clients: enough for people who try, too few to be of use as a reflector (RFC 1812, 4.3.2.8)."""

_LOOK_EVERY_S = 1.0


class FirstPacket:
    """Judges the packets of one shard that belong to no session."""

    def __init__(
        self,
        sessions: Sessions,
        unsolicited: Unsolicited,
        proxy: SynProxy,
        strays: Strays,
        output: ShardOutput,
        ext_counts: memoryview,
        now: float,
    ) -> None:
        self._sessions = sessions
        self._unsolicited = unsolicited
        self._proxy, self._engagement = proxy, proxy.engagement
        self._output = output
        self._ext_counts = ext_counts
        self._answers = TokenBucket(_ANSWERS_PER_S, _ANSWERS_BURST, now)
        self._prepared, self._has_lane = sessions.prepared, sessions.lane.is_on
        self._strays = strays
        self._earlier_cookies_until = now + COOKIE_LIFE_S if strays.has_predecessor else now
        """Until when a client may have a cookie of an earlier worker that is still good."""
        sessions.latches.expect_earlier_cookies(self._earlier_cookies_until)
        self._look_at_s = now
        """When to look next whether the kernel answers."""

    def look_at_kernel_cookies(self, now: float) -> None:
        """Remember for which services the kernel may have sent cookies, because it tells nobody of each. To be called often; it
        looks once a second."""
        if now >= self._look_at_s and self._sessions.lane.is_on and self._sessions.tunables.in_kernel:
            self._look_at_s = now + _LOOK_EVERY_S
            for service in self._sessions.changes.services():
                if self._engagement.kernel_answers(service):
                    service.expect_cookies(now + COOKIE_LIFE_S + 2 * _LOOK_EVERY_S)

    def of_tcp(self, segment: Segment, now: float) -> Verdict | bytes:
        """Judge a TCP packet. When it opens a session, it goes on to the real server, or a SYN goes on in its place. Bytes are a
        packet to judge again: there is a session now that the kernel has opened."""
        flags = segment.opening_flags
        if self._has_lane and self._prepared.has(segment.key, segment.seq if flags == SYN else None):
            return segment.raw
        source_address, address, _, port = parts_of(segment.key)
        if self._unsolicited.is_nobodys(source_address):
            return LAND
        destination = address + port
        service = self._sessions.service("tcp", destination)
        if service is None:
            verdict = self._unsolicited.judge(PROTO_TCP, destination, NO_SERVICE)
            return self._strays.tell_real_server(segment, verdict, now)
        if flags == SYN:
            if self._has_lane:
                self._prepared.miss(service)
            return self._of_syn(service, segment, now)
        outcome: Verdict | bytes
        if flags & (SYN | ACK | RST) == ACK and self._may_have_a_cookie(service, now):
            outcome = self._of_cookie(service, segment, now)
        else:
            outcome = self._unsolicited.judge(PROTO_TCP, destination, NO_SESSION)
        return outcome if isinstance(outcome, bytes) else self._strays.tell_client(segment, outcome, now)

    def _may_have_a_cookie(self, service: VirtualService[Session], now: float) -> bool:
        """Whether a client of the service may have a cookie that is still good. While nobody can have one, a service in AUTO
        treats stray packets as one without SYNPROXY does. One without it may have had it a moment ago."""
        if service.synproxy == ALWAYS or now < service.cookies_until:
            return True
        if service.synproxy == NEVER:
            return False
        return now < self._earlier_cookies_until or self._engagement.kernel_answers(service)

    def _open(
        self, service: VirtualService[Session], packet: Segment, isn: int, opens_at: int | None, now: float
    ) -> Session | Verdict | None:
        """A session for the client of a packet; None when the kernel has just opened one, and it is in the tables now. `isn` is
        the client's initial number, `opens_at` the same for a SYN."""
        sessions, lane, key = self._sessions, self._sessions.lane, packet.key
        if not (self._has_lane and service.lane and sessions.tunables.prepared):
            return sessions.open_tcp(service, key, isn, now)
        flow = flow_of_segment(key)
        if not lane.reserve(flow) and self._prepared.has(key, opens_at):
            return None
        opened = sessions.open_tcp(service, key, isn, now)
        if isinstance(opened, Verdict):
            lane.flows.release(flow)
        return opened

    def _of_syn(self, service: VirtualService[Session], syn: Segment, now: float) -> Verdict | bytes:
        if is_damaged(syn.raw):
            return BAD_CHECKSUM
        if service.drops_new:
            return NONE_HEALTHY
        if self._engagement.answers(service):
            return self._proxy.answer(service, syn, now)
        tunables = self._sessions.tunables
        has_room = self._sessions.has_backlog_room(service, syn.key, now)
        if not has_room and self._engagement.answers_after_all(service):
            return self._proxy.answer(service, syn, now)
        opened = self._open(service, syn, syn.seq, syn.seq, now) if has_room else SYN_BACKLOG_FULL
        if opened is None:
            return syn.raw
        if isinstance(opened, Session):
            return self._pass_on(opened, syn, now)
        if _is_silent(service, opened):
            return opened
        if tunables.abort:
            self._send(craft.refusal(reverse_key(syn.key), syn.seq), now)
        elif opened not in OVERFLOWS:
            self._send(craft.port_unreachable(syn.raw), now)
        return opened

    def _pass_on(self, session: Session, syn: Segment, now: float) -> Verdict:
        """The SYN of a session that it has just opened."""
        session.count_packet(_INBOUND, len(syn.raw))
        self._sessions.wait(session, now + self._sessions.tunables.timeouts_s[_SYN_RECV])
        # Behind that: when a packet cannot be rewritten, its session still has an end.
        self._output.rewritten = to_real_server(syn, session, self._sessions.tunables, self._ext_counts)
        self._sessions.lane.open(session)
        return TO_REAL_SERVER

    def _of_cookie(self, service: VirtualService[Session], segment: Segment, now: float) -> Verdict | bytes:
        """An acknowledgement to a service whose clients may have got a cookie."""
        offer = self._proxy.check(service, segment, now)
        if isinstance(offer, Verdict):
            return offer
        self._prepared.miss(service)
        session = self._open(service, segment, add(segment.seq, -1), None, now)
        if session is None:
            return segment.raw
        self._proxy.count_proof(service)
        if isinstance(session, Verdict):
            if not _is_silent(service, session) and (self._sessions.tunables.abort or session not in OVERFLOWS):
                self._proxy.refuse(segment, now)
            return session
        return self._proxy.ask(session, segment, offer, now)

    def of_udp(self, key: bytes, raw: bytes, now: float) -> Session | Verdict:
        """A new session for a UDP packet of the flow `key`, or the verdict on it. LVS behaviour 3.11."""
        if self._unsolicited.is_nobodys(source_address_of(key)):
            return LAND
        destination = destination_of(key)
        service = self._sessions.service("udp", destination)
        if service is None:
            return self._unsolicited.judge(PROTO_UDP, destination, NO_SERVICE)
        if not has_udp_length(raw):
            return BAD_HEADER
        opened = self._sessions.open_udp(service, key, now)
        if not isinstance(opened, Verdict) or _is_silent(service, opened):
            return opened
        if self._sessions.tunables.abort or opened not in OVERFLOWS:
            self._send(craft.port_unreachable(raw), now)
        return opened

    def _send(self, answer: bytes, now: float) -> None:
        if self._answers.allow(now):
            self._output.segments.append(answer)


def _is_silent(service: VirtualService[Session], refusal: Verdict) -> bool:
    """Whether a client is not told that it gets no session, because the service wants that."""
    is_limit = service.limits is not None and service.limits.drops and refusal in LIMITS_REACHED
    return is_limit or refusal is NONE_HEALTHY
