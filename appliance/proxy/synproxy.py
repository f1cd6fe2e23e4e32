"""SYNPROXY: prove the client before a real server hears of it. LVS behaviour, section 4; RFC 4987.

A SYN is answered with a cookie, and forgotten. A client that returns the cookie gets a session, in SYN_SENT; its packets are held
while the real server is asked, and sent on when it has answered. From then on the session is as any other, but for what was
promised in the real server's name: sequence numbers and windows are converted both ways by the session's rewrite records.
"""

from appliance.model import counters
from appliance.model.end_reasons import EndReason
from appliance.model.syn_cookie import ADVERTISED_SCALE
from appliance.model.syn_offer import SynOffer, path_mss
from appliance.model.tcp_state import TcpState
from appliance.model.verdict import Verdict
from appliance.model.verdicts import (
    BAD_CHECKSUM,
    BAD_COOKIE,
    COOKIE_SENT,
    HELD,
    HOLD_OVERFLOW,
    KEEPALIVE_ANSWERED,
    NULL_COOKIE_ACK,
    OUTDATED_COOKIE,
    REUSE_REFUSED,
    TO_REAL_SERVER,
)
from appliance.nat.opening import to_real_server
from appliance.nat.resets import reset_client
from appliance.proxy.cookie import COOKIE_LIFE_S, CookieJar
from appliance.proxy.engagement import Engagement
from appliance.proxy.handshake import answer_probe, answer_syn, scale_of, syn_for_real_server
from appliance.sessions.asked import carry_on, wait_for_answer_s
from appliance.sessions.lifecycle import Sessions
from appliance.state.ack_storm import AckStorm
from appliance.state.output import ShardOutput
from appliance.state.progress import CLIENT_ACKED, CLIENT_NEXT_SEQ
from appliance.state.services import VirtualService
from appliance.state.session import Session
from appliance.state.session_phases import Handshake, Opening
from appliance.state.token_bucket import TokenBucket
from appliance.wire import craft
from appliance.wire.flow import Direction, reverse_key
from appliance.wire.integrity import is_damaged
from appliance.wire.layout import ACK, ALL_FLAGS, IP_HEADER_BYTES, RST, SYN
from appliance.wire.segment import Segment
from appliance.wire.seq import add, latest

_RST_PER_S = 100
_RST_BURST = 50
"""RSTs for packets without a session: enough for the clients of a restarted gateway, too few to be of use as a reflector."""

_LOOKS_BACK_PER_S = 50
_LOOKS_BACK_BURST = 20
"""How often it is found out whether a bad cookie is only too old. Each time takes some 200 us, so a flood of them takes one per
cent of the shard's time."""

_STAKES_PER_S = 20
_STAKES_BURST = 20
"""How often an established session may be restarted by whoever returns a cookie next. There is one try each time, and one number
in 2**21 is right: a stranger needs a day on the average."""

_WINDOW_BYTES = 0xFFFF
"""How far from its first byte a client may be while its packets are held."""

_REACH_BYTES = 1 << 20
"""How far the acknowledgement numbers of one connection may be from the client's last one: more than is on the way at most times,
and one number in 2048."""

_OVER = frozenset((TcpState.CLOSE, TcpState.TIME_WAIT))
"""States in which a connection is over."""


class SynProxy:
    """The SYNPROXY of one shard."""

    def __init__(
        self,
        secret: bytes,
        sessions: Sessions,
        output: ShardOutput,
        ext_counts: memoryview,
        queue_counts: memoryview,
        now: float,
    ) -> None:
        self._jar = CookieJar(secret)
        self._sessions = sessions
        self.engagement = Engagement(sessions)
        self._output = output
        self._ext = ext_counts
        self._queue_counts = queue_counts
        self._resets = TokenBucket(_RST_PER_S, _RST_BURST, now)
        self._stakes = TokenBucket(_STAKES_PER_S, _STAKES_BURST, now)
        self._looks_back = TokenBucket(_LOOKS_BACK_PER_S, _LOOKS_BACK_BURST, now)

    def answer(self, service: VirtualService[Session], syn: Segment, now: float) -> Verdict:
        """Answer a SYN to the service with a cookie."""
        self._ext[counters.SYN_CNT] += 1
        service.expect_cookies(now + COOKIE_LIFE_S)
        self._output.rewritten = answer_syn(syn, self._jar, self._sessions.tunables.terms, self._path_mss(service), now)
        return COOKIE_SENT

    def _path_mss(self, service: VirtualService[Session]) -> int:
        """The size of segment that gets to each real server of the service, with the client-address option."""
        return path_mss(service.mtu, leaves_room=self._sessions.tunables.mss_adjust)

    def check(self, service: VirtualService[Session], segment: Segment, now: float) -> SynOffer | Verdict:
        """What the client offered, when this packet without a session returns a cookie, which is not counted yet; else the
        verdict on it."""
        defer = self._sessions.tunables.defer if service.defer is None else service.defer
        if defer and not segment.payload_bytes:
            self._ext[counters.NULL_ACK] += 1
            return self._judge_probe(service, segment, now) or NULL_COOKIE_ACK
        offer = self._offer_in(segment, now)
        if offer is None:
            if defer and segment.payload_bytes == 1 and (verdict := self._judge_probe(service, segment, now)) is not None:
                return verdict  # some stacks send a byte with a probe
            self._ext[counters.BAD_ACK] += 1
            return self._judge_bad(segment, add(segment.seq, -1), now)
        if is_damaged(segment.raw):
            return BAD_CHECKSUM
        return offer

    def count_proof(self, service: VirtualService[Session]) -> None:
        """Count a client that has returned its cookie."""
        self._ext[counters.OK_ACK] += 1
        if service.latch is not None:
            service.latch.proven += 1

    def _judge_probe(self, service: VirtualService[Session], segment: Segment, now: float) -> Verdict | None:
        """A packet that may be the keepalive probe of a proven client whose first data is awaited; None when it is not.

        Without an answer the client would give the connection up. When its cookie has become too old, data would not help it any
        more, and it hears so.
        """
        if segment.opening_flags != ACK or self._offer_in(segment, now) is not None:  # the latter ends a handshake
            return None
        offer = self._jar.check(segment.key, segment.seq, add(segment.ack, -1), now)
        if offer is None:
            return OUTDATED_COOKIE if self._refuse_outdated(segment, segment.seq, now) else None
        if is_damaged(segment.raw):
            return BAD_CHECKSUM
        mss = self._path_mss(service)
        self._output.segments.append(answer_probe(segment, offer, self._sessions.tunables.terms, mss))
        return KEEPALIVE_ANSWERED

    def _judge_bad(self, segment: Segment, client_isn: int, now: float) -> Verdict:
        """An acknowledgement that returns no valid cookie. A client whose cookie is only too old is told in any case: it was
        proven once, and takes itself for connected."""
        return OUTDATED_COOKIE if self._refuse_outdated(segment, client_isn, now) else BAD_COOKIE

    def _refuse_outdated(self, segment: Segment, client_isn: int, now: float) -> bool:
        """Answer RST to a client whose cookie was valid once; False when it was not, or there were too many to look at."""
        if not self._looks_back.allow(now) or is_damaged(segment.raw):
            return False
        if not self._jar.was_good(segment.key, client_isn, add(segment.ack, -1), now):
            return False
        self._reset(segment)
        return True

    def returns_cookie(self, segment: Segment, now: float) -> bool:
        """Whether a client's packet has the numbers of one that returns a valid cookie."""
        return self._offer_in(segment, now) is not None

    def _offer_in(self, segment: Segment, now: float) -> SynOffer | None:
        return self._jar.check(segment.key, add(segment.seq, -1), add(segment.ack, -1), now)

    def refuse(self, segment: Segment, now: float) -> None:
        """Answer RST to a client's packet with an acknowledgement, unless it is damaged, or there were too many of late."""
        if not is_damaged(segment.raw) and self._resets.allow(now):
            self._reset(segment)

    def ask(self, session: Session, proof: Segment, offer: SynOffer, now: float) -> Verdict:
        """Ask the real server, for a client that proved itself with this packet: it is held, and a SYN goes on in its place."""
        self._sessions.lane.leave(session)  # the kernel knows nothing of a handshake that is under way
        opening = session.opening = Opening()
        handshake = opening.handshake = Handshake(offer)
        handshake.held.append(proof.raw)
        session.cookie = add(proof.ack, -1)
        session.words[CLIENT_ACKED], session.words[CLIENT_NEXT_SEQ] = proof.ack, proof.seq
        session.enter(TcpState.SYN_SENT)
        session.settle()
        self._sessions.wait(session, now + wait_for_answer_s(handshake, self._sessions.tunables))
        session.count_packet(Direction.INBOUND, len(proof.raw))
        syn = Segment.parse(syn_for_real_server(proof.key, add(proof.seq, -1), offer, proof.window))
        self._output.rewritten = to_real_server(syn, session, self._sessions.tunables, self._ext)
        return TO_REAL_SERVER

    def hold(self, session: Session, handshake: Handshake, segment: Segment) -> Verdict:
        """A client's packet while its real server has not answered; a RST ends the attempt, others are held."""
        if segment.flags & RST and self._is_near(handshake, segment) and not is_damaged(segment.raw):
            self._sessions.end(session, EndReason.HANDSHAKE_ABANDONED)
            return HELD
        if segment.flags & (ACK | SYN) != ACK or not self._is_near(handshake, segment):
            return HELD
        if any(_is_same(segment.raw, held) for held in handshake.held):
            return HELD
        if len(handshake.held) >= self._sessions.tunables.terms.held_packets:
            self._ext[counters.SYNSENT_QLEN] += 1
            return HOLD_OVERFLOW
        handshake.held.append(segment.raw)
        return HELD

    @staticmethod
    def _is_near(handshake: Handshake, segment: Segment) -> bool:
        """Whether a client's packet can belong to this session at all."""
        return add(segment.seq, -Segment.parse(handshake.held[0]).seq) <= _WINDOW_BYTES

    def join(self, session: Session, opening: Opening, handshake: Handshake, syn_ack: Segment, now: float) -> None:
        """The real server has answered: join the two ends, and send on what was held."""
        rs_scale, scale = scale_of(syn_ack.options), handshake.offer.scale
        inbound_shift, outbound_shift = 0, 0
        if scale is not None:
            outbound_shift = (rs_scale or 0) - ADVERTISED_SCALE
            # Without a shift of its own the real server does not apply the client's either (RFC 7323, 2.2).
            inbound_shift = scale if rs_scale is None else 0
        session.join(syn_ack.seq, inbound_shift, outbound_shift)
        opening.handshake = None
        opening.rs_first_seq = add(session.cookie or 0, 1)
        for held in map(Segment.parse, handshake.held):
            sent = to_real_server(held, session, self._sessions.tunables, self._ext)
            self._output.segments.append(sent)
            # A FIN that was held is not counted: it moves the session when its client sends it again.
            session.words[CLIENT_NEXT_SEQ] = latest(session.words[CLIENT_NEXT_SEQ], held.seq + held.payload_bytes)
        self._sessions.wait(session, now + self._sessions.tunables.timeouts_s[TcpState.ESTABLISHED])
        carry_on(session, self._sessions.lane)

    def fail(self, session: Session, now: float) -> None:
        """The real server refused: the client is told, and the session is over."""
        self._ext[counters.RS_ERROR] += 1
        self._output.segments.append(reset_client(session))
        session.opening = None
        self._sessions.lane.leave(session)
        session.enter(TcpState.CLOSE)
        self._sessions.wait(session, now + self._sessions.tunables.timeouts_s[TcpState.CLOSE])

    def time_out(self, session: Session, opening: Opening, handshake: Handshake, now: float) -> None:
        """The real server has not answered in time: send the SYN again, or give up when that was done often enough."""
        if handshake.retries >= self._sessions.tunables.syn_retries or opening.syn is None:
            self._ext[counters.RS_ERROR] += 1
            self._sessions.end(session, EndReason.HANDSHAKE_FAILED)
            return
        handshake.retries += 1
        handshake.wait_s *= 2
        self._output.segments.append(opening.syn)
        self._sessions.wait(session, now + wait_for_answer_s(handshake, self._sessions.tunables))

    def offer_for_reuse(self, session: Session, segment: Segment, now: float) -> SynOffer | None:
        """What a client offered that returns a cookie on an old session, and so has begun a new connection.

        A client that was just sent a cookie for this very SYN may return the cookie of the session itself: some stacks begin
        with the same number again. All other packets with an acknowledgement near the client's last are of the old connection.
        """
        if segment.opening_flags != ACK or not (was_asked(session, segment) or _is_beyond(session, segment)):
            return None
        offer = self._offer_in(segment, now)
        return None if offer is None or is_damaged(segment.raw) else offer

    def may_reuse(self, session: Session, proof: Segment) -> bool:
        """Whether the client's new connection may take the place of the session. Its own cookie is good for that only when the
        session is over: while it lasts, a late copy of the SYN and one of the first data would look the same."""
        is_other_cookie = add(proof.ack, -1) != session.cookie
        return session.state in self._sessions.tunables.proxy_reuse and (is_other_cookie or session.state in _OVER)

    def may_stake_session(self, now: float) -> bool:
        """Whether one more established session may be at stake for a cookie at this moment."""
        return self._stakes.allow(now)

    def refuse_reuse(self, segment: Segment) -> Verdict:
        """Tell a proven client that it gets no new connection: it believes that it has one, and would wait. One RST for one
        packet of somebody who returned a cookie needs no limit."""
        self._queue_counts[counters.NEW_CONNECTIONS_RESET] += 1
        self._reset(segment)
        return REUSE_REFUSED

    def _reset(self, segment: Segment) -> None:
        """Answer RST to a client's packet with an acknowledgement, in the numbers it acknowledges."""
        self._output.segments.append(craft.rst(reverse_key(segment.key), segment.ack))

    def is_storm(self, session: Session, segment: Segment, now: float) -> bool:
        """Whether a real server's packet without data is one pure acknowledgement too many of the same.

        A FIN and a RST can have the same numbers as the acknowledgements before them; they are never part of a storm.
        """
        threshold = self._sessions.tunables.storm_thresh
        if not threshold or segment.offset_flags & ALL_FLAGS != ACK:
            return False
        if session.storm is None:
            session.storm = AckStorm()
        if session.storm.repeats(segment.seq, segment.ack, segment.window, segment.options, now) < threshold:
            return False
        self._ext[counters.ACK_STORM] += 1
        return True


def was_asked(session: Session, segment: Segment) -> bool:
    """Whether the client was sent a cookie on this session, for a SYN with the initial number of this packet."""
    challenge = session.challenge
    return challenge is not None and Segment.parse(challenge.syn).seq == add(segment.seq, -1)


def _is_beyond(session: Session, segment: Segment) -> bool:
    """Whether the acknowledgement of a client's packet is far from the last one of the session: not of that connection."""
    return (
        add(segment.ack, _REACH_BYTES - session.words[CLIENT_ACKED]) > 2 * _REACH_BYTES and add(segment.ack, -1) != session.cookie
    )


def _is_same(raw: bytes, held: bytes) -> bool:
    """Whether two packets are one and its copy: they may differ in TTL, identification and what follows from that."""
    return raw[IP_HEADER_BYTES:] == held[IP_HEADER_BYTES:]
