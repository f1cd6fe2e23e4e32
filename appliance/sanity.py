"""What a packet must be before anything looks for its session: whole, IPv4, without IP options."""

from appliance.verdict import BAD_HEADER, FRAGMENT, IP_OPTIONS, TRUNCATED, Verdict
from appliance.wire.layout import FRAGMENT_BITS, IP_HEADER_BYTES, IPV4_NO_OPTIONS, PROTO_TCP


def whole_packet_verdict(raw: bytes) -> Verdict | None:
    """Why the bytes are no whole IPv4 packet without options; None when they are one."""
    if len(raw) < IP_HEADER_BYTES or raw[0] >> 4 != 4:
        return BAD_HEADER
    if raw[0] != IPV4_NO_OPTIONS:
        return IP_OPTIONS
    total, fragment = int.from_bytes(raw[2:4], "big"), int.from_bytes(raw[6:8], "big")
    if fragment & FRAGMENT_BITS:
        return FRAGMENT
    if total > len(raw):
        return TRUNCATED
    if total < len(raw) or raw[9] == PROTO_TCP:
        return BAD_HEADER
    return None
