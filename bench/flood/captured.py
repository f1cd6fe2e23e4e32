"""SYNs of a flood, captured as they leave the client's host, and their checksums.

A gateway drops SYNs with wrong checksums, so a flood of them measures nothing. The sums are added up here once more, without the
code that made them.
"""

import socket
import struct
import time
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address

from bench.rig.topology import END_INTERFACE, BenchError
from bench.senders.flood import SPOOFED_NETWORK

CAPTURED_MAX = 64
"""So many are looked at in each flood."""

_WITHIN_S = 0.2
_ALL_PROTOCOLS = 0x0003  # ETH_P_ALL: only such a socket is shown what goes out
_LARGEST_BYTES = 2048
_IP_HEADER_BYTES, _PROTOCOL_AT, _ADDRESSES = 20, 9, slice(12, 20)
_RIGHT_SUM = 0xFFFF


def check_flood(target: str) -> int:
    """Capture SYNs of the flood that goes on; returns how many. Raises BenchError when there are none, or wrong ones."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL_PROTOCOLS)) as capture:
        capture.bind((END_INTERFACE, _ALL_PROTOCOLS))
        syns = list(_captured(capture, socket.inet_aton(target)))
    return checked(syns)


def checked(syns: Collection[bytes]) -> int:
    """How many SYNs these are, from the IP header on. Raises BenchError for none, and for any with a wrong checksum."""
    if not syns:
        raise BenchError("the flood did not leave the client's host")
    if wrong := sum(not has_right_checksums(syn) for syn in syns):
        raise BenchError(f"{wrong} of {len(syns)} SYNs of the flood have a wrong checksum")
    return len(syns)


def has_right_checksums(packet: bytes) -> bool:
    """Whether both checksums of a TCP packet are right; its IP header has no options (RFC 9293 section 3.1, RFC 1071)."""
    header, segment = packet[:_IP_HEADER_BYTES], packet[_IP_HEADER_BYTES:]
    pseudo_header = packet[_ADDRESSES] + struct.pack("!HH", packet[_PROTOCOL_AT], len(segment))
    return _sum(header) == _sum(pseudo_header + segment) == _RIGHT_SUM


def _sum(data: bytes) -> int:
    """The ones' complement sum of 16-bit words; with a checksum among them it is _RIGHT_SUM."""
    words = struct.iter_unpack("!H", data + bytes(len(data) % 2))
    total: int = sum(word for (word,) in words)
    while total > _RIGHT_SUM:
        total = (total & _RIGHT_SUM) + (total >> 16)
    return total


def _captured(capture: socket.socket, target: bytes) -> Iterator[bytes]:
    deadline, count = time.monotonic() + _WITHIN_S, 0
    while count < CAPTURED_MAX and (left_s := deadline - time.monotonic()) > 0:
        capture.settimeout(left_s)
        try:
            packet: bytes = capture.recv(_LARGEST_BYTES)
        except TimeoutError:
            return
        if packet[16:20] == target and IPv4Address(packet[12:16]) in SPOOFED_NETWORK:
            count += 1
            yield packet
