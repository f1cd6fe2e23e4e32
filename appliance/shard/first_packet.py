"""A packet to a service that belongs to no session: open one, ask for a proof first, or say why not."""

from typing import Any

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
from appliance.shard.sanity import has_udp_length, is_damaged
from appliance.shard.unsolicited import Unsolicited
from appliance.state.output import ShardOutput
from appliance.state.services import NEVER, VirtualService
from appliance.state.session import Session
from appliance.state.token_bucket import TokenBucket
from appliance.wire import craft
from appliance.wire.flow import destination_of, reverse_key
from appliance.wire.layout import ACK, OPENING_FLAGS, PROTO_TCP, PROTO_UDP, RST, SYN
from appliance.wire.seq import add

_UNREACHABLE_PER_S = 100
_UNREACHABLE_BURST = 50
"""Answers to refused clients: enough for people who try, too few to be of use as a reflector (RFC 1812, 4.3.2.8)."""


class FirstPacket:
    """Of one shard."""

    def __init__(self, sessions: Sessions, strangers: Unsolicited, proxy: SynProxy, output: ShardOutput, now: float) -> None:
        self._sessions = sessions
        self._unsolicited = strangers
        self._proxy = proxy
        self._output = output
        self._answers = TokenBucket(_UNREACHABLE_PER_S, _UNREACHABLE_BURST, now)

    def of_tcp(self, raw: bytes, fields: tuple[Any, ...], payload_bytes: int, now: float) -> Session | Verdict:
        """A new session for a TCP packet, whose SYN has to go the way of all packets then; or the verdict on it."""
        addresses, seq, flags = fields[5], fields[6], fields[8] & OPENING_FLAGS
        if self._unsolicited.is_ours(addresses[:4]):
            return LAND
        destination = destination_of(addresses)
        service = self._sessions.service("tcp", destination)
        if service is None:
            return self._unsolicited.judge(PROTO_TCP, destination, NO_SERVICE)
        if flags == SYN:
            return self._of_syn(service, raw, fields, now)
        if service.synproxy == NEVER or flags & (SYN | ACK | RST) != ACK:
            verdict = self._unsolicited.judge(PROTO_TCP, destination, NO_SESSION)
            if verdict is NO_SESSION and self._sessions.tunables.abort and flags & (ACK | RST) == ACK:
                self._proxy.refuse(raw, fields, now)  # else the host answers
            return verdict
        offer = self._proxy.check(service, raw, fields, payload_bytes, now)
        if isinstance(offer, Verdict):
            return offer
        session = self._sessions.open_tcp(service, addresses, add(seq, -1), now)
        if isinstance(session, Verdict):
            if self._sessions.tunables.abort or session not in OVERFLOWS:
                self._proxy.refuse(raw, fields, now)
            return session
        return self._proxy.ask(session, raw, fields, offer, now)

    def _of_syn(self, service: VirtualService, raw: bytes, fields: tuple[Any, ...], now: float) -> Session | Verdict:
        tunables, addresses, seq = self._sessions.tunables, fields[5], fields[6]
        if is_damaged(raw):
            return BAD_CHECKSUM
        if self._proxy.wants_cookies(service):
            self._output.rewritten = self._proxy.answer(raw, fields, now)
            return COOKIE_SENT
        is_full = len(service.half_open) >= tunables.backlog
        opened = SYN_BACKLOG_FULL if is_full else self._sessions.open_tcp(service, addresses, seq, now)
        if isinstance(opened, Verdict):
            if tunables.abort:
                self._send(craft.refusal(reverse_key(addresses), seq), now)
            elif opened not in OVERFLOWS:
                self._send(craft.port_unreachable(raw), now)
        return opened

    def of_udp(self, addresses: bytes, raw: bytes, now: float) -> Session | Verdict:
        """A new session for a UDP packet with these 12 address bytes, or the verdict on it. LVS behaviour 3.11."""
        if self._unsolicited.is_ours(addresses[:4]):
            return LAND
        destination = destination_of(addresses)
        service = self._sessions.service("udp", destination)
        if service is None:
            return self._unsolicited.judge(PROTO_UDP, destination, NO_SERVICE)
        if not has_udp_length(raw):
            return BAD_HEADER
        opened = self._sessions.open_udp(service, addresses, now)
        if isinstance(opened, Verdict) and (self._sessions.tunables.abort or opened not in OVERFLOWS):
            self._send(craft.port_unreachable(raw), now)
        return opened

    def _send(self, answer: bytes, now: float) -> None:
        if self._answers.allow(now):
            self._output.segments.append(answer)
