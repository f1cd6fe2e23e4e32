"""Packets of our own: RST segments, ACKs and ICMP errors. Each is complete, with right checksums, ready for a raw socket."""

from appliance.wire import layout as at
from appliance.wire.checksum import MODULUS, checksum
from appliance.wire.flow import addresses_of
from appliance.wire.seq import add

_ICMP_QUOTE_BYTES = 528
"""RFC 1812, 4.3.2.3: quote as much as fits into 576 bytes, which is what our 28 bytes of headers leave."""


def ip_packet(source: bytes, destination: bytes, protocol: int, payload: bytes) -> bytes:
    """An IPv4 packet around `payload`: TTL 64, DF, identification 0, TOS 0 (RFC 6864 allows the fixed identification)."""
    fields = (
        at.IPV4_NO_OPTIONS,
        0,
        at.IP_HEADER_BYTES + len(payload),
        0,
        at.DONT_FRAGMENT,
        at.TTL_OF_OUR_SEGMENTS,
        protocol,
    )
    bare = at.IP_HEADER.pack(*fields, 0, source, destination)
    return at.IP_HEADER.pack(*fields, checksum(bare), source, destination) + payload


def rst(key: bytes, seq: int) -> bytes:
    """A bare RST of the flow `key`: no ACK flag, window 0, no options.

    RFC 5961, 3.2: the receiver obeys only when `seq` is exactly the next number it expects, so the caller must know it.
    """
    return segment(key, seq, 0, at.RST, 0)


def refusal(key: bytes, syn_seq: int) -> bytes:
    """The RST of the flow `key` that answers a SYN with this number (RFC 9293, 3.5.2)."""
    return segment(key, 0, add(syn_seq, 1), at.RST | at.ACK, 0)


def challenge_ack(key: bytes, seq: int, ack: int, window: int) -> bytes:
    """An ACK that asks its receiver whether it still knows the connection (RFC 5961, 4.2). A receiver that does not answers RST.

    A receiver that knows it takes `window`, the field as it stands in packets, for a new one. So it has to be the last window
    that the receiver was given.
    """
    return segment(key, seq, ack, at.ACK, window)


def segment(
    key: bytes,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    options: bytes = b"",
    ttl: int = at.TTL_OF_OUR_SEGMENTS,
) -> bytes:
    """A TCP packet without data of the flow `key`: DF, identification 0, TOS 0; `options` fill whole words.

    Under a flood of SYNs there is one of these for each. So both headers are packed at once, and their checksums come from the
    numbers in them (see wire.checksum) and not from bytes that would have to be built first.
    """
    tcp_bytes = at.TCP_HEADER_BYTES + len(options)
    total = at.IP_HEADER_BYTES + tcp_bytes
    offset_flags = (tcp_bytes << at.DATA_OFFSET_SHIFT - 2) | flags
    ip_sum = int.from_bytes(addresses_of(key), "big")
    tcp_sum = int.from_bytes(key + options, "big") + seq + ack + offset_flags + window
    ttl_protocol = ttl << 8 | at.PROTO_TCP
    head = at.BOTH_HEADERS.pack(
        at.IPV4_NO_OPTIONS << 8,
        total,
        0,
        at.DONT_FRAGMENT,
        ttl_protocol,
        -(ip_sum + (at.IPV4_NO_OPTIONS << 8) + total + at.DONT_FRAGMENT + ttl_protocol) % MODULUS,
        key,
        seq,
        ack,
        offset_flags,
        window,
        -(tcp_sum + at.PROTO_TCP + tcp_bytes) % MODULUS,
        0,
    )
    return head + options


def port_unreachable(refused: bytes) -> bytes:
    """The ICMP "port unreachable" that answers the packet `refused`, from the address the client sent it to."""
    header = bytes((at.ICMP_UNREACHABLE, at.ICMP_CODE_PORT, 0, 0, 0, 0, 0, 0))
    message = header + refused[:_ICMP_QUOTE_BYTES]
    return ip_packet(refused[at.DESTINATION], refused[at.SOURCE], at.PROTO_ICMP, with_icmp_checksum(message))


def with_icmp_checksum(message: bytes) -> bytes:
    """An ICMP message whose checksum field is zero, with the right checksum in it."""
    field = at.ICMP_CHECKSUM
    return message[: field.start] + checksum(message).to_bytes(2, "big") + message[field.stop :]
