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
    """One line for any bytes; what is no whole IPv4 TCP packet is described as far as it can be read."""
    if len(raw) < at.HEADERS.size or raw[0] != at.IPV4_NO_OPTIONS:
        return f"{len(raw)} bytes, no plain IPv4 TCP packet: {raw[:_SHOWN_BYTES].hex()}"
    _, total, fragment, protocol, _, key, seq, ack, offset_flags, window, _ = at.HEADERS.unpack_from(raw)
    if protocol != at.PROTO_TCP or fragment & at.FRAGMENT_BITS:
        return f"{show_address(raw[at.SOURCE])} > {show_address(raw[at.DESTINATION])} protocol {protocol}, {total} bytes"
    flags = "".join(letter for bit, letter in _FLAG_LETTERS if offset_flags & bit) or "none"
    payload = total - at.IP_HEADER_BYTES - 4 * (offset_flags >> at.DATA_OFFSET_SHIFT)
    return f"{show_flow(key)} [{flags}] seq {seq} ack {ack} win {window} len {payload}"
