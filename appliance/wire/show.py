"""One packet as one line in the manner of tcpdump: for logs, the API and failing tests. Never on the packet path."""

from ipaddress import IPv4Address

from appliance.wire import layout as at

_FLAG_LETTERS = ((at.FIN, "F"), (at.SYN, "S"), (at.RST, "R"), (at.PSH, "P"), (at.ACK, "."), (at.URG, "U"))


def show_address(address: bytes) -> str:
    """``203.0.113.10`` from four bytes; there may be a million to show, and this takes a third of what IPv4Address takes."""
    first, second, third, fourth = address
    return f"{first}.{second}.{third}.{fourth}"


def show_endpoint(address: bytes, port: bytes) -> str:
    """``203.0.113.10:80`` from four and two bytes."""
    return f"{show_address(address)}:{int.from_bytes(port, 'big')}"


def show_flow(addresses: bytes) -> str:
    """``198.51.100.2:40000 > 203.0.113.10:80`` from the 12 address bytes."""
    return f"{show_endpoint(addresses[:4], addresses[8:10])} > {show_endpoint(addresses[4:8], addresses[10:12])}"


def show(raw: bytes) -> str:
    """One line for any bytes; what is no whole IPv4 TCP packet is described as far as it can be read."""
    if len(raw) < at.HEADERS.size or raw[0] != at.IPV4_NO_OPTIONS:
        return f"{len(raw)} bytes, no plain IPv4 TCP packet: {raw[:24].hex()}"
    _, total, fragment, protocol, _, addresses, seq, ack, offset_flags, window, _ = at.HEADERS.unpack_from(raw)
    if protocol != at.PROTO_TCP or fragment & at.FRAGMENT_BITS:
        return f"{IPv4Address(addresses[:4])} > {IPv4Address(addresses[4:8])} protocol {protocol}, {total} bytes"
    flags = "".join(letter for bit, letter in _FLAG_LETTERS if offset_flags & bit) or "none"
    payload = total - at.IP_HEADER_BYTES - 4 * (offset_flags >> at.DATA_OFFSET_SHIFT)
    return f"{show_flow(addresses)} [{flags}] seq {seq} ack {ack} win {window} len {payload}"
