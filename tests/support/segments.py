"""Packets in one line, built and read by dpkt, so that tests never check our wire code with itself."""

from dataclasses import dataclass

import dpkt

from appliance.model import destination_of, source_of

_FLAGS = {"F": 0x01, "S": 0x02, "R": 0x04, "P": 0x08, "A": 0x10, "U": 0x20}


def tcp(
    source: bytes,
    destination: bytes,
    flags: str,
    *,
    seq: int = 0,
    ack: int = 0,
    data: bytes = b"",
    window: int = 64240,
    options: bytes = b"",
    ttl: int = 64,
) -> bytes:
    """An IPv4 TCP packet between two six-byte endpoints; flags as tcpdump letters ("SA", "PA", "" for none)."""
    segment = dpkt.tcp.TCP(
        sport=int.from_bytes(source[4:], "big"),
        dport=int.from_bytes(destination[4:], "big"),
        seq=seq,
        ack=ack,
        flags=sum(_FLAGS[letter] for letter in flags),
        win=window,
        opts=options,
        off=5 + len(options) // 4,
        data=data,
    )
    packet = dpkt.ip.IP(src=source[:4], dst=destination[:4], p=dpkt.ip.IP_PROTO_TCP, ttl=ttl, id=7, data=segment)
    packet.df = 1
    packet.len = 20 + len(bytes(segment))
    return bytes(packet)


def icmp_error(source: bytes, destination: bytes, quoted: bytes, *, kind: int = 3, code: int = 4, mtu: int = 1400) -> bytes:
    """An ICMP error from one four-byte address to another that quotes a packet."""
    message = dpkt.icmp.ICMP(type=kind, code=code, data=b"\0\0" + mtu.to_bytes(2, "big") + quoted)
    packet = dpkt.ip.IP(src=source, dst=destination, p=dpkt.ip.IP_PROTO_ICMP, ttl=64, id=9, data=message)
    packet.len = 20 + len(bytes(message))
    return bytes(packet)


@dataclass(frozen=True)
class Seen:
    """What a packet turned out to be."""

    source: bytes
    destination: bytes
    flags: str
    seq: int
    ack: int
    data: bytes
    ttl: int
    raw: bytes


def read_tcp(raw: bytes) -> Seen:
    """Parse with dpkt. Fails when either checksum or the length is wrong, always."""
    packet = dpkt.ip.IP(raw)
    assert packet.len == len(raw), f"IP length {packet.len}, packet {len(raw)}"
    assert_ip_checksum(raw)
    assert_tcp_checksum(raw)
    segment = packet.data
    addresses = raw[12:24]
    flags = "".join(letter for letter, bit in _FLAGS.items() if segment.flags & bit)
    return Seen(source_of(addresses), destination_of(addresses), flags, segment.seq, segment.ack, segment.data, packet.ttl, raw)


def assert_ip_checksum(raw: bytes) -> None:
    """The header checksum is what dpkt says it is."""
    assert dpkt.in_cksum(raw[: (raw[0] & 15) * 4]) == 0, "wrong IP header checksum"


def assert_tcp_checksum(raw: bytes) -> None:
    """The TCP checksum is what dpkt says it is."""
    segment = raw[20:]
    pseudo = raw[12:20] + b"\0\6" + len(segment).to_bytes(2, "big")
    assert dpkt.in_cksum(pseudo + segment) == 0, "wrong TCP checksum"
