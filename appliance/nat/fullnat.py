"""The rewrite of a TCP packet: one body for both directions."""

from appliance.state.rewrite_record import ACK_DELTA, BareRecord
from appliance.wire import layout as at
from appliance.wire.checksum import MODULUS
from appliance.wire.segment import Segment
from appliance.wire.seq import MASK as SEQ_MASK

_pack = at.REWRITTEN.pack


def translate(
    before: bytes,
    after: bytes,
    record: BareRecord,
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
    key, ip_delta, tcp_delta, seq_delta, ack_delta, window_shift = record
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
        key,
        seq,
        ack,
        offset_flags,
        window,
        (tcp_checksum + tcp_delta) % MODULUS,
    )
    return b"".join((before, head, after))


def shifted(window: int, by: int) -> int:
    """A window field moved by some bits to the left, up to what it can hold; to the right when `by` is negative."""
    return min(window << by, at.MOST_WINDOW) if by > 0 else window >> -by


def translate_with_options(segment: Segment, record: BareRecord, options: bytes) -> bytes:
    """The same for a packet whose options become `options` (a multiple of four bytes, at most forty), longer or shorter.

    All checksums move by difference, so a packet that was damaged on its way stays visibly damaged. An acknowledgement number
    without the ACK flag means nothing and is left alone.
    """
    _, total, _, _, ip_checksum, _, seq, ack, offset_flags, window, tcp_checksum, raw, _, end = segment
    old = raw[at.OPTIONS_START : end]
    if options == old:
        before, after = raw[: at.REWRITTEN_START], raw[at.REWRITTEN_END :]
    else:
        growth = len(options) - len(old)
        offset_growth = growth << at.DATA_OFFSET_SHIFT - 2
        offset_flags += offset_growth
        ip_checksum -= growth
        # Sums of words, as in wire.checksum; the pseudo header has the length.
        tcp_checksum += int.from_bytes(old, "big") - int.from_bytes(options, "big") - growth - offset_growth
        new_total = (total + growth).to_bytes(2, "big")
        before = b"".join((raw[at.BEFORE_TOTAL_LENGTH], new_total, raw[at.TOTAL_LENGTH_TO_CHECKSUM]))
        after = b"".join((raw[at.REWRITTEN_END : at.OPTIONS_START], options, raw[end:]))
    if record[ACK_DELTA] and not offset_flags & at.ACK:
        key, ip_delta, tcp_delta, seq_delta, _, window_shift = record
        record = key, ip_delta, tcp_delta, seq_delta, 0, window_shift
    return translate(before, after, record, ip_checksum, seq, ack, offset_flags, window, tcp_checksum)
