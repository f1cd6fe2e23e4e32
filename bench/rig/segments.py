"""TCP packets for programs that measure a shard without a kernel."""

import struct

from appliance.wire import layout as at
from appliance.wire.checksum import checksum, pseudo_header_sum
from appliance.wire.craft import ip_packet

VIP = bytes((203, 0, 113, 10)) + (80).to_bytes(2, "big")


def segment(addresses: bytes, flags: int, payload: bytes = b"", seq: int = 1000, ack: int = 2000) -> bytes:
    """A TCP packet of the flow, with right checksums."""
    ports = struct.unpack("!HH", addresses[8:])
    bare = at.TCP_HEADER.pack(*ports, seq, ack, 5 << at.DATA_OFFSET_SHIFT | flags, 64240, 0, 0) + payload
    total = checksum(bare, pseudo_header_sum(addresses, at.PROTO_TCP, len(bare)))
    return ip_packet(addresses[:4], addresses[4:8], at.PROTO_TCP, bare[:16] + total.to_bytes(2, "big") + bare[18:])
