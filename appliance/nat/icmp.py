"""ICMP errors that quote a translated packet, passed on to the end that sent the original. LVS behaviour 3.9.

An error quotes the packet it is about, so the quoted addresses, reversed, are those of the opposite direction; whoever owns
them gets the error, from the address it believes it talks to. In the quote everything the gateway did is undone, so that the
receiver finds its own packet there: its own sequence numbers, no option of ours, and right checksums. One body serves both
directions.
"""

from collections.abc import Mapping

from appliance.model.verdicts import BAD_ICMP_CHECKSUM, NOT_OURS, Verdict
from appliance.nat.fullnat import translate_with_options
from appliance.nat.toa import client_option
from appliance.nat.udp import translate_datagram
from appliance.state.rewrite_record import RewriteRecord
from appliance.state.session_table import SessionTable
from appliance.wire import layout as at
from appliance.wire.checksum import MODULUS, checksum, delta
from appliance.wire.flow import Direction, destination_of, reverse_key
from appliance.wire.options import shift_sack
from appliance.wire.seq import MASK as SEQ_MASK

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
    key = reverse_key(quoted[at.ADDRESSES_START : at.ADDRESSES_END])
    session, direction = tables[protocol].find(key)
    if session is None:
        return NOT_OURS
    if checksum(raw[at.IP_HEADER_BYTES :]):
        return BAD_ICMP_CHECKSUM
    addresses = session.addresses(direction)
    option = b""
    if option_kind is not None and protocol == at.PROTO_TCP and direction == Direction.OUTBOUND:
        option = client_option(option_kind, destination_of(addresses)) or b""
    return _pass_on(raw, addresses, _undoing(session.record(1 - direction), reverse_key(addresses)), option)


def _undoing(made_by: RewriteRecord, addresses: bytes) -> RewriteRecord:
    """The record that turns a packet made by `made_by` into the one it was, whose 12 address bytes were `addresses`."""
    return RewriteRecord(
        addresses,
        -made_by.ip_delta % MODULUS,
        -made_by.tcp_delta % MODULUS,
        -made_by.seq_delta & SEQ_MASK,
        -made_by.ack_delta & SEQ_MASK,
    )


def _pass_on(raw: bytes, addresses: bytes, undo: RewriteRecord, option: bytes) -> bytes:
    """The error `raw` between the addresses of a packet to its receiver, its quote undone, and room left for `option`.

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
    bare = at.ICMP_HEADER.pack(kind, code, 0, pointer, quote_words, mtu) + quote + extensions
    message = bare[:2] + checksum(bare).to_bytes(2, "big") + bare[4:]
    return _outer_header(raw, addresses, len(message)) + message


def _outer_header(raw: bytes, addresses: bytes, message_bytes: int) -> bytes:
    """The IP header of `raw` between other addresses, around a message of another size."""
    old_total, total = raw[2:4], (at.IP_HEADER_BYTES + message_bytes).to_bytes(2, "big")
    old_checksum = int.from_bytes(raw[10:12], "big")
    ip_checksum = (old_checksum + delta(old_total + raw[12:20], total + addresses[:8])) % MODULUS
    return b"".join((raw[:2], total, raw[4:10], ip_checksum.to_bytes(2, "big"), addresses[:8]))


def _as_sent(quote: bytes, undo: RewriteRecord, option: bytes) -> bytes:
    """The quoted packet, or as much of it as is quoted, as it was before the gateway changed it."""
    *_, protocol, _, _, _ = at.IP_HEADER.unpack_from(quote)
    if protocol == at.PROTO_UDP:
        return translate_datagram(quote, undo)
    fields = at.HEADERS.unpack_from(quote.ljust(at.OPTIONS_START, b"\0"))
    total, offset_flags = fields[1], fields[8]
    header_bytes = max(at.IP_HEADER_BYTES + 4 * (offset_flags >> at.DATA_OFFSET_SHIFT), at.OPTIONS_START)
    padded = quote.ljust(header_bytes, b"\0")
    options = padded[at.OPTIONS_START : header_bytes]
    if option and options.startswith(option) and total >= header_bytes:
        options = options[len(option) :]
    sent = translate_with_options(padded, undo, fields, shift_sack(options, undo.ack_delta))
    # Of a header quoted in part, only what every error has to quote is handed on: half a number cannot be moved back.
    return sent if len(quote) >= header_bytes else sent[: at.QUOTED_MIN_BYTES]
