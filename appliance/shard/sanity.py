"""What a packet must be before anything is done for it: whole, IPv4, without IP options, with flags that make sense."""

from appliance.model.verdict import Verdict
from appliance.model.verdicts import BAD_HEADER, FRAGMENT, IP_OPTIONS, SHORT_HEADER, TRUNCATED
from appliance.wire.layout import (
    ACK,
    DATA_OFFSET_SHIFT,
    FIN,
    FLAG_BITS,
    FRAGMENT_BITS,
    FRAGMENT_FIELD,
    IP_HEADER_BYTES,
    IPV4_NO_OPTIONS,
    OPTIONS_START,
    PROTO_TCP,
    PROTOCOL,
    PSH,
    RST,
    SYN,
    TCP_HEADER_BYTES,
    TOTAL_LENGTH,
    URG,
)

_SENSIBLE_FLAGS = frozenset(
    (SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG)
)  # fmt: skip
"""The combinations that the kernel's connection tracking accepts; PSH may go with each."""

OFFSET_AND_FLAGS = 0xF << DATA_OFFSET_SHIFT | FLAG_BITS
"""The bits of `HEADERS_BYTES`."""

HEADERS_BYTES = {
    words << DATA_OFFSET_SHIFT | flags: IP_HEADER_BYTES + 4 * words
    for words in range(TCP_HEADER_BYTES // 4, 16)
    for flags in range(FLAG_BITS + 1)
    if flags & ~PSH in _SENSIBLE_FLAGS
}
"""By data offset and flags that any host sends: where the data begins, in bytes from the start of the packet."""

NEVER_FITS = 1 << 16
"""In the place of that for all others: more bytes than any packet has."""


def whole_packet_verdict(raw: bytes) -> Verdict | None:
    """Why the bytes are no whole IPv4 packet without options, with a whole TCP header if it is TCP; None when they are."""
    if len(raw) < IP_HEADER_BYTES:
        return SHORT_HEADER
    version_ihl = raw[0]
    if version_ihl < IPV4_NO_OPTIONS or version_ihl >> 4 != 4:
        return BAD_HEADER
    if version_ihl != IPV4_NO_OPTIONS:
        return IP_OPTIONS
    total, fragment = int.from_bytes(raw[TOTAL_LENGTH], "big"), int.from_bytes(raw[FRAGMENT_FIELD], "big")
    if fragment & FRAGMENT_BITS:
        return FRAGMENT
    if total > len(raw):
        return TRUNCATED
    if total < len(raw):
        return BAD_HEADER
    return SHORT_HEADER if raw[PROTOCOL] == PROTO_TCP and total < OPTIONS_START else None
