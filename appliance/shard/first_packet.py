"""A packet that belongs to no session: open one, ask the client for a proof first, or say why neither is done."""

from appliance.model.verdicts import (
    BAD_CHECKSUM,
    BAD_HEADER,
    COOKIE_SENT,
    LAND,
    NO_SERVICE,
    NO_SESSION,
    OVERFLOWS,
    SYN_BACKLOG_FULL,
    Verdict,
)
from appliance.proxy.synproxy import SynProxy
from appliance.sessions.lifecycle import Sessions
from appliance.shard.unsolicited import Unsolicited
from appliance.state.output import ShardOutput
from appliance.state.services import NEVER, VirtualService
from appliance.state.session import Session
from appliance.state.token_bucket import TokenBucket
from appliance.wire import craft
from appliance.wire.flow import destination_of, reverse_key, source_address_of
from appliance.wire.integrity import has_udp_length, is_damaged
from appliance.wire.layout import ACK, PROTO_TCP, PROTO_UDP, RST, SYN
from appliance.wire.segment import Segment
from appliance.wire.seq import add

_ANSWERS_PER_S = 100
_ANSWERS_BURST = 50
"""Answers to refused clients: enough for people who try, too few to be of use as a reflector (RFC 1812, 4.3.2.8)."""


class FirstPacket:
    """Judges the packets of one shard that belong to no session."""

    def __init__(self, sessions: Sessions, unsolicited: Unsolicited, proxy: SynProxy, output: ShardOutput, now: float) -> None:
        self._sessions = sessions
        self._unsolicited = unsolicited
        self._proxy = proxy
        self._output = output
        self._answers = TokenBucket(_ANSWERS_PER_S, _ANSWERS_BURST, now)

    def of_tcp(self, segment: Segment, now: float) -> Verdict | bytes:
        """The verdict on a TCP packet; or the packet, when it has a session from now on, by which it is to be judged."""
        if self._unsolicited.is_nobodys(source_address_of(segment.key)):
            return LAND
        destination, flags = destination_of(segment.key), segment.opening_flags
        service = self._sessions.service("tcp", destination)
        if service is None:
            return self._unsolicited.judge(PROTO_TCP, destination, NO_SERVICE)
        if flags == SYN:
            return self._of_syn(service, segment, now)
        if service.synproxy == NEVER or flags & (SYN | ACK | RST) != ACK:
            verdict = self._unsolicited.judge(PROTO_TCP, destination, NO_SESSION)
            if verdict is NO_SESSION and self._sessions.tunables.abort and flags & (ACK | RST) == ACK:
                self._proxy.refuse(segment, now)  # else the host answers
            return verdict
        return self._of_cookie(service, segment, now)

    def _of_syn(self, service: VirtualService[Session], syn: Segment, now: float) -> Verdict | bytes:
        if is_damaged(syn.raw):
            return BAD_CHECKSUM
        self._proxy.update_engagement(service)
        if self._proxy.answers_with_cookies(service):
            self._output.rewritten = self._proxy.answer(syn, now)
            return COOKIE_SENT
        tunables = self._sessions.tunables
        is_full = len(service.half_open) >= tunables.backlog
        opened = SYN_BACKLOG_FULL if is_full else self._sessions.open_tcp(service, syn.key, syn.seq, now)
        if isinstance(opened, Session):
            return syn.raw
        if tunables.abort:
            self._send(craft.refusal(reverse_key(syn.key), syn.seq), now)
        elif opened not in OVERFLOWS:
            self._send(craft.port_unreachable(syn.raw), now)
        return opened

    def _of_cookie(self, service: VirtualService[Session], segment: Segment, now: float) -> Verdict:
        """An acknowledgement to a service whose clients may have got a cookie."""
        offer = self._proxy.check(service, segment, now)
        if isinstance(offer, Verdict):
            return offer
        session = self._sessions.open_tcp(service, segment.key, add(segment.seq, -1), now)
        if isinstance(session, Verdict):
            if self._sessions.tunables.abort or session not in OVERFLOWS:
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
        if isinstance(opened, Verdict) and (self._sessions.tunables.abort or opened not in OVERFLOWS):
            self._send(craft.port_unreachable(raw), now)
        return opened

    def _send(self, answer: bytes, now: float) -> None:
        if self._answers.allow(now):
            self._output.segments.append(answer)
