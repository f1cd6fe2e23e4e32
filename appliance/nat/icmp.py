"""ICMP errors that quote a translated packet, passed on to the end that sent the original. LVS behaviour 3.9.

An error quotes the packet it is about. The quoted flow, reversed, is that of the opposite direction; the end that sent the
packet gets the error, from the address it believes it talks to. In the quote everything the gateway did is undone, so that the
receiver finds its own packet there: its own sequence numbers, no option of ours, and right checksums. One body serves both
directions.
"""

from collections.abc import Mapping

from appliance.model.verdict import Verdict
from appliance.model.verdicts import BAD_ICMP_CHECKSUM, NOT_OURS
from appliance.nat.fullnat import translate_with_options
from appliance.nat.toa import client_option
from appliance.nat.udp import translate_datagram
from appliance.state.rewrite_record import RewriteRecord, undoing
from appliance.state.session import Session
from appliance.state.session_table import SessionTable
from appliance.wire import layout as at
from appliance.wire.checksum import MODULUS, checksum, delta
from appliance.wire.craft import with_icmp_checksum
from appliance.wire.flow import Direction, addresses_of, destination_of, reverse_key
from appliance.wire.options import shift_sack
from appliance.wire.segment import Segment

_FRAGMENTATION_NEEDED = (at.ICMP_UNREACHABLE, at.ICMP_CODE_FRAGMENTATION_NEEDED)


def translate_error(raw: bytes, tables: Mapping[int, SessionTable], option_kind: int | None) -> bytes | Verdict:
    """The error for the other end of the session it quotes, or a verdict when it is damaged or about no session of ours.

    `raw` is a whole ICMP packet behind an IPv4 header without options. `tables` are keyed by IP protocol number, TCP's and
    UDP's. `option_kind` is that of the client-address option, None while none is put in. A quoted packet with IP options, or
    a fragment other than the first, is about no session: its ports are not where they can be read.
    """
    if len(raw) < at.QUOTED_START + at.QUOTED_MIN_BYTES or raw[at.IP_HEADER_BYTES] not in at.ICMP_ERRORS:
        return NOT_OURS
    quoted = raw[at.QUOTED_START :]
    version_ihl, _, _, _, fragment, _, protocol, *_ = at.IP_HEADER.unpack_from(quoted)
    if version_ihl != at.IPV4_NO_OPTIONS or fragment & at.FRAGMENT_OFFSET_BITS or protocol not in tables:
        return NOT_OURS
    session, direction = tables[protocol].find(reverse_key(quoted[at.ADDRESSES_START : at.ADDRESSES_END]))
    if session is None:
        return NOT_OURS
    if checksum(raw[at.IP_HEADER_BYTES :]):
        return BAD_ICMP_CHECKSUM
    key = session.leaving_key(direction)
    option = b""
    if option_kind is not None and protocol == at.PROTO_TCP and direction == Direction.OUTBOUND:
        option = client_option(option_kind, destination_of(key)) or b""
    return _pass_on(raw, key, undoing(session.record(1 - direction), reverse_key(key)), option)


def refused_session(raw: bytes, tables: Mapping[int, SessionTable]) -> Session | None:
    """The session that its real server does not take, as the error says that quotes a packet to it; else None.

    `raw` is an error that `translate_error` translated. Of TCP, it quotes the SYN that was not answered: only who has seen that
    knows its number. A SYN that was too long for the path is not refused. Of UDP, the port is closed.
    """
    kind, code, quoted = raw[at.IP_HEADER_BYTES], raw[at.IP_HEADER_BYTES + 1], raw[at.QUOTED_START :]
    if kind != at.ICMP_UNREACHABLE or (kind, code) == _FRAGMENTATION_NEEDED:
        return None
    protocol = quoted[at.PROTOCOL]
    session, direction = tables[protocol].find(reverse_key(quoted[at.ADDRESSES_START : at.ADDRESSES_END]))
    if session is None or direction != Direction.OUTBOUND:
        return None
    if protocol == at.PROTO_UDP:
        return session if code == at.ICMP_CODE_PORT else None
    if session.opening is None or session.opening.syn is None:
        return None
    seq = int.from_bytes(quoted[at.ADDRESSES_END : at.QUOTED_MIN_BYTES], "big")
    return session if seq == session.isn else None


def _pass_on(raw: bytes, key: bytes, undo: RewriteRecord, option: bytes) -> bytes:
    """The error `raw` with the addresses of the flow `key`, its quote undone, and room left for `option`.

    `option` is what the gateway puts into the receiver's packets; empty when it puts nothing in.
    """
    kind, code, _, pointer, quote_words, mtu = at.ICMP_HEADER.unpack_from(raw, at.IP_HEADER_BYTES)
    quote, extensions = raw[at.QUOTED_START :], b""
    padded_bytes = 4 * quote_words
    if at.QUOTED_MIN_BYTES <= padded_bytes <= len(quote):
        quote, extensions = quote[:padded_bytes], quote[padded_bytes:]
    else:
        padded_bytes = 0  # not RFC 4884, so nobody looks for anything behind the quote
    # A quote that extensions follow keeps its size, or they would not be found (RFC 4884, 3).
    quote = _as_sent(quote, undo, option).ljust(padded_bytes, b"\0")
    if option and mtu and (kind, code) == _FRAGMENTATION_NEEDED:
        mtu = max(mtu - len(option), at.LEAST_MTU_BYTES)
    message = at.ICMP_HEADER.pack(kind, code, 0, pointer, quote_words, mtu) + quote + extensions
    return _outer_header(raw, addresses_of(key), len(message)) + with_icmp_checksum(message)


def _outer_header(raw: bytes, addresses: bytes, message_bytes: int) -> bytes:
    """The IP header of `raw` with other addresses, around a message of another size."""
    old_total, total = raw[at.TOTAL_LENGTH], (at.IP_HEADER_BYTES + message_bytes).to_bytes(2, "big")
    moved_by = delta(old_total + raw[at.IP_ADDRESSES], total + addresses)
    ip_checksum = ((int.from_bytes(raw[at.IP_CHECKSUM], "big") + moved_by) % MODULUS).to_bytes(2, "big")
    return b"".join((raw[at.BEFORE_TOTAL_LENGTH], total, raw[at.TOTAL_LENGTH_TO_CHECKSUM], ip_checksum, addresses))


def _as_sent(quote: bytes, undo: RewriteRecord, option: bytes) -> bytes:
    """The quoted packet, or as much of it as is quoted, as it was before the gateway changed it."""
    if quote[at.PROTOCOL] == at.PROTO_UDP:
        return translate_datagram(quote, undo)
    header_bytes = max(Segment.parse(quote.ljust(at.OPTIONS_START, b"\0")).options_end, at.OPTIONS_START)
    segment = Segment.parse(quote.ljust(header_bytes, b"\0"))
    options = segment.raw[at.OPTIONS_START : header_bytes]
    is_shown = len(quote) >= at.OPTIONS_START + len(option)
    if option and is_shown and options.startswith(option) and segment.total_bytes >= header_bytes:
        options = options[len(option) :]
    sent = translate_with_options(segment, undo, shift_sack(options, undo.ack_delta))
    # Of a header quoted in part, only what every error has to quote is handed on: half a number cannot be moved back.
    return sent if len(quote) >= header_bytes else sent[: at.QUOTED_MIN_BYTES]
