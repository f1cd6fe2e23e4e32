"""The rewrite itself: one body for both directions."""

from appliance.conn import ConnEntry, RewriteRecord
from appliance.model import Direction
from appliance.wire import craft
from appliance.wire.checksum import MODULUS
from appliance.wire.layout import REWRITTEN, REWRITTEN_END, REWRITTEN_START
from appliance.wire.seq import MASK as SEQ_MASK

_pack = REWRITTEN.pack


def translate(
    raw: bytes,
    record: RewriteRecord,
    ip_checksum: int,
    seq: int,
    ack: int,
    offset_flags: int,
    window: int,
    tcp_checksum: int,
) -> bytes:
    """The packet `raw`, whose header fields are given as they were parsed, as `record` wants it. Options are not looked at.

    TTL, TOS and identification stay: the kernel routes the packet afterwards and takes its hop off.
    """
    addresses, ip_delta, tcp_delta, seq_delta, ack_delta = record
    new_seq, new_ack = (seq + seq_delta) & SEQ_MASK, (ack + ack_delta) & SEQ_MASK
    head = _pack(
        (ip_checksum + ip_delta) % MODULUS,
        addresses,
        new_seq,
        new_ack,
        offset_flags,
        window,
        # A 32-bit number is, modulo 65535, the sum of its two words: so the numbers themselves can stand in their difference.
        (tcp_checksum + tcp_delta + seq - new_seq + ack - new_ack) % MODULUS,
    )
    return b"".join((raw[:REWRITTEN_START], head, raw[REWRITTEN_END:]))


def reset_both_sides(conn: ConnEntry) -> tuple[bytes, bytes]:
    """RST segments that end an established session at the real server and at the client (LVS behaviour 3.8)."""
    return (
        craft.rst(conn.records[Direction.INBOUND].addresses, conn.rs_ack),
        craft.rst(conn.records[Direction.OUTBOUND].addresses, conn.rs_next_seq & SEQ_MASK),
    )
