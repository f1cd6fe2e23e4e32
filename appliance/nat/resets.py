"""RST segments that end a session at its ends. LVS behaviour 3.8.

A receiver obeys a RST only at exactly the number that it waits for (RFC 5961, 3.2). So each stands where its receiver's last
acknowledgement says, or where the first byte would be while there was none.
"""

from appliance.ipc.session_record import Flags, SessionRecord
from appliance.model.tcp_state import UDP_STATE, TcpState
from appliance.state.progress import Side, progress_of
from appliance.state.session import Session
from appliance.wire import craft
from appliance.wire.flow import Direction, flow_key
from appliance.wire.seq import MASK as SEQ_MASK
from appliance.wire.seq import add

OVER = frozenset((TcpState.NONE, TcpState.CLOSE, TcpState.TIME_WAIT, UDP_STATE))
"""States in which neither end has a connection that it could be told of."""


def reset_both_sides(session: Session) -> list[bytes]:
    """RST segments that end a session at the real server and at the client, in any state but CLOSE.

    The client's stands behind the real server's last byte. A client that never got the last bytes, or got a FIN behind them,
    does not obey that one, so it gets another, at the number of its last acknowledgement.
    """
    segments = [reset_real_server(session), reset_client(session)]
    progress = progress_of(session)
    if progress.client.packets and progress.client.acked != _expected_by_client(session, progress.real_server):
        segments.append(craft.rst(session.leaving_key(Direction.OUTBOUND), progress.client.acked))
    return segments


def reset_half_open(session: Session) -> list[bytes]:
    """RST segments for a session that has to go while its handshake is under way.

    A client that had an answer would take itself for connected, and wait. One that had none asks again by itself; and a forged
    one gets nothing that it would not get anyway.
    """
    was_answered = session.cookie is not None or (session.opening is not None and session.opening.rs_first_seq is not None)
    return [reset_real_server(session), reset_client(session)] if was_answered else [reset_real_server(session)]


def reset_real_server(session: Session) -> bytes:
    """At the number that the real server acknowledged last; behind its SYN while it has acknowledged nothing."""
    isn, acked = session.isn, progress_of(session).real_server.acked
    return craft.rst(session.leaving_key(Direction.INBOUND), add(isn, 1) if acked == isn else acked)


def reset_client(session: Session) -> bytes:
    """At the number that the client waits for; while it has no answer to its SYN, as a refusal of that."""
    key = session.leaving_key(Direction.OUTBOUND)
    is_unanswered = session.opening is not None and session.opening.rs_first_seq is None and session.cookie is None
    if is_unanswered:
        return craft.refusal(key, session.client_isn)
    return craft.rst(key, _expected_by_client(session, progress_of(session).real_server))


def reset_ends(record: SessionRecord) -> list[bytes]:
    """What `reset_both_sides` makes of a session, from its record alone: when nobody goes on with it.

    Empty for UDP, and for a connection that is over.
    """
    if record.state in OVER:
        return []
    to_rs = flow_key(record.local.packed, record.real_server.packed)
    to_client = flow_key(record.vip.packed, record.client.packed)
    rs_acked = record.rs_acked & SEQ_MASK
    segments = [craft.rst(to_rs, add(record.isn, 1) if rs_acked == record.isn else rs_acked)]
    if record.rs_first_seq is None and record.cookie is None and record.flags & Flags.IS_OPENING:
        return [*segments, craft.refusal(to_client, record.client_isn)]
    expected = add(record.rs_next_seq, record.outbound_seq_delta)
    segments.append(craft.rst(to_client, expected))
    if record.inbound_packets and record.client_acked & SEQ_MASK != expected:
        segments.append(craft.rst(to_client, record.client_acked & SEQ_MASK))
    return segments


def _expected_by_client(session: Session, real_server: Side) -> int:
    if session.cookie is not None and session.state == TcpState.SYN_SENT:
        return add(session.cookie, 1)
    return add(real_server.next_seq, session.record(Direction.OUTBOUND).seq_delta)
