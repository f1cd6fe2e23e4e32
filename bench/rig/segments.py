"""TCP packets for programs that measure a shard without a kernel."""

from ipaddress import IPv4Address

from appliance.wire import layout as at
from appliance.wire.checksum import checksum, pseudo_header_sum
from appliance.wire.craft import ip_packet
from appliance.wire.flow import addresses_of, destination_of, pack_endpoint, source_of, split_endpoint

VIP = pack_endpoint(IPv4Address("203.0.113.10"), 80)


def segment(key: bytes, flags: int, payload: bytes = b"", seq: int = 1000, ack: int = 2000, options: bytes = b"") -> bytes:
    """A TCP packet of the flow `key`, with right checksums. `options` are a multiple of four bytes."""
    (source, source_port), (destination, destination_port) = split_endpoint(source_of(key)), split_endpoint(destination_of(key))
    ports = int.from_bytes(source_port, "big"), int.from_bytes(destination_port, "big")
    offset = (at.TCP_HEADER_BYTES + len(options)) // 4 << at.DATA_OFFSET_SHIFT
    bare = at.TCP_HEADER.pack(*ports, seq, ack, offset | flags, 64240, 0, 0) + options + payload
    total = checksum(bare, pseudo_header_sum(addresses_of(key), at.PROTO_TCP, len(bare)))
    return ip_packet(source, destination, at.PROTO_TCP, bare[:16] + total.to_bytes(2, "big") + bare[18:])
