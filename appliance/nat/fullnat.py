"""The rewrite itself: one body for both directions."""

from typing import Any

from appliance.model.tcp_state import TcpState
from appliance.state.rewrite_record import RewriteRecord
from appliance.state.session import Session
from appliance.wire import craft
from appliance.wire.checksum import MODULUS
from appliance.wire.flow import Direction
from appliance.wire.layout import (
    ACK,
    DATA_OFFSET_SHIFT,
    IP_HEADER_BYTES,
    OPTIONS_START,
    REWRITTEN,
    REWRITTEN_END,
    REWRITTEN_START,
)
from appliance.wire.seq import MASK as SEQ_MASK
from appliance.wire.seq import add

_pack = REWRITTEN.pack

MOST_WINDOW = 0xFFFF
"""What the field can hold."""


def translate(
    before: bytes,
    after: bytes,
    record: tuple[bytes, int, int, int, int, int],
    ip_checksum: int,
    seq: int,
    ack: int,
    offset_flags: int,
    window: int,
    tcp_checksum: int,
) -> bytes:
    """A packet, whose header fields are given as they were parsed, as `record` wants it: a `RewriteRecord`, or its bare fields.

    `before` and `after` are its bytes up to REWRITTEN_START and from REWRITTEN_END on. TTL, TOS and identification stay: the
    kernel routes the packet afterwards and takes its hop off.
    """
    addresses, ip_delta, tcp_delta, seq_delta, ack_delta, window_shift = record
    # A 32-bit number is, modulo 65535, the sum of its two words: so the numbers themselves can stand in their difference.
    if seq_delta:
        tcp_delta += seq
        seq = (seq + seq_delta) & SEQ_MASK
        tcp_delta -= seq
    if ack_delta:
        tcp_delta += ack
        ack = (ack + ack_delta) & SEQ_MASK
        tcp_delta -= ack
    if window_shift:
        tcp_delta += window
        window = shifted(window, window_shift)
        tcp_delta -= window
    head = _pack(
        (ip_checksum + ip_delta) % MODULUS,
        addresses,
        seq,
        ack,
        offset_flags,
        window,
        (tcp_checksum + tcp_delta) % MODULUS,
    )
    return b"".join((before, head, after))


def shifted(window: int, by: int) -> int:
    """A window field moved by some bits to the left, up to what it can hold; to the right when `by` is negative."""
    return min(window << by, MOST_WINDOW) if by > 0 else window >> -by


def translate_with_options(raw: bytes, record: RewriteRecord, fields: tuple[Any, ...], options: bytes) -> bytes:
    """The same for a packet whose options become `options` (a multiple of four bytes, at most forty), longer or shorter.

    `fields` are the packet's, as `wire.layout.HEADERS` unpacks them. All checksums move by difference, so a packet that was
    damaged on its way stays visibly damaged. An acknowledgement number without the ACK flag means nothing and is left alone.
    """
    _, total, _, _, ip_checksum, _, seq, ack, offset_flags, window, tcp_checksum = fields
    end = IP_HEADER_BYTES + 4 * (offset_flags >> DATA_OFFSET_SHIFT)
    old = raw[OPTIONS_START:end]
    before, after = raw[:REWRITTEN_START], raw[REWRITTEN_END:]
    if options != old:
        growth = len(options) - len(old)
        offset_growth = growth << DATA_OFFSET_SHIFT - 2
        offset_flags += offset_growth
        ip_checksum -= growth
        # Sums of words, as in wire.checksum; the pseudo header has the length.
        tcp_checksum += int.from_bytes(old, "big") - int.from_bytes(options, "big") - growth - offset_growth
        before = b"".join((raw[:2], (total + growth).to_bytes(2, "big"), raw[4:REWRITTEN_START]))
        after = b"".join((raw[REWRITTEN_END:OPTIONS_START], options, raw[end:]))
    if record.ack_delta and not offset_flags & ACK:
        record = record._replace(ack_delta=0)
    return translate(before, after, record, ip_checksum, seq, ack, offset_flags, window, tcp_checksum)


def reset_both_sides(session: Session) -> list[bytes]:
    """RST segments that end a session at the real server and at the client, in any state but CLOSE (LVS behaviour 3.8).

    The client's stands behind the real server's last byte. A client that never got the last bytes, or got a FIN behind them,
    does not obey that one (RFC 5961, 3.2), so it gets another, at the number it said it waits for.
    """
    segments = [reset_real_server(session), reset_client(session)]
    if session.client_ack is not None and session.client_ack != _expected_by_client(session):
        segments.append(craft.rst(session.addresses(Direction.OUTBOUND), session.client_ack))
    return segments


def reset_half_open(session: Session) -> list[bytes]:
    """RST segments for a session that has to go while its handshake is under way.

    A client that had an answer would take itself for connected, and wait. One that had none asks again by itself; and a forged
    one gets nothing that it would not get anyway.
    """
    was_answered = session.cookie is not None or (session.opening is not None and session.opening.rs_first_seq is not None)
    return [reset_real_server(session), reset_client(session)] if was_answered else [reset_real_server(session)]


def reset_real_server(session: Session) -> bytes:
    """At the number it acknowledged last; behind its SYN while it has acknowledged nothing."""
    return craft.rst(
        session.addresses(Direction.INBOUND), add(session.isn, 1) if session.rs_ack == session.isn else session.rs_ack
    )


def reset_client(session: Session) -> bytes:
    """At the number it waits for; while it has no answer to its SYN, as a refusal of that."""
    addresses = session.addresses(Direction.OUTBOUND)
    is_unanswered = session.opening is not None and session.opening.rs_first_seq is None and session.cookie is None
    return craft.refusal(addresses, session.client_isn) if is_unanswered else craft.rst(addresses, _expected_by_client(session))


def _expected_by_client(session: Session) -> int:
    if session.cookie is not None and session.state == TcpState.SYN_SENT:
        return add(session.cookie, 1)
    return add(session.rs_next_seq, session.record(Direction.OUTBOUND).seq_delta)
