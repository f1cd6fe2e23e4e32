"""Packets built and read by dpkt, so that tests do not check the code of `appliance.wire` with itself."""

from dataclasses import dataclass

import dpkt

from appliance.wire.flow import destination_of, source_of

_FLAGS = {"F": 0x01, "S": 0x02, "R": 0x04, "P": 0x08, "A": 0x10, "U": 0x20, "E": 0x40, "W": 0x80}


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


def udp(source: bytes, destination: bytes, data: bytes = b"", *, with_checksum: bool = True, ttl: int = 64) -> bytes:
    """An IPv4 UDP packet between two six-byte endpoints."""
    ports = {"sport": int.from_bytes(source[4:], "big"), "dport": int.from_bytes(destination[4:], "big")}
    datagram = dpkt.udp.UDP(**ports, ulen=8 + len(data), data=data)
    # dpkt computes a checksum for what it knows as a datagram, and leaves bytes alone.
    body = datagram if with_checksum else bytes(datagram)
    packet = dpkt.ip.IP(src=source[:4], dst=destination[:4], p=dpkt.ip.IP_PROTO_UDP, ttl=ttl, id=8, data=body)
    packet.len = 28 + len(data)
    return bytes(packet)


def icmp_error(
    source: bytes,
    destination: bytes,
    quoted: bytes,
    *,
    kind: int = 3,
    code: int = 4,
    mtu: int = 1400,
    quote_words: int = 0,
    extensions: bytes = b"",
) -> bytes:
    """An ICMP error from one four-byte address to another that quotes a packet.

    With `quote_words` the quote is padded to so many times 4 bytes, and RFC 4884 extensions may follow it.
    """
    quoted = quoted.ljust(4 * quote_words, b"\0")
    data = bytes((0, quote_words)) + mtu.to_bytes(2, "big") + quoted + extensions
    message = dpkt.icmp.ICMP(type=kind, code=code, data=data)
    packet = dpkt.ip.IP(src=source, dst=destination, p=dpkt.ip.IP_PROTO_ICMP, ttl=64, id=9, data=message)
    packet.len = 20 + len(bytes(message))
    return bytes(packet)


_MORE_FRAGMENTS = 0x2000


def fragments(packet: bytes, payload_bytes: int) -> list[bytes]:
    """The parts of a packet without IP options, in order, each with so many bytes (a multiple of 8) after its IP header."""
    header, payload = packet[:20], packet[20:]
    parts = []
    for offset in range(0, len(payload), payload_bytes):
        part = payload[offset : offset + payload_bytes]
        more = _MORE_FRAGMENTS if offset + payload_bytes < len(payload) else 0
        length, where = (20 + len(part)).to_bytes(2, "big"), (more | offset // 8).to_bytes(2, "big")
        bare = header[:2] + length + header[4:6] + where + header[8:10] + b"\0\0" + header[12:]
        parts.append(bare[:10] + dpkt.in_cksum(bare).to_bytes(2, "big") + bare[12:] + part)
    return parts


@dataclass(frozen=True)
class Seen:
    """A TCP packet that was read. Source and destination are address and port, six bytes."""

    source: bytes
    destination: bytes
    flags: str
    seq: int
    ack: int
    data: bytes
    ttl: int
    raw: bytes


def read_tcp(raw: bytes) -> Seen:
    """Parse a TCP packet with dpkt. Raises AssertionError when a checksum or the length is wrong."""
    packet = dpkt.ip.IP(raw)
    assert packet.len == len(raw), f"IP length {packet.len}, packet {len(raw)}"
    assert_ip_checksum(raw)
    assert_tcp_checksum(raw)
    segment = packet.data
    addresses = raw[12:24]
    flags = "".join(letter for letter, bit in _FLAGS.items() if segment.flags & bit)
    return Seen(source_of(addresses), destination_of(addresses), flags, segment.seq, segment.ack, segment.data, packet.ttl, raw)


@dataclass(frozen=True)
class SeenDatagram:
    """A UDP packet that was read. Source and destination are address and port, six bytes."""

    source: bytes
    destination: bytes
    data: bytes
    checksum: int
    ttl: int
    raw: bytes


def read_udp(raw: bytes) -> SeenDatagram:
    """Parse a UDP packet with dpkt. Raises AssertionError when a length or a checksum is wrong; a UDP checksum of 0 is right."""
    packet = dpkt.ip.IP(raw)
    assert (packet.p, packet.len) == (dpkt.ip.IP_PROTO_UDP, len(raw)), f"protocol {packet.p}, IP length {packet.len}"
    assert_ip_checksum(raw)
    assert_udp_checksum(raw)
    datagram = packet.data
    assert datagram.ulen == len(raw) - 20, f"UDP length {datagram.ulen}"
    addresses = raw[12:24]
    return SeenDatagram(source_of(addresses), destination_of(addresses), datagram.data, datagram.sum, packet.ttl, raw)


@dataclass(frozen=True)
class SeenError:
    """An ICMP error that was read. Addresses have four bytes; `quoted` is everything after the ICMP header."""

    source: bytes
    destination: bytes
    kind: int
    code: int
    quote_words: int
    mtu: int
    quoted: bytes


def read_icmp_error(raw: bytes) -> SeenError:
    """Parse an ICMP error with dpkt. Raises AssertionError when its length or a checksum is wrong, also that of the quoted IP
    header."""
    packet = dpkt.ip.IP(raw)
    assert (packet.p, packet.len) == (dpkt.ip.IP_PROTO_ICMP, len(raw)), f"protocol {packet.p}, IP length {packet.len}"
    assert_ip_checksum(raw)
    assert dpkt.in_cksum(raw[20:]) == 0, "wrong ICMP checksum"
    assert_ip_checksum(raw[28:])
    message = packet.data
    mtu = int.from_bytes(raw[26:28], "big")
    return SeenError(packet.src, packet.dst, message.type, message.code, raw[25], mtu, raw[28:])


def options_of(seen: Seen) -> bytes:
    """The TCP options of a segment."""
    return seen.raw[40 : 20 + 4 * (seen.raw[32] >> 4)]


def assert_ip_checksum(raw: bytes) -> None:
    """Check the IP header checksum with dpkt."""
    assert dpkt.in_cksum(raw[: (raw[0] & 15) * 4]) == 0, "wrong IP header checksum"


def assert_tcp_checksum(raw: bytes) -> None:
    """Check the TCP checksum with dpkt."""
    segment = raw[20:]
    pseudo = raw[12:20] + b"\0\6" + len(segment).to_bytes(2, "big")
    assert dpkt.in_cksum(pseudo + segment) == 0, "wrong TCP checksum"


def assert_udp_checksum(raw: bytes) -> None:
    """Check the UDP checksum with dpkt; 0 says that there is none."""
    datagram = raw[20:]
    pseudo = raw[12:20] + b"\0\x11" + len(datagram).to_bytes(2, "big")
    assert datagram[6:8] == b"\0\0" or dpkt.in_cksum(pseudo + datagram) == 0, "wrong UDP checksum"
