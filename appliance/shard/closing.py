"""Whether a FIN or a RST may move its session. RFC 5961, 3 to 5.

Anybody can send a packet in the name of a client whose address and port he guesses. So a FIN or RST moves its session only when
its numbers are those of somebody who sees the connection. The end it is for judges in the same way, by all that it knows; so any
other FIN or RST is passed on all the same, and that end asks the sender (a challenge) or ignores it.
"""

from appliance.model.tcp_state import CLOSING, NEXT, OUT
from appliance.sessions.lifecycle import Sessions
from appliance.state.progress import SENT_REACH, SIDES, Progress, Side, is_acceptable_ack, progress_of
from appliance.state.rewrite_record import ACK_DELTA, RECORD, RECORD_BYTES, SEQ_DELTA
from appliance.state.session import Session
from appliance.state.session_phases import LateFin
from appliance.wire.integrity import is_damaged
from appliance.wire.layout import ACK, FIN
from appliance.wire.segment import Segment
from appliance.wire.seq import MASK as SEQ_MASK
from appliance.wire.seq import add

MOST_IN_FLIGHT = 1 << 20
"""How far ahead of what its receiver has acknowledged a FIN or RST may be to move a session at once, in bytes.

`next_seq` is what packets of the sender claim. Those of a stranger need a number that his RST or FIN does not need any more: that
of an acknowledgement. While much data is on its way to the sender, one guess in some thousand has it.
"""

_record_at = RECORD.unpack_from


def may_reset(session: Session, direction: int, rst: Segment) -> bool:
    """Whether a RST stands exactly where its receiver waits, or behind all that its sender has sent; and is not damaged."""
    sender, receiver = _sides(progress_of(session), direction)
    in_flight = (rst.seq + session.record(direction).seq_delta - receiver.acked) & SEQ_MASK
    is_behind_late_fin = session.late_fin is not None and session.late_fin.direction == direction
    is_behind_all = rst.seq == sender.next_seq and in_flight <= MOST_IN_FLIGHT and not is_behind_late_fin
    return (not in_flight or is_behind_all) and not is_damaged(rst.raw)


def weigh_fin(session: Session, direction: int, fin: Segment) -> int:
    """The flags by which a segment with FIN moves its session: all of them when it is in order, else without FIN."""
    record = _record_at(session.records, direction * RECORD_BYTES)
    if not is_acceptable_ack(session.words, direction, fin.ack, record[ACK_DELTA]) or is_damaged(fin.raw):
        return fin.flags & ~FIN
    if not _is_in_order(session, direction, fin, record[SEQ_DELTA]):
        _remember_late_fin(session, direction, fin)
        return fin.flags & ~FIN
    if session.late_fin is not None and session.late_fin.direction == direction:
        session.late_fin = None
        session.settle()
    return fin.flags


def _is_in_order(session: Session, direction: int, fin: Segment, seq_delta: int) -> bool:
    """Whether nothing that precedes a FIN is missing, as far as its receiver or the gateway has seen."""
    words, payload_bytes = session.words, fin.payload_bytes
    in_flight = (fin.seq + seq_delta - words[SIDES[1 - direction][0]]) & SEQ_MASK
    if -in_flight & SEQ_MASK <= payload_bytes:
        return True
    # `next_seq` lies behind a FIN that is repeated; before there was any, it does not.
    was_fin = session.state in CLOSING
    is_behind_all = (words[SIDES[direction][1]] - fin.seq) & SEQ_MASK <= payload_bytes + was_fin
    return is_behind_all and in_flight <= MOST_IN_FLIGHT and session.late_fin is None


def _remember_late_fin(session: Session, direction: int, fin: Segment) -> None:
    """What precedes a FIN that is not in order may only be late."""
    end = add(fin.seq, fin.payload_bytes + 1)
    next_seq_at = SIDES[direction][1]
    if (end - session.words[next_seq_at]) & SEQ_MASK < SENT_REACH:
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
        state = NEXT[OUT if late.direction else session.first_table][FIN | ACK][session.state]
        if state != session.state:
            sessions.enter(session, state)
    session.late_fin = None
    session.settle()


def _sides(progress: Progress, direction: int) -> tuple[Side, Side]:
    """The sender and the receiver of a packet of this direction."""
    return (progress.real_server, progress.client) if direction else (progress.client, progress.real_server)
