"""One packet as one line in the manner of tcpdump: for logs, the API and failing tests. Never on the packet path."""

from ipaddress import ip_address

from appliance.wire import layout as at
from appliance.wire.family import IPV4
from appliance.wire.flow import destination_of, source_of, split_endpoint

_SHOWN_BYTES = 24
"""How much is shown of what cannot be read."""

_FLAG_LETTERS = ((at.FIN, "F"), (at.SYN, "S"), (at.RST, "R"), (at.PSH, "P"), (at.ACK, "."), (at.URG, "U"))


def show_address(address: bytes) -> str:
    """``203.0.113.10`` from the bytes of an address. Views may show a million: this takes a third of what IPv4Address takes."""
    if len(address) != IPV4.address_bytes:
        return str(ip_address(address))
    first, second, third, fourth = address
    return f"{first}.{second}.{third}.{fourth}"


def show_endpoint(endpoint: bytes) -> str:
    """``203.0.113.10:80``, or ``[2001:db8::1]:80``."""
    address, port = split_endpoint(endpoint)
    shown = show_address(address)
    return f"{shown if len(address) == IPV4.address_bytes else f'[{shown}]'}:{int.from_bytes(port, 'big')}"


def show_flow(key: bytes) -> str:
    """``198.51.100.2:40000 > 203.0.113.10:80``."""
    return f"{show_endpoint(source_of(key))} > {show_endpoint(destination_of(key))}"


def show(raw: bytes) -> str:
    """One line for any bytes; what is no IPv4 TCP packet with its header is described as far as it can be read."""
    if len(raw) < at.QUOTED_MIN_BYTES or raw[0] != at.IPV4_NO_OPTIONS:
        return f"{len(raw)} bytes, no plain IPv4 TCP packet: {raw[:_SHOWN_BYTES].hex()}"
    if raw[at.PROTOCOL] != at.PROTO_TCP or len(raw) < at.HEADERS.size:
        return _show_other(raw)
    _, total, fragment, _, _, key, seq, ack, offset_flags, window, _ = at.HEADERS.unpack_from(raw)
    if fragment & at.FRAGMENT_BITS:
        return _show_other(raw)
    flags = "".join(letter for bit, letter in _FLAG_LETTERS if offset_flags & bit) or "none"
    payload = total - at.IP_HEADER_BYTES - 4 * (offset_flags >> at.DATA_OFFSET_SHIFT)
    return f"{show_flow(key)} [{flags}] seq {seq} ack {ack} win {window} len {payload}"


def _show_other(raw: bytes) -> str:
    """An IPv4 packet that is no TCP, is a fragment, or ends inside its TCP header."""
    total, fragment = (int.from_bytes(raw[field], "big") for field in (at.TOTAL_LENGTH, at.FRAGMENT_FIELD))
    protocol, addresses = raw[at.PROTOCOL], f"{show_address(raw[at.SOURCE])} > {show_address(raw[at.DESTINATION])}"
    if fragment & at.FRAGMENT_BITS:
        return f"{addresses} fragment at {8 * (fragment & at.FRAGMENT_OFFSET_BITS)} of protocol {protocol}, {total} bytes"
    if protocol == at.PROTO_UDP:
        return f"{show_flow(raw[at.ADDRESSES_START : at.ADDRESSES_END])} UDP, {total} bytes"
    if protocol == at.PROTO_ICMP:
        kind, code = raw[at.IP_HEADER_BYTES], raw[at.IP_HEADER_BYTES + 1]
        return f"{addresses} ICMP type {kind} code {code}, {total} bytes"
    return f"{addresses} protocol {protocol}, {total} bytes"
