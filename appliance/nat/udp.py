"""UDP datagrams of a session: addresses, ports and both checksums, the same body for both directions. LVS behaviour 3.11."""

from appliance.state.rewrite_record import RewriteRecord
from appliance.wire.checksum import MODULUS
from appliance.wire.layout import REWRITTEN_START, UDP_CHECKSUM_OF_ZERO, UDP_HEADERS, UDP_REWRITTEN, UDP_REWRITTEN_END

_unpack = UDP_HEADERS.unpack_from
_pack = UDP_REWRITTEN.pack


def translate_datagram(raw: bytes, record: RewriteRecord) -> bytes:
    """The datagram `raw` as `record` wants it. Raises struct.error when `raw` is shorter than an IPv4 and a UDP header.

    `raw` starts with an IPv4 header without options. Its data may be cut short, as in the quote of an ICMP error: nothing
    behind the UDP header is looked at. A checksum of 0 stays 0, for the sender computed none (RFC 768).
    """
    key, ip_delta, udp_delta, *_ = record
    ip_checksum, length, udp_checksum = _unpack(raw)
    if udp_checksum:
        udp_checksum = (udp_checksum + udp_delta) % MODULUS or UDP_CHECKSUM_OF_ZERO
    head = _pack((ip_checksum + ip_delta) % MODULUS, key, length, udp_checksum)
    return b"".join((raw[:REWRITTEN_START], head, raw[UDP_REWRITTEN_END:]))
