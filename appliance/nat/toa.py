"""The client-address option (TOA): the client's port and address in a TCP option in front of all others. LVS behaviour 3.6.

A real server that knows the option sees who its client is although the packet comes from a local address. It looks at the
packet that completes the handshake, so the option rides on every client packet until the client has acknowledged the real
server's first byte: by then the real server has seen one. A RST makes no socket and carries none.
"""

from struct import Struct

from appliance.wire.family import IPV4, PORT_BYTES
from appliance.wire.flow import split_endpoint
from appliance.wire.options import MOST_BYTES, squeeze

OPTION_BYTES = 2 + IPV4.endpoint_bytes
"""Kind, length, port, IPv4 address."""

_pack = Struct(f"!BB{PORT_BYTES}s{IPV4.address_bytes}s").pack


def client_option(kind: int, client: bytes) -> bytes | None:
    """The option for a client's endpoint; None for an address of a family that has no such option."""
    if len(client) != IPV4.endpoint_bytes:
        return None
    address, port = split_endpoint(client)
    return _pack(kind, OPTION_BYTES, port, address)


def put_first(option: bytes, options: bytes) -> bytes | None:
    """`options` with `option` in front; None when the forty bytes that there are cannot hold both."""
    if len(options) > MOST_BYTES - OPTION_BYTES:
        squeezed = squeeze(options, MOST_BYTES - OPTION_BYTES)
        return None if squeezed is None else option + squeezed
    return option + options
