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
from appliance.shard.unsolicited import Strangers
from appliance.state.output import Outbox
from appliance.state.services import NEVER, VirtualService
from appliance.state.session import ConnEntry
from appliance.state.token_bucket import TokenBucket
from appliance.wire import craft
from appliance.wire.flow import destination_of, reverse_key
from appliance.wire.layout import ACK, OPENING_FLAGS, PROTO_TCP, PROTO_UDP, RST, SYN
from appliance.wire.seq import add

_UNREACHABLE_PER_S = 100
_UNREACHABLE_BURST = 50
"""Answers to refused clients: enough for people who try, too few to be of use as a reflector (RFC 1812, 4.3.2.8)."""


class Newcomers:
    """Of one shard."""

    def __init__(self, sessions: Sessions, strangers: Strangers, proxy: SynProxy, outbox: Outbox, now: float) -> None:
        self._sessions = sessions
        self._strangers = strangers
        self._proxy = proxy
        self._outbox = outbox
        self._answers = TokenBucket(_UNREACHABLE_PER_S, _UNREACHABLE_BURST, now)

    def meet_segment(self, raw: bytes, fields: tuple[Any, ...], payload_bytes: int, now: float) -> ConnEntry | Verdict:
        """A new session for a TCP packet, whose SYN has to go the way of all packets then; or the verdict on it."""
        addresses, seq, flags = fields[5], fields[6], fields[8] & OPENING_FLAGS
        if self._strangers.is_ours(addresses[:4]):
            return LAND
        destination = destination_of(addresses)
        service = self._sessions.service("tcp", destination)
        if service is None:
            return self._strangers.meet(PROTO_TCP, destination, NO_SERVICE)
        if flags == SYN:
            return self._meet_syn(service, raw, fields, now)
        if service.synproxy == NEVER or flags & (SYN | ACK | RST) != ACK:
            verdict = self._strangers.meet(PROTO_TCP, destination, NO_SESSION)
            if verdict is NO_SESSION and self._sessions.settings.abort and flags & (ACK | RST) == ACK:
                self._proxy.refuse(raw, fields, now)  # else the host answers
            return verdict
        offer = self._proxy.check(service, raw, fields, payload_bytes, now)
        if isinstance(offer, Verdict):
            return offer
        conn = self._sessions.open_tcp(service, addresses, add(seq, -1), now)
        if isinstance(conn, Verdict):
            if self._sessions.settings.abort or conn not in OVERFLOWS:
                self._proxy.refuse(raw, fields, now)
            return conn
        return self._proxy.ask(conn, raw, fields, offer, now)

    def _meet_syn(self, service: VirtualService, raw: bytes, fields: tuple[Any, ...], now: float) -> ConnEntry | Verdict:
        settings, addresses, seq = self._sessions.settings, fields[5], fields[6]
        if is_damaged(raw):
            return BAD_CHECKSUM
        if self._proxy.wants_cookies(service):
            self._outbox.rewritten = self._proxy.answer(raw, fields, now)
            return COOKIE_SENT
        is_full = len(service.half_open) >= settings.backlog
        opened = SYN_BACKLOG_FULL if is_full else self._sessions.open_tcp(service, addresses, seq, now)
        if isinstance(opened, Verdict):
            if settings.abort:
                self._send(craft.refusal(reverse_key(addresses), seq), now)
            elif opened not in OVERFLOWS:
                self._send(craft.port_unreachable(raw), now)
        return opened

    def meet_datagram(self, addresses: bytes, raw: bytes, now: float) -> ConnEntry | Verdict:
        """A new session for a UDP packet with these 12 address bytes, or the verdict on it. LVS behaviour 3.11."""
        if self._strangers.is_ours(addresses[:4]):
            return LAND
        destination = destination_of(addresses)
        service = self._sessions.service("udp", destination)
        if service is None:
            return self._strangers.meet(PROTO_UDP, destination, NO_SERVICE)
        if not has_udp_length(raw):
            return BAD_HEADER
        opened = self._sessions.open_udp(service, addresses, now)
        if isinstance(opened, Verdict) and (self._sessions.settings.abort or opened not in OVERFLOWS):
            self._send(craft.port_unreachable(raw), now)
        return opened

    def _send(self, answer: bytes, now: float) -> None:
        if self._answers.allow(now):
            self._outbox.segments.append(answer)
