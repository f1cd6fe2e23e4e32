"""TCP packets of which more than addresses and numbers is changed: those with options, and those of a session that is opening.

A real server gets the client's address (see `nat.toa`), a SYN without a timestamp, and never an option in which the client
itself claims an address. A client gets an MSS that leaves room for the option, and SACK blocks in its own numbers.
LVS behaviour 3.3, 3.4, 3.6, 3.7.
"""

from appliance.model.counters import TOA_FAIL_LEN, TOA_FAIL_MEM, TOA_FAIL_PROTO, TOA_OK
from appliance.model.syn_offer import LEAST_MSS
from appliance.nat.fullnat import translate_with_options
from appliance.nat.toa import OPTION_BYTES, client_option, put_first
from appliance.state.live_tunables import LiveTunables
from appliance.state.progress import CLIENT_ACKED, CLIENT_NEXT_SEQ, RS_ACKED, RS_NEXT_SEQ
from appliance.state.rewrite_record import ACK_DELTA, RECORD, RECORD_BYTES, WINDOW_SHIFT
from appliance.state.session import Session
from appliance.state.session_phases import Opening
from appliance.wire import craft
from appliance.wire.flow import Direction, source_of
from appliance.wire.layout import (
    ACK,
    DATA_OFFSET,
    DATA_OFFSET_SHIFT,
    IP_HEADER_BYTES,
    LEAST_OFFSET_FLAGS,
    MOST_WINDOW,
    RST,
    SYN,
    TCP_HEADER_BYTES,
)
from appliance.wire.options import TIMESTAMP, blank, mss_of, shift_sack, with_mss
from appliance.wire.segment import Segment
from appliance.wire.seq import MASK as SEQ_MASK
from appliance.wire.seq import add, is_before

# Plain integers, bound once: an enum's member would be looked up for each packet.
_INBOUND, _OUTBOUND = int(Direction.INBOUND), int(Direction.OUTBOUND)

_record_at = RECORD.unpack_from

_OF_SYN = LEAST_OFFSET_FLAGS | SYN
_WITH_OPTIONS = LEAST_OFFSET_FLAGS + (1 << DATA_OFFSET_SHIFT)

_ONLY_TIMESTAMP = b"\x01\x01\x08\x0a"
"""How the options of nearly all packets of a connection with timestamps begin: two NOPs, kind, length; twelve bytes in all."""
_ONLY_TIMESTAMP_BYTES = 12

_MOST_STALE_ANSWERS = 3
"""How often one new connection may reset its real server's old socket. Once is enough; without a limit the two could answer each
other for ever."""


def to_real_server(segment: Segment, session: Session, tunables: LiveTunables, ext: memoryview) -> bytes:
    """A client's packet as its real server gets it. `ext` is the extended table, in which the option is counted."""
    offset_flags = segment.offset_flags
    record = _record_at(session.records, _INBOUND * RECORD_BYTES)
    options = b""
    if offset_flags >= _WITH_OPTIONS:
        options = _disarmed(segment.options, offset_flags, record[ACK_DELTA], tunables)
    opening = session.opening
    if opening is None:
        return translate_with_options(segment, record, options)
    first_seq = opening.rs_first_seq
    if first_seq is not None and offset_flags & ACK and is_before(first_seq, segment.ack):
        session.opening = None
        session.settle()
    elif tunables.toa and not offset_flags & RST:
        option = opening.client_option
        if options or not option or option[0] != tunables.toa_kind or len(segment.raw) + OPTION_BYTES > session.real_server.mtu:
            options = _with_client_option(options, segment, session, opening, tunables, ext)
        else:  # the usual case: all packets of an upload until the real server answers
            options = option
            ext[TOA_OK] += 1
    rewritten = translate_with_options(segment, record, options)
    if offset_flags & SYN and first_seq is None:
        opening.syn = rewritten
        session.words[CLIENT_NEXT_SEQ] = segment.seq + 1 + segment.payload_bytes
    return rewritten


def syn_of_kernel(session: Session, options: bytes, tunables: LiveTunables, window: int = MOST_WINDOW) -> bytes:
    """The SYN of a session that the kernel has opened, as the real server got it, but for a window that is not known. `options`
    are its client's.

    Raises nothing: the kernel opens sessions only by options that leave room for the client's address.
    """
    options = _disarmed(options, _OF_SYN, 0, tunables)
    opening = session.opening
    if opening is not None and tunables.toa:
        opening.client_option = client_option(tunables.toa_kind, source_of(session.client_key)) or b""
        options = put_first(opening.client_option, options) or options
    return craft.segment(session.leaving_key(Direction.INBOUND), session.isn, 0, SYN, window, options)


def to_client(segment: Segment, session: Session, tunables: LiveTunables) -> bytes:
    """A real server's packet as its client gets it."""
    record = _record_at(session.records, _OUTBOUND * RECORD_BYTES)
    options, opening = segment.options, session.opening
    if opening is not None and opening.rs_first_seq is not None and _has_got_data(session, segment, record[ACK_DELTA]):
        session.opening = None
        session.settle()
    if segment.offset_flags & SYN:
        record = (*record[:WINDOW_SHIFT], 0)  # RFC 7323, 2.2: the window of a SYN is never scaled
        if tunables.mss_adjust:
            options = _with_room_in_mss(options, session.real_server.mtu)
    elif options and not _is_only_timestamp(options):
        options = shift_sack(options, record[ACK_DELTA])
    return translate_with_options(segment, record, options)


def _has_got_data(session: Session, segment: Segment, ack_delta: int) -> bool:
    """Whether a real server's packet acknowledges a byte of its client, and that byte was sent: the option came with it.

    A SYN-ACK may acknowledge what its SYN carried. It does not count, for not every server looks for the option in a SYN.
    """
    if segment.offset_flags & (SYN | ACK | RST) != ACK:
        return False
    acked, ack = session.words[RS_ACKED], segment.ack
    has_sent_it = (ack - acked) & SEQ_MASK <= (session.words[CLIENT_NEXT_SEQ] - ack_delta - acked) & SEQ_MASK
    return has_sent_it and is_before(add(session.isn, 1), ack)


def check_answer(session: Session, opening: Opening, syn: bytes, answer: Segment) -> list[bytes] | None:
    """Whether a packet of the real server answers `syn`, as it was sent it: None when it does, else the packets to send it.

    A real server may still hold a socket of an older connection from the same local address and port. It answers the SYN with
    an ACK in that connection's numbers (RFC 5961, 4.2; RFC 9293, 3.10.7.4), as any host would be answered whose older
    connection was cut off. Such a host resets the old connection with exactly that number (RFC 9293, 3.5.1) and tries again; the
    gateway does it in the place of the client, which knows nothing of that connection.
    """
    flags = answer.flags
    syn_payload_bytes = len(syn) - IP_HEADER_BYTES - (syn[DATA_OFFSET] >> 4) * 4
    if flags & ACK and (answer.ack - session.isn - 1) & SEQ_MASK <= syn_payload_bytes:
        if flags & SYN:
            opening.rs_first_seq = session.words[CLIENT_ACKED] = session.words[RS_NEXT_SEQ] = add(answer.seq, 1)
            opening.syn = None
        return None
    opening.stale_answers += 1
    if flags & RST or not flags & ACK or opening.stale_answers > _MOST_STALE_ANSWERS:
        return []
    return [craft.rst(session.leaving_key(Direction.INBOUND), answer.ack), syn]


def _disarmed(options: bytes, offset_flags: int, ack_delta: int, tunables: LiveTunables) -> bytes:
    """A client's options without what must not reach the real server, and with SACK blocks in the real server's numbers."""
    options = blank(options, tunables.toa_kind)
    if offset_flags & SYN and tunables.timestamp_remove:
        options = blank(options, TIMESTAMP)
    return shift_sack(options, ack_delta) if ack_delta else options


def _with_client_option(
    options: bytes,
    segment: Segment,
    session: Session,
    opening: Opening,
    tunables: LiveTunables,
    ext: memoryview,
) -> bytes:
    """The options with the client's address in front, or as they are when that is not possible; counted either way."""
    option = opening.client_option
    if not option or option[0] != tunables.toa_kind:
        made = client_option(tunables.toa_kind, source_of(segment.key))
        if made is None:
            ext[TOA_FAIL_PROTO] += 1
            return options
        opening.client_option = option = made
    try:
        longer = put_first(option, options) if options else option
    except MemoryError:
        ext[TOA_FAIL_MEM] += 1
        return options
    if longer is None or len(segment.raw) + len(longer) - len(options) > session.real_server.mtu:
        ext[TOA_FAIL_LEN] += 1
        return options
    ext[TOA_OK] += 1
    return longer


def _is_only_timestamp(options: bytes) -> bool:
    return len(options) == _ONLY_TIMESTAMP_BYTES and options.startswith(_ONLY_TIMESTAMP)


def _with_room_in_mss(options: bytes, mtu: int) -> bytes:
    """The MSS lowered so that a full segment and the client-address option fit the route to the real server."""
    mss = mss_of(options)
    if mss is None:
        return options
    fitting = min(mss, mtu - IP_HEADER_BYTES - TCP_HEADER_BYTES) - OPTION_BYTES
    return with_mss(options, max(fitting, min(mss, LEAST_MSS)))
