"""New packets of our own: RST segments and ICMP errors. Each is complete, with right checksums, ready for a raw socket."""

from appliance.wire import layout as at
from appliance.wire.checksum import checksum, pseudo_header_sum
from appliance.wire.seq import MASK as SEQ_MASK

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


def rst(addresses: bytes, seq: int) -> bytes:
    """A bare RST for the flow of the 12 address bytes: no ACK flag, window 0, no options.

    RFC 5961, 3.2: the receiver obeys only when `seq` is exactly the next number it expects, so the caller must know it.
    """
    return _bare_segment(addresses, at.RST, seq, 0)


def refusal(addresses: bytes, syn_seq: int) -> bytes:
    """The RST for the flow of the 12 address bytes that answers a SYN with this number (RFC 9293, 3.5.2)."""
    return _bare_segment(addresses, at.RST | at.ACK, 0, (syn_seq + 1) & SEQ_MASK)


def challenge_ack(addresses: bytes, seq: int, ack: int, window: int) -> bytes:
    """An ACK that asks its receiver whether it still knows the connection (RFC 5961, 4.2); one that does not answers RST.

    One that does takes `window`, the field as it stands in packets, for a new one: it has to be the last one it was given.
    """
    return _bare_segment(addresses, at.ACK, seq, ack, window)


def _bare_segment(addresses: bytes, flags: int, seq: int, ack: int, window: int = 0) -> bytes:
    ports = int.from_bytes(addresses[8:10], "big"), int.from_bytes(addresses[10:12], "big")
    offset_flags = at.LEAST_OFFSET_FLAGS | flags
    bare = at.TCP_HEADER.pack(*ports, seq, ack, offset_flags, window, 0, 0)
    total = checksum(bare, pseudo_header_sum(addresses, at.PROTO_TCP, len(bare)))
    segment = at.TCP_HEADER.pack(*ports, seq, ack, offset_flags, window, total, 0)
    return ip_packet(addresses[:4], addresses[4:8], at.PROTO_TCP, segment)


def port_unreachable(refused: bytes) -> bytes:
    """The ICMP "port unreachable" that answers the packet `refused`, from the address the client sent it to."""
    header = bytes((at.ICMP_UNREACHABLE, at.ICMP_CODE_PORT, 0, 0, 0, 0, 0, 0))
    message = header + refused[:_ICMP_QUOTE_BYTES]
    total = checksum(message).to_bytes(2, "big")
    source, destination = refused[16:20], refused[12:16]
    return ip_packet(source, destination, at.PROTO_ICMP, message[:2] + total + message[4:])
