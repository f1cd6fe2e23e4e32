"""The long way of a TCP packet: for those with options, those that open or reset, and sessions that want a closer look.

A verdict means that the packet is dealt with; None that it is rewritten and goes on to the state table as any other.
"""

from collections.abc import Callable, Mapping
from typing import Any

from appliance.model.counters import BYTES, FULLNAT_REUSED, FULLNAT_REUSED_FROM, OK_ACK, SYNPROXY_REUSED, SYNPROXY_REUSED_FROM
from appliance.model.syn_offer import SynOffer
from appliance.model.tcp_state import CLOSING, STATE_NAMES, TcpState
from appliance.model.verdicts import (
    BAD_CHECKSUM,
    CHALLENGED,
    COOKIE_SENT,
    HANDSHAKE_PACKET,
    HELD,
    STALE_ANSWER,
    TO_REAL_SERVER,
    Verdict,
)
from appliance.nat import opening as opening_phase
from appliance.nat.fullnat import shifted
from appliance.nat.isn import following
from appliance.proxy.synproxy import SynProxy
from appliance.sessions.lifecycle import Sessions
from appliance.shard.sanity import is_damaged
from appliance.state.output import ShardOutput
from appliance.state.services import NEVER
from appliance.state.session import Challenge, Handshake, Opening, Session
from appliance.wire import craft
from appliance.wire.flow import Direction
from appliance.wire.layout import FLAG_BITS, HEADERS, OPENING_FLAGS, RST, SYN
from appliance.wire.seq import add

_parse = HEADERS.unpack_from

_RST_REACH = 1 << 20
"""How far a client's RST may be ahead of what its real server acknowledged, in bytes: more than is on the way at most times,
and one number in 4096."""

_CHALLENGE_INTERVAL_S = 0.5

_SECOND_LOOK_S = 0.2

_NEWBORN = int(TcpState.NONE)

_NO_NUMBER = -1
"""Of a challenge that no RST answers."""


class SlowPath:
    """Of one shard. `judge` is the shard's own way to handle a packet, for one that has to be looked at anew."""

    def __init__(
        self,
        sessions: Sessions,
        proxy: SynProxy,
        output: ShardOutput,
        ext_counts: memoryview,
        count: Callable[[Verdict], Verdict],
        judge: Callable[[bytes, float], Verdict],
    ) -> None:
        self._sessions = sessions
        self._proxy = proxy
        self._output = output
        self._ext_counts = ext_counts
        self._count = count
        self._judge = judge

    def take(self, session: Session, direction: int, raw: bytes, fields: tuple[Any, ...], now: float) -> Verdict | None:
        """Rewrite a packet that has options, or whose session wants a closer look; a verdict when that is the end of it."""
        opening = session.opening
        handshake = None if opening is None else opening.handshake
        if direction:
            if opening is not None and opening.syn is not None:
                verdict = self._hear_answer(session, opening, opening.syn, raw, fields, now)
                if verdict is not None:
                    return verdict
            self._output.rewritten = opening_phase.to_client(raw, fields, session, self._sessions.tunables)
            return None
        if handshake is not None:
            return self._count(self._hold(session, handshake, raw, fields))
        if session.service.synproxy != NEVER and (session.state in CLOSING or session.challenge is not None):
            offer = self._proxy.offer_for_reuse(session, raw, fields, now)
            if offer is not None:
                return self._start_anew_by_cookie(session, raw, fields, offer, now)
        if fields[8] & (SYN | RST) or session.challenge is not None or session.real_server.gone:
            verdict = self._look_closer(session, raw, fields, now)
            if verdict is not None:
                return verdict
        self._output.rewritten = opening_phase.to_real_server(raw, fields, session, self._sessions.tunables, self._ext_counts)
        return None

    def _hear_answer(
        self, session: Session, opening: Opening, syn: bytes, raw: bytes, fields: tuple[Any, ...], now: float
    ) -> Verdict | None:
        """A real server's packet while its answer to a SYN is awaited: None when the client should get it."""
        if is_damaged(raw):
            return self._count(BAD_CHECKSUM)
        segments = opening_phase.check_answer(session, opening, syn, fields)
        handshake = opening.handshake
        if segments is not None:
            self._output.segments += segments
            if segments and handshake is None:
                # A SYN right behind the RST can be lost at the real server: one that is busy with the old socket queues both
                # there, and the RST closes it. See `sessions.run_out`.
                session.deadline = now + _SECOND_LOOK_S
                self._sessions.wheel.arm(session)
            return self._count(STALE_ANSWER)
        if handshake is None:
            return None
        if fields[8] & RST:
            self._proxy.fail(session)
            session.opening = None
            session.enter(TcpState.CLOSE)
            session.deadline = now + self._sessions.tunables.timeouts_s[TcpState.CLOSE]
        elif opening.syn is None:
            self._proxy.join(session, opening, handshake, raw, fields)
            session.deadline = now + self._sessions.tunables.timeouts_s[TcpState.ESTABLISHED]
            self._sessions.wheel.arm(session)
        return self._count(HANDSHAKE_PACKET)

    def _hold(self, session: Session, handshake: Handshake, raw: bytes, fields: tuple[Any, ...]) -> Verdict:
        """A proxied client's packet while its real server has not answered; its RST ends the attempt."""
        if fields[8] & RST and self._proxy.is_near(handshake, fields) and not is_damaged(raw):
            self._proxy.take_back(session)
            self._sessions.end(session)
            return HELD
        return self._proxy.hold(handshake, raw, fields)

    def _look_closer(self, session: Session, raw: bytes, fields: tuple[Any, ...], now: float) -> Verdict | None:
        """A client's packet that may begin or end a connection: a verdict when it is dealt with, None to go on with it."""
        if session.state != _NEWBORN and is_damaged(raw):  # a SYN that has just opened its session was looked at for that
            return self._count(BAD_CHECKSUM)
        seq, flags = fields[6], fields[8] & FLAG_BITS
        is_syn = flags & OPENING_FLAGS == SYN
        shown_seq = add(seq, session.record(Direction.INBOUND).seq_delta)
        is_late = False
        # In SYN_RECV the real server has been asked already: a cookie would put a number of ours in the place of its own.
        if is_syn and session.state != TcpState.SYN_RECV and self._proxy.wants_cookies(session.service):
            if session.state == TcpState.ESTABLISHED:
                # The cookie is the question here: a client that returns it has begun anew. No RST would be an answer.
                session.challenge = Challenge(raw, _NO_NUMBER, now)
                session.settle()
            self._output.rewritten = self._proxy.answer(raw, fields, now)
            return self._count(COOKIE_SENT)
        if is_syn and shown_seq != session.isn:
            if self._sessions.tunables.reuse:
                is_live = session.state == TcpState.ESTABLISHED
                return self._challenge(session, raw, now) if is_live else self._start_anew(session, raw, seq, now)
            if session.state != TcpState.ESTABLISHED:
                session.start(seq, shown_seq)
        elif is_syn:
            is_late = session.state in CLOSING and session.state != TcpState.CLOSE
        elif (challenge := session.challenge) is not None:
            if flags & RST and seq == challenge.ack:
                return self._start_anew(session, challenge.syn, _parse(challenge.syn)[6], now)
            session.challenge = None
            session.settle()
        if session.real_server.gone:
            return self._count(self._sessions.meet_gone(session))
        if is_late or (flags & RST and add(shown_seq, -session.rs_ack) > _RST_REACH):
            # A SYN of the connection that is ending, late; or a RST that cannot be for it, and which the real server will see
            # through (RFC 5961, 3.2). Passed on, but neither may move the session.
            self._output.rewritten = opening_phase.to_real_server(raw, fields, session, self._sessions.tunables, self._ext_counts)
            session.counts[Direction.INBOUND] += 1
            session.counts[Direction.INBOUND + BYTES] += len(raw)
            return TO_REAL_SERVER
        return None

    def _challenge(self, session: Session, raw: bytes, now: float) -> Verdict:
        """Hold a new SYN on an established session, and ask the client whether it really began anew.

        Obeying such a SYN would let anybody who guesses a client's port cut off its session (RFC 5961, 4). A client that lost its
        connection answers with a RST whose number only it can know; one that still has it does not answer.
        """
        if session.challenge is None or now >= session.challenge.until:
            reply = session.record(Direction.OUTBOUND)
            seq, ack = add(session.rs_next_seq, reply.seq_delta), add(session.rs_ack, reply.ack_delta)
            window = shifted(session.rs_window, reply.window_shift)
            self._output.segments.append(craft.challenge_ack(reply.addresses, seq, ack, window))
            session.challenge = Challenge(raw, ack, now + _CHALLENGE_INTERVAL_S)
            session.settle()
        return self._count(CHALLENGED)

    def _start_anew(self, session: Session, syn: bytes, client_isn: int, now: float) -> Verdict:
        """Let a new connection take the place of the old one between the same client and VIP. LVS behaviour 3.5."""
        self._make_way(session, client_isn, FULLNAT_REUSED, FULLNAT_REUSED_FROM)
        return self._judge(syn, now)

    def _start_anew_by_cookie(
        self, session: Session, raw: bytes, fields: tuple[Any, ...], offer: SynOffer, now: float
    ) -> Verdict:
        """The same for a client that returned a cookie. LVS behaviour 4.6."""
        if self._make_way(session, add(fields[6], -1), SYNPROXY_REUSED, SYNPROXY_REUSED_FROM):
            self._ext_counts[OK_ACK] += 1
            return self._proxy.ask(session, raw, fields, offer, now)
        return self._judge(raw, now)

    def _make_way(self, session: Session, client_isn: int, total: int, by_state: Mapping[str, int]) -> bool:
        """Start a session anew, and count that at the places `total` and `by_state`. False when its real server takes nothing
        new: then the session has ended, and the client's packet finds none."""
        self._ext_counts[total] += 1
        if (place := by_state.get(STATE_NAMES[session.state])) is not None:
            self._ext_counts[place] += 1
        if not session.real_server.weight:
            self._sessions.end(session)
            return False
        session.start(client_isn, following(session.rs_ack))
        return True
