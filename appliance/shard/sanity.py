"""What a packet must be before anything is done for it: whole, IPv4, without IP options, with flags that make sense."""

from appliance.model.verdicts import BAD_HEADER, FRAGMENT, IP_OPTIONS, SHORT_HEADER, TRUNCATED, Verdict
from appliance.wire.checksum import MODULUS, word_sum
from appliance.wire.layout import (
    ACK,
    ADDRESSES_START,
    FIN,
    FLAG_BITS,
    FRAGMENT_BITS,
    IP_HEADER_BYTES,
    IPV4_NO_OPTIONS,
    PROTO_TCP,
    PSH,
    RST,
    SYN,
    UDP_HEADER_BYTES,
    URG,
)

_SENSIBLE_FLAGS = frozenset(
    (SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG)
)  # fmt: skip
"""As the kernel's connection tracking has them; PSH goes with all."""

_UDP_LENGTH = IP_HEADER_BYTES + 4

ARE_SENSIBLE = bytes((flags & ~PSH) in _SENSIBLE_FLAGS for flags in range(FLAG_BITS + 1))
"""By the six flags of a segment: whether any host sends them together."""


def whole_packet_verdict(raw: bytes) -> Verdict | None:
    """Why the bytes are no whole IPv4 packet without options; None when they are one, and not TCP."""
    if len(raw) < IP_HEADER_BYTES:
        return SHORT_HEADER
    if raw[0] < IPV4_NO_OPTIONS or raw[0] >> 4 != 4:
        return BAD_HEADER
    if raw[0] != IPV4_NO_OPTIONS:
        return IP_OPTIONS
    total, fragment = int.from_bytes(raw[2:4], "big"), int.from_bytes(raw[6:8], "big")
    if fragment & FRAGMENT_BITS:
        return FRAGMENT
    if total > len(raw):
        return TRUNCATED
    if total < len(raw):
        return BAD_HEADER
    return SHORT_HEADER if raw[9] == PROTO_TCP else None


def is_damaged(raw: bytes) -> bool:
    """Whether the checksum of a whole TCP packet is wrong.

    Packets that are only rewritten keep a wrong checksum wrong, and their receiver finds out. What is built anew from one, or
    done because of it, nobody could tell from the real thing.
    """
    segment_bytes = len(raw) - IP_HEADER_BYTES
    # The pseudo header's addresses are those of the IP header, right in front of the segment: one sum has them all.
    return (word_sum(raw[ADDRESSES_START:]) + PROTO_TCP + segment_bytes) % MODULUS != 0


def has_udp_length(raw: bytes) -> bool:
    """Whether the length in the UDP header of a whole packet is one that it can have (RFC 768)."""
    return UDP_HEADER_BYTES <= int.from_bytes(raw[_UDP_LENGTH : _UDP_LENGTH + 2], "big") <= len(raw) - IP_HEADER_BYTES
