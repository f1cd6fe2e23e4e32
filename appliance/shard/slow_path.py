"""The slow path of a TCP packet of a session: with options, opening or resetting, or of a session that needs a closer look."""

from collections.abc import Mapping

from appliance.model.counters import FULLNAT_REUSED, FULLNAT_REUSED_FROM, SYNPROXY_REUSED, SYNPROXY_REUSED_FROM
from appliance.model.end_reasons import EndReason
from appliance.model.syn_offer import SynOffer
from appliance.model.tcp_state import CLOSING, IN, NEXT, OUT, STATE_NAMES, TcpState
from appliance.model.verdict import Verdict
from appliance.model.verdicts import (
    BAD_CHECKSUM,
    CHALLENGED,
    HANDSHAKE_PACKET,
    STALE_ANSWER,
    TO_CLIENT,
    TO_REAL_SERVER,
    UNSEEN_ANSWER,
)
from appliance.nat.fullnat import shifted
from appliance.nat.opening import check_answer, to_client, to_real_server
from appliance.proxy.synproxy import SynProxy
from appliance.sessions.ended import STARTED_ANEW
from appliance.sessions.let_go import LetGo
from appliance.sessions.lifecycle import Sessions
from appliance.shard.closing import may_reset, take_up_late_fin, weigh_fin
from appliance.shard.turned_away import turn_away
from appliance.state.output import ShardOutput
from appliance.state.progress import CLIENT_ACKED, RS_NEXT_SEQ, is_acceptable_ack, progress_of
from appliance.state.rewrite_record import ACK_DELTA, RECORD
from appliance.state.server_errors import note_refusal, note_silence
from appliance.state.services import NEVER
from appliance.state.session import Session
from appliance.state.session_phases import Challenge, Opening
from appliance.wire import craft
from appliance.wire.flow import Direction
from appliance.wire.integrity import is_damaged
from appliance.wire.layout import ACK, FIN, RST, SYN
from appliance.wire.segment import Segment
from appliance.wire.seq import MASK as SEQ_MASK
from appliance.wire.seq import add

_CHALLENGE_INTERVAL_S = 0.5

_SECOND_LOOK_S = 0.2
"""How long after the RST to an old socket of a real server the SYN is sent once more."""

_ALIVE = frozenset((TcpState.ESTABLISHED, TcpState.FIN_WAIT, TcpState.CLOSE_WAIT, TcpState.LAST_ACK))
"""States in which at least one end may still wait for data. A SYN that anybody could have sent must not end that."""

_OVER = frozenset((TcpState.TIME_WAIT, TcpState.CLOSE))
"""States in which a connection is over."""

_OPENS_OR_ENDS = ACK | SYN | FIN | RST

_NO_NUMBER = -1
"""The number of a challenge that no RST can answer."""

_inbound_record = RECORD.unpack_from
"""The bare record of packets of clients, which stands first among those of a session."""

Outcome = Verdict | bytes | None
"""A verdict: the packet is dealt with. Bytes: the packet to judge in its place. None: it goes on."""


class SlowPath:
    """The slow path of one shard. It counts no verdicts: the shard counts what it returns."""

    def __init__(self, sessions: Sessions, proxy: SynProxy, let_go: LetGo, output: ShardOutput, ext_counts: memoryview) -> None:
        self._sessions = sessions
        self._proxy, self._engagement = proxy, proxy.engagement
        self._let_go = let_go
        self._output = output
        self._ext_counts = ext_counts

    def judge(self, session: Session, direction: int, segment: Segment, now: float) -> Verdict | bytes | int:
        """Rewrite a packet of a session, or say what becomes of it instead; see `Outcome`.

        A number is the flags by which a packet that was rewritten moves the session, in the state table.
        """
        if session.entry is not None:
            if segment.flags & _OPENS_OR_ENDS == ACK and self._let_go.is_for_segment(session, now):
                self._rewrite(session, direction, segment)
                return segment.flags
            self._sessions.lane.hold(session)
        late = session.late_fin
        if late is not None and late.direction != direction:
            take_up_late_fin(session, late, segment, self._sessions)
        outcome = self._judge_real_server(session, segment, now) if direction else self._judge_client(session, segment, now)
        if outcome is not None:
            return outcome
        flags = segment.flags
        if flags & FIN:
            flags = weigh_fin(session, direction, segment)
        elif flags & RST and session.state not in _OVER:
            session.was_reset = NEXT[OUT if direction else session.first_table][flags][session.state] == TcpState.CLOSE
        self._rewrite(session, direction, segment)
        return flags

    def _rewrite(self, session: Session, direction: int, segment: Segment) -> None:
        tunables = self._sessions.tunables
        if direction:
            self._output.rewritten = to_client(segment, session, tunables)
        else:
            self._output.rewritten = to_real_server(segment, session, tunables, self._ext_counts)

    def _judge_real_server(self, session: Session, segment: Segment, now: float) -> Outcome:
        """A real server's packet: None when its client should get it, and it may move the session."""
        opening = session.opening
        if opening is not None and opening.syn is not None:
            outcome = self._judge_answer(session, opening, opening.syn, segment, now)
            if outcome is not None:
                return outcome
        elif segment.flags & RST and not may_reset(session, Direction.OUTBOUND, segment):
            return self._pass_on_only(session, Direction.OUTBOUND, segment)
        # The first packet of a real server always comes here, because its session is in its opening.
        session.first_table = IN
        return None

    def _judge_client(self, session: Session, segment: Segment, now: float) -> Outcome:
        """A client's packet: None when its real server should get it, and it may move the session."""
        opening = session.opening
        if opening is not None and opening.handshake is not None:
            return self._proxy.hold(session, opening.handshake, segment)
        if opening is not None and session.state == TcpState.SYN_RECV and not _has_seen_answer(session, opening, segment):
            return UNSEEN_ANSWER
        if session.service.synproxy != NEVER and (session.state in CLOSING or _was_sent_cookie(session)):
            offer = self._proxy.offer_for_reuse(session, segment, now)
            if offer is not None:  # a client that returns a new cookie on an old session begins a new connection
                if not self._proxy.may_reuse(session, segment):
                    return self._proxy.refuse_reuse(segment)
                return self._start_anew_by_cookie(session, segment, offer, now)
        if segment.flags & (SYN | RST) or session.challenge is not None or session.real_server.lets_go:
            return self._look_closer(session, segment, now)
        return None

    def _judge_answer(self, session: Session, opening: Opening, syn: bytes, answer: Segment, now: float) -> Outcome:
        """A real server's packet while its answer to a SYN is awaited: None when the client should get it."""
        if is_damaged(answer.raw):
            return BAD_CHECKSUM
        segments = check_answer(session, opening, syn, answer)
        handshake = opening.handshake
        if segments is not None:
            self._output.segments += segments
            if segments and handshake is None:
                # A SYN right behind the RST can be lost at the real server: one that is busy with the old socket queues both
                # there, and the RST closes it. `Sessions.time_out` sends the SYN again.
                self._sessions.wait(session, now + _SECOND_LOOK_S)
            return STALE_ANSWER
        if answer.flags & RST:
            note_refusal(session)
        if handshake is None:
            return None
        if answer.flags & RST:
            self._proxy.fail(session, now)
        elif opening.syn is None:
            self._proxy.join(session, opening, handshake, answer, now)
        return HANDSHAKE_PACKET

    def _look_closer(self, session: Session, segment: Segment, now: float) -> Outcome:
        """A client's packet that may begin or end a connection: None when it goes on as any other."""
        if is_damaged(segment.raw):
            return BAD_CHECKSUM
        self._sessions.by_state.now = now  # so that a session that begins or ends here does so at its packet, and not at a tick
        is_late = False
        if segment.opening_flags == SYN:
            is_same = self._shown_seq(session, segment) == session.isn
            if self._asks_with_cookie(session, is_same, now):
                return self._answer_with_cookie(session, segment, now)
            if not is_same:
                outcome = self._judge_new_syn(session, segment, now)
                if outcome is not None:
                    return outcome
            elif session.state == TcpState.CLOSE and _has_to_ask_again(session):
                self._sessions.end(session, EndReason.REPLACED)
                return segment.raw
            else:
                is_late = session.state in CLOSING and session.state != TcpState.CLOSE
                note_silence(session, now)
        elif (challenge := session.challenge) is not None:
            if segment.flags & RST and segment.seq == challenge.ack:
                return self._start_anew(session, Segment.parse(challenge.syn))
            if _goes_on(session, segment):  # anybody else's packet must not keep a client that began anew from its connection
                session.challenge = None
                session.settle()
        if session.real_server.lets_go:
            return turn_away(session, self._sessions)
        if is_late or (segment.flags & RST and not may_reset(session, Direction.INBOUND, segment)):
            return self._pass_on_only(session, Direction.INBOUND, segment)
        return None

    def _asks_with_cookie(self, session: Session, is_same: bool, now: float) -> bool:
        """Whether a client's SYN on its session is answered with a cookie. `is_same`: it is the SYN that opened the session.

        In SYN_RECV the real server has been asked already: a cookie would replace the number that it has chosen. On an
        established session the same SYN goes on to the real server, which asks: its cookie could not tell a client that began
        anew with the same number from a late copy. And a stranger who sends SYNs to be able to guess cookies gets few such
        chances. All other SYNs are challenged, and only the exact number answers that.
        """
        if session.state == TcpState.SYN_RECV or not self._engagement.answers(session.service):
            return False
        return session.state != TcpState.ESTABLISHED or (not is_same and self._proxy.may_stake_session(now))

    @staticmethod
    def _shown_seq(session: Session, segment: Segment) -> int:
        """The sequence number as the real server is shown it."""
        return add(segment.seq, session.record(Direction.INBOUND).seq_delta)

    def _pass_on_only(self, session: Session, direction: int, segment: Segment) -> Verdict:
        """A SYN or RST that must not move the session, but that its receiver may judge for itself."""
        session.count_packet(direction, len(segment.raw))
        self._rewrite(session, direction, segment)
        return TO_CLIENT if direction else TO_REAL_SERVER

    def _answer_with_cookie(self, session: Session, syn: Segment, now: float) -> Verdict:
        # The cookie is the challenge here: a client that returns it has begun anew. A RST is no answer to it.
        session.challenge = Challenge(syn.raw, _NO_NUMBER, now)
        session.settle()
        return self._proxy.answer(session.service, syn, now)

    def _judge_new_syn(self, session: Session, syn: Segment, now: float) -> Outcome:
        """A SYN with another number than the one that opened the session: None when it only opens the session once more."""
        is_alive = session.state in _ALIVE
        if self._sessions.tunables.reuse or _has_to_ask_again(session):
            return self._challenge(session, syn, now) if is_alive else self._start_anew(session, syn)
        if is_alive:  # the real server asks the client itself
            return self._pass_on_only(session, Direction.INBOUND, syn)
        self._restart(session, syn.seq, self._shown_seq(session, syn))
        return None

    def _challenge(self, session: Session, syn: Segment, now: float) -> Verdict:
        """Hold a new SYN on a session that is alive, and ask the client whether it really began anew.

        Obeying such a SYN would let anybody who guesses a client's port cut off its session (RFC 5961, 4). A client that lost its
        connection answers with a RST whose number only it can know; one that still has it does not answer.
        """
        if session.challenge is None or now >= session.challenge.until:
            reply, real_server = session.record(Direction.OUTBOUND), progress_of(session).real_server
            seq, ack = add(real_server.next_seq, reply.seq_delta), add(real_server.acked, reply.ack_delta)
            window = shifted(real_server.window, reply.window_shift)
            self._output.segments.append(craft.challenge_ack(reply.key, seq, ack, window))
            session.challenge = Challenge(syn.raw, ack, now + _CHALLENGE_INTERVAL_S)
            session.settle()
        return CHALLENGED

    def _start_anew(self, session: Session, syn: Segment) -> bytes:
        """Let a new connection take the place of the old one between the same client and VIP. LVS behaviour 3.5."""
        self._make_way(session, syn.seq, FULLNAT_REUSED, FULLNAT_REUSED_FROM)
        return syn.raw

    def _start_anew_by_cookie(self, session: Session, proof: Segment, offer: SynOffer, now: float) -> Verdict | bytes:
        """The same for a client that returned a cookie. LVS behaviour 4.6."""
        if self._make_way(session, add(proof.seq, -1), SYNPROXY_REUSED, SYNPROXY_REUSED_FROM):
            self._proxy.count_proof(session.service)
            return self._proxy.ask(session, proof, offer, now)
        return proof.raw

    def _make_way(self, session: Session, client_isn: int, total: int, by_state: Mapping[str, int]) -> bool:
        """Start a session anew, and count that at the places `total` and `by_state`. False when its real server takes nothing
        new: then the session has ended, and its client's packet finds none."""
        self._ext_counts[total] += 1
        if (place := by_state.get(STATE_NAMES[session.state])) is not None:
            self._ext_counts[place] += 1
        if _has_to_ask_again(session) or not session.real_server.takes_new:
            self._sessions.end(session, EndReason.REPLACED)
            return False
        self._restart(session, client_isn, self._sessions.next_isn(session))
        return True

    def _restart(self, session: Session, client_isn: int, isn: int) -> None:
        if self._sessions.ended.is_on:
            self._sessions.ended.note(session, STARTED_ANEW)
        session.restart(client_isn, isn)


def _has_to_ask_again(session: Session) -> bool:
    """Whether a new connection in the place of a session has to be admitted as any other: the old one is over, and counts no more
    for the limits of its service."""
    return session.service.limits is not None and session.state in _OVER


def _was_sent_cookie(session: Session) -> bool:
    """Whether a client's new SYN on its session was answered with a cookie."""
    return session.challenge is not None and session.challenge.ack == _NO_NUMBER


def _has_seen_answer(session: Session, opening: Opening, segment: Segment) -> bool:
    """Whether a client's packet other than a SYN or RST acknowledges exactly what its real server has sent.

    Without that, a SYN and an ACK with a forged address would make a session that counts as established, and the limit of
    half-open ones would limit nobody.
    """
    if segment.flags & (SYN | RST):
        return True
    words, record = session.words, _inbound_record(session.records)
    newest, acked = words[RS_NEXT_SEQ] - record[ACK_DELTA], words[CLIENT_ACKED]
    return opening.syn is None and bool((segment.ack - acked) & SEQ_MASK <= (newest - acked) & SEQ_MASK)


def _goes_on(session: Session, segment: Segment) -> bool:
    """Whether a client's packet is of the connection as it is, by the number that it acknowledges."""
    ack_delta = session.record(Direction.INBOUND).ack_delta
    return segment.flags & (ACK | RST) == ACK and is_acceptable_ack(session.words, Direction.INBOUND, segment.ack, ack_delta)
