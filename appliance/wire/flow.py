"""Flows: addresses, endpoints and keys as bytes in network order. The only file that takes them apart.

A flow's key is the source address, destination address, source port and destination port, as they stand in the packet: for
IPv4 the 12 bytes of one slice of it. That slice is the key of every table. An endpoint is an address and a port, six bytes
for IPv4. Which family bytes belong to is told by their number (see `wire.family`).
"""

from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from appliance.wire.family import FAMILIES, IPV4, PORT_BYTES

KEY_BYTES = IPV4.key_bytes
"""Of the flows that the packet path carries."""

KEY_FORMAT = f"{KEY_BYTES}s"
"""A key of such a flow, for `struct`."""

PARTS_FORMAT = f"{IPV4.address_bytes}s{IPV4.address_bytes}s{PORT_BYTES}s{PORT_BYTES}s"
"""The four parts of such a key, for `struct`."""

FIRST_KEY = bytes(KEY_BYTES)
"""The smallest of all keys."""

_PORTS_BYTES = 2 * PORT_BYTES
PORTS_BITS = 8 * _PORTS_BYTES
"""The lower bits of a key that is read as one number: both ports."""
_cut_key = {family.key_bytes: family.cut_key for family in FAMILIES}
_cut_endpoint = {family.endpoint_bytes: family.cut_endpoint for family in FAMILIES}


class Direction(IntEnum):
    """Which way a packet goes. The value is an index: one body serves both directions."""

    INBOUND = 0
    """Client to real server."""
    OUTBOUND = 1
    """Real server to client."""


def pack_endpoint(address: IPv4Address | IPv6Address, port: int) -> bytes:
    """The endpoint of an address and a port, the key of services and real servers."""
    return address.packed + port.to_bytes(PORT_BYTES, "big")


def local_endpoint(address: bytes, port: int) -> bytes:
    """The endpoint of an address that is bytes already, and a port."""
    return address + port.to_bytes(PORT_BYTES, "big")


def split_endpoint(endpoint: bytes) -> tuple[bytes, bytes]:
    """Address and port of an endpoint, as bytes. Raises KeyError when it is of no family."""
    return _cut_endpoint[len(endpoint)](endpoint)


def flow_key(source: bytes, destination: bytes) -> bytes:
    """The key of packets from one endpoint to another of the same family."""
    cut = _cut_endpoint[len(source)]
    (from_address, from_port), (to_address, to_port) = cut(source), cut(destination)
    return from_address + to_address + from_port + to_port


def flow_from(address: bytes, port: int, destination: bytes) -> bytes:
    """The key of packets from a port of an address, which is bytes already, to an endpoint of the same family."""
    to_address, to_port = _cut_endpoint[len(destination)](destination)
    return b"".join((address, to_address, port.to_bytes(PORT_BYTES, "big"), to_port))


def reverse_key(key: bytes) -> bytes:
    """The key of the answer to a packet with this one."""
    source, destination, source_port, destination_port = _cut_key[len(key)](key)
    return destination + source + destination_port + source_port


def parts_of(key: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Source address, destination address, source port and destination port."""
    return _cut_key[len(key)](key)


def source_of(key: bytes) -> bytes:
    """The endpoint that a packet comes from."""
    address, _, port, _ = _cut_key[len(key)](key)
    return address + port


def destination_of(key: bytes) -> bytes:
    """The endpoint that a packet is sent to."""
    _, address, _, port = _cut_key[len(key)](key)
    return address + port


def source_address_of(key: bytes) -> bytes:
    """The address that a packet comes from."""
    return _cut_key[len(key)](key)[0]


def source_port_of(key: bytes) -> int:
    """The port that a packet comes from."""
    return int.from_bytes(_cut_key[len(key)](key)[2], "big")


def addresses_of(key: bytes) -> bytes:
    """Source and destination address without the ports: what an IP header and a pseudo header have of a key."""
    return key[:-_PORTS_BYTES]


def split_pool_key(key: bytes) -> tuple[bytes, bytes]:
    """The local address and the real server's endpoint, of the two written one behind the other."""
    for family in FAMILIES:
        if len(key) == family.address_bytes + family.endpoint_bytes:
            return key[: family.address_bytes], key[family.address_bytes :]
    raise KeyError(len(key))
