"""SYNPROXY: prove the client before a real server hears of it. LVS behaviour, section 4; RFC 4987.

A SYN is answered with a cookie, and forgotten. A client that returns the cookie gets a session, in SYN_SENT; its packets are held
while the real server is asked, and sent on when it has answered. From then on the session is as any other, but for what was
promised in its name: sequence numbers and windows are converted both ways by its rewrite records.
"""

from typing import Any

from appliance.model.counters import (
    ACK_STORM,
    BAD_ACK,
    BYTES,
    NULL_ACK,
    OK_ACK,
    RS_ERROR,
    SYN_CNT,
    SYNCOOKIES_DISENGAGED,
    SYNCOOKIES_ENGAGED,
    SYNSENT_QLEN,
)
from appliance.model.syn_offer import SynOffer
from appliance.model.tcp_state import TcpState
from appliance.model.verdicts import BAD_CHECKSUM, BAD_COOKIE, HELD, HOLD_OVERFLOW, NULL_COOKIE_ACK, TO_REAL_SERVER, Verdict
from appliance.nat.fullnat import reset_client, reset_real_server
from appliance.nat.opening import to_real_server
from appliance.proxy.cookie import CookieJar
from appliance.proxy.handshake import ADVERTISED_SCALE, answer_syn, scale_of, syn_for_real_server
from appliance.sessions.lifecycle import Sessions
from appliance.shard.sanity import is_damaged
from appliance.state.ack_storm import AckStorm
from appliance.state.output import ShardOutput
from appliance.state.services import ALWAYS, NEVER, VirtualService
from appliance.state.session import Handshake, Opening, Session
from appliance.state.token_bucket import TokenBucket
from appliance.wire import craft
from appliance.wire.flow import Direction, reverse_key
from appliance.wire.layout import (
    ACK,
    HEADERS,
    IP_HEADER_BYTES,
    OPENING_FLAGS,
    SYN,
)
from appliance.wire.options import options_of
from appliance.wire.seq import add

_parse = HEADERS.unpack_from

_RST_PER_S = 100
_RST_BURST = 50
"""Answers to strangers: enough for clients of a restarted gateway, too few to be of use as a reflector."""

_WINDOW_BYTES = 0xFFFF
"""How far from its first byte a client may be while its packets are held."""


class SynProxy:
    """All of it for one shard."""

    def __init__(
        self, secret: bytes, sessions: Sessions, output: ShardOutput, ext_counts: memoryview, queue_counts: memoryview, now: float
    ) -> None:
        self._jar = CookieJar(secret)
        self._sessions = sessions
        self._output = output
        self._ext = ext_counts
        self._queue_counts = queue_counts
        self._resets = TokenBucket(_RST_PER_S, _RST_BURST, now)

    def wants_cookies(self, service: VirtualService) -> bool:
        """Whether a SYN to the service is answered with a cookie at this moment."""
        if service.synproxy == NEVER:
            return False
        if service.synproxy == ALWAYS or self._sessions.tunables.syncookies == 2:
            return True
        engaged = (
            self._sessions.tunables.syncookies == 1
            and len(service.half_open) >= self._sessions.tunables.backlog * (3 if service.engaged else 4) // 4
        )
        if engaged != service.engaged:
            service.engaged = engaged
            self._queue_counts[SYNCOOKIES_ENGAGED if engaged else SYNCOOKIES_DISENGAGED] += 1
        return engaged

    def answer(self, raw: bytes, fields: tuple[Any, ...], now: float) -> bytes:
        """The SYN-ACK for a SYN."""
        self._ext[SYN_CNT] += 1
        return answer_syn(raw, fields, self._jar, self._sessions.tunables.terms, now)

    def check(
        self, service: VirtualService, raw: bytes, fields: tuple[Any, ...], payload_bytes: int, now: float
    ) -> SynOffer | Verdict:
        """What the client offered, when this packet without a session returns a cookie; else the verdict on it."""
        defer = self._sessions.tunables.defer if service.defer is None else service.defer
        if defer and not payload_bytes:
            self._ext[NULL_ACK] += 1
            return NULL_COOKIE_ACK
        offer = self._offer_in(fields, now)
        if offer is None:
            self._ext[BAD_ACK] += 1
            if self._sessions.tunables.abort:
                self.refuse(raw, fields, now)
            return BAD_COOKIE
        if is_damaged(raw):
            return BAD_CHECKSUM
        self._ext[OK_ACK] += 1
        return offer

    def _offer_in(self, fields: tuple[Any, ...], now: float) -> SynOffer | None:
        addresses, seq, ack = fields[5:8]
        return self._jar.check(addresses, add(seq, -1), add(ack, -1), now)

    def refuse(self, raw: bytes, fields: tuple[Any, ...], now: float) -> None:
        """Answer RST to a client's packet with an acknowledgement, unless it is damaged, or there were too many of late."""
        if not is_damaged(raw) and self._resets.allow(now):
            self._output.segments.append(craft.rst(reverse_key(fields[5]), fields[7]))

    def ask(self, session: Session, raw: bytes, fields: tuple[Any, ...], offer: SynOffer, now: float) -> Verdict:
        """Ask the real server, for a client that proved itself with this packet: it is held, and a SYN goes on in its place."""
        addresses, seq, ack, window = fields[5], fields[6], fields[7], fields[9]
        opening = session.opening = Opening()
        handshake = opening.handshake = Handshake(offer)
        handshake.held.append(raw)
        session.cookie = add(ack, -1)
        session.enter(TcpState.SYN_SENT)
        session.settle()
        session.deadline = now + self._patience_s(handshake)
        self._sessions.wheel.arm(session)
        session.counts[Direction.INBOUND] += 1
        session.counts[Direction.INBOUND + BYTES] += len(raw)
        syn = syn_for_real_server(addresses, add(seq, -1), offer, window)
        self._output.rewritten = to_real_server(syn, _parse(syn), session, self._sessions.tunables, self._ext)
        return TO_REAL_SERVER

    def _patience_s(self, handshake: Handshake) -> float:
        """How long to wait for an answer to the last SYN: without any retransmission, for as long as the state may last."""
        longest_s = self._sessions.tunables.timeouts_s[TcpState.SYN_SENT]
        return min(handshake.wait_s, longest_s) if self._sessions.tunables.syn_retries else longest_s

    def hold(self, handshake: Handshake, raw: bytes, fields: tuple[Any, ...]) -> Verdict:
        """A client's packet while the real server has not answered."""
        if fields[8] & (ACK | SYN) != ACK or not self.is_near(handshake, fields):
            return HELD
        if any(_is_same(raw, held) for held in handshake.held):
            return HELD
        if len(handshake.held) >= self._sessions.tunables.terms.held_packets:
            self._ext[SYNSENT_QLEN] += 1
            return HOLD_OVERFLOW
        handshake.held.append(raw)
        return HELD

    @staticmethod
    def is_near(handshake: Handshake, fields: tuple[Any, ...]) -> bool:
        """Whether a client's packet can belong to this session at all."""
        return add(fields[6], -_parse(handshake.held[0])[6]) <= _WINDOW_BYTES

    def join(self, session: Session, opening: Opening, handshake: Handshake, raw: bytes, fields: tuple[Any, ...]) -> None:
        """The real server has answered with the SYN-ACK `raw`: send on what was held."""
        options = options_of(raw, fields[8])
        rs_scale, scale = scale_of(options), handshake.offer.scale
        inbound_shift, outbound_shift = 0, 0
        if scale is not None:
            outbound_shift = (rs_scale or 0) - ADVERTISED_SCALE
            # Without a shift of its own the real server does not apply the client's either (RFC 7323, 2.2).
            inbound_shift = scale if rs_scale is None else 0
        session.join(fields[6], inbound_shift, outbound_shift)
        opening.handshake = None
        opening.rs_first_seq = add(session.cookie or 0, 1)
        for packet in handshake.held:
            self._output.segments.append(to_real_server(packet, _parse(packet), session, self._sessions.tunables, self._ext))

    def fail(self, session: Session) -> None:
        """The real server refused, or never answered: tell the client."""
        self._ext[RS_ERROR] += 1
        self._output.segments.append(reset_client(session))

    def take_back(self, session: Session) -> None:
        """Tell the real server, which may have heard the SYN without being heard itself, that nothing comes of it."""
        self._output.segments.append(reset_real_server(session))

    def run_out(self, session: Session, opening: Opening, handshake: Handshake, now: float) -> None:
        """No answer in time: send the SYN again, or give up when that was done often enough."""
        if handshake.retries >= self._sessions.tunables.syn_retries or opening.syn is None:
            self.take_back(session)
            self.fail(session)
            self._sessions.end(session)
            return
        handshake.retries += 1
        handshake.wait_s *= 2
        self._output.segments.append(opening.syn)
        session.deadline = now + self._patience_s(handshake)
        self._sessions.wheel.arm(session)

    def offer_for_reuse(self, session: Session, raw: bytes, fields: tuple[Any, ...], now: float) -> SynOffer | None:
        """What a client offered that returns a new cookie on an old session, if that may start it anew."""
        flags = fields[8] & OPENING_FLAGS
        if flags != ACK or session.state not in self._sessions.tunables.proxy_reuse or add(fields[7], -1) == session.cookie:
            return None
        offer = self._offer_in(fields, now)
        return None if offer is None or is_damaged(raw) else offer

    def is_storm(self, session: Session, raw: bytes, fields: tuple[Any, ...], now: float) -> bool:
        """Whether a real server's acknowledgement without data is one too many of the same."""
        threshold = self._sessions.tunables.storm_thresh
        if not threshold:
            return False
        if session.storm is None:
            session.storm = AckStorm()
        options = options_of(raw, fields[8])
        if session.storm.repeats(fields[6], fields[7], fields[9], options, now) < threshold:
            return False
        self._ext[ACK_STORM] += 1
        return True


def _is_same(raw: bytes, held: bytes) -> bool:
    """Whether two packets are one and its copy: they may differ in TTL, identification and what follows from that."""
    return raw[IP_HEADER_BYTES:] == held[IP_HEADER_BYTES:]
