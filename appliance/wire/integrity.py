"""Whether a packet is what its sender sent: checksums and lengths."""

from appliance.wire.checksum import MODULUS, word_sum
from appliance.wire.layout import ADDRESSES_START, IP_HEADER_BYTES, PROTO_TCP, UDP_HEADER_BYTES, UDP_LENGTH


def is_damaged(raw: bytes) -> bool:
    """Whether the checksum of a whole TCP packet is wrong.

    A packet that is only rewritten keeps a wrong checksum wrong, and its receiver drops it. But a packet that is built from a
    damaged one, or sent because of it, would look sound: so whoever does that asks here first.
    """
    segment_bytes = len(raw) - IP_HEADER_BYTES
    # The pseudo header's addresses are those of the IP header, right in front of the segment: one sum has them all.
    return (word_sum(raw[ADDRESSES_START:]) + PROTO_TCP + segment_bytes) % MODULUS != 0


def has_udp_length(raw: bytes) -> bool:
    """Whether the length in the UDP header of a whole packet is one that it can have (RFC 768)."""
    return UDP_HEADER_BYTES <= int.from_bytes(raw[UDP_LENGTH], "big") <= len(raw) - IP_HEADER_BYTES
