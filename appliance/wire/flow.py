"""The nouns everything else is told in: direction, addresses, keys, time.

Time is `now`: seconds of a monotonic clock as a float, always passed in. Addresses on the packet path are bytes in network
order; a flow is the 12 bytes of source address, destination address, source port, destination port, as they stand in the
packet, and that slice is the key of every table.
"""

from enum import IntEnum
from ipaddress import IPv4Address


class Direction(IntEnum):
    """Which way a packet goes. It is an index: one body serves both directions."""

    INBOUND = 0
    """Client to real server."""
    OUTBOUND = 1
    """Real server to client."""


def pack_endpoint(address: IPv4Address, port: int) -> bytes:
    """Six bytes of address and port, the key of services and real servers."""
    return address.packed + port.to_bytes(2, "big")


def flow_key(source: bytes, destination: bytes) -> bytes:
    """The 12 address bytes of a packet from one six-byte endpoint to another."""
    return source[:4] + destination[:4] + source[4:] + destination[4:]


def reverse_key(addresses: bytes) -> bytes:
    """The 12 address bytes of the answer to a packet with these."""
    return addresses[4:8] + addresses[:4] + addresses[10:12] + addresses[8:10]


def destination_of(addresses: bytes) -> bytes:
    """The six-byte endpoint a packet is sent to."""
    return addresses[4:8] + addresses[10:12]


def source_of(addresses: bytes) -> bytes:
    """The six-byte endpoint a packet comes from."""
    return addresses[:4] + addresses[8:10]
