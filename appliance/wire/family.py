"""Address families as data: how long an address is, and what a flow's key and an endpoint are made of.

`wire.flow` is the only file that uses this; everything else asks `wire.flow`. The packet path carries IPv4 only. IPv6 stands
here so that no code outside has to change its idea of an address.
"""

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple, cast

PORT_BYTES = 2


class Family(NamedTuple):
    """One address family. A flow's key is source address, destination address, source port, destination port."""

    version: int
    """Of the IP header: 4 or 6."""
    address_bytes: int
    endpoint_bytes: int
    """Of an address and a port."""
    key_bytes: int
    cut_endpoint: Callable[[bytes], tuple[bytes, bytes]]
    """Address and port of an endpoint."""
    cut_key: Callable[[bytes], tuple[bytes, bytes, bytes, bytes]]
    """The four parts of a key."""


def _family(version: int, address_bytes: int) -> Family:
    endpoint = Struct(f"{address_bytes}s{PORT_BYTES}s")
    key = Struct(f"{address_bytes}s{address_bytes}s{PORT_BYTES}s{PORT_BYTES}s")
    cut_endpoint = cast("Callable[[bytes], tuple[bytes, bytes]]", endpoint.unpack)
    cut_key = cast("Callable[[bytes], tuple[bytes, bytes, bytes, bytes]]", key.unpack)
    return Family(version, address_bytes, endpoint.size, key.size, cut_endpoint, cut_key)


IPV4 = _family(4, 4)
IPV6 = _family(6, 16)
FAMILIES = (IPV4, IPV6)
