"""Whether a FIN or a RST may move its session. RFC 5961, 3 to 5.

Anybody can send a packet in the name of a client whose address and port he guesses. So a FIN or RST moves its session only when
its numbers are those of somebody who sees the connection. The end it is for judges in the same way, by all that it knows; so any
other FIN or RST is passed on all the same, and that end asks the sender (a challenge) or ignores it.
"""

from appliance.model.tcp_state import CLOSING, NEXT, OUT
from appliance.sessions.lifecycle import Sessions
from appliance.state.progress import SENT_REACH, SIDES, Progress, Side, is_acceptable_ack, progress_of
from appliance.state.session import Session
from appliance.state.session_phases import LateFin
from appliance.wire.integrity import is_damaged
from appliance.wire.layout import ACK, FIN
from appliance.wire.segment import Segment
from appliance.wire.seq import MASK as SEQ_MASK
from appliance.wire.seq import add


def may_reset(session: Session, direction: int, rst: Segment) -> bool:
    """Whether a RST stands exactly where its receiver waits, or behind all that its sender has sent; and is not damaged."""
    sender, receiver = _sides(progress_of(session), direction)
    shown_seq = add(rst.seq, session.record(direction).seq_delta)
    return (shown_seq == receiver.acked or rst.seq == sender.next_seq) and not is_damaged(rst.raw)


def may_close(session: Session, direction: int, fin: Segment) -> bool:
    """Whether a FIN is in order: nothing that precedes it is missing, as far as the gateway or its receiver has seen."""
    if is_damaged(fin.raw) or not is_acceptable_ack(session.words, direction, fin.ack, session.record(direction).ack_delta):
        return False
    sender, receiver = _sides(progress_of(session), direction)
    shown_seq = add(fin.seq, session.record(direction).seq_delta)
    if add(receiver.acked, -shown_seq) <= fin.payload_bytes:
        return True
    # `next_seq` lies behind a FIN that is repeated; before there was any, it does not.
    was_fin = session.state in CLOSING
    return session.late_fin is None and add(sender.next_seq, -fin.seq) <= fin.payload_bytes + was_fin


def remember_late_fin(session: Session, direction: int, fin: Segment) -> None:
    """Remember a FIN that is not in order, if it can be its sender's: what precedes it may only be late."""
    end = add(fin.seq, fin.payload_bytes + 1)
    next_seq_at = SIDES[direction][1]
    is_acceptable = is_acceptable_ack(session.words, direction, fin.ack, session.record(direction).ack_delta)
    if is_acceptable and (end - session.words[next_seq_at]) & SEQ_MASK < SENT_REACH and not is_damaged(fin.raw):
        session.late_fin, session.words[next_seq_at] = LateFin(direction, end), end
        session.settle()


def take_up_late_fin(session: Session, late: LateFin, answer: Segment, sessions: Sessions) -> None:
    """A packet of the other side: move the session by a late FIN that it acknowledges, unless more was sent behind it.

    A FIN has nothing behind it. So one that somebody else has put into the stream is found out when the sender goes on.
    """
    direction = 1 - late.direction
    record = session.record(direction)
    sender = _sides(progress_of(session), late.direction)[0]
    if sender.next_seq == late.end:
        if add(answer.ack, record.ack_delta) != late.end or not answer.flags & ACK:
            return
        table = OUT if late.direction else session.first_table
        sessions.enter(session, NEXT[table][FIN | ACK][session.state])
    session.late_fin = None
    session.settle()


def _sides(progress: Progress, direction: int) -> tuple[Side, Side]:
    """The sender and the receiver of a packet of this direction."""
    return (progress.real_server, progress.client) if direction else (progress.client, progress.real_server)
