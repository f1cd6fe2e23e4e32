"""A bounded SYN flood: `python -m bench.senders.syn_flood VIP PORT --rate N --seconds S`. Root only, and only to
test addresses.

It prints "flooding" when it begins, and at the end, as JSON, how many SYNs the kernel took and how many it refused. Each SYN
opens a connection of its own, with the options that a Linux client sends, from a random port of an address in SPOOFED_NETWORK.
The SYNs are made beforehand and sent many at a time, or Python would be the limit of the rate."""

import argparse
import ctypes
import random
import socket
import struct
import sys
from collections.abc import Sequence

from appliance.wire.checksum import checksum, pseudo_header_sum
from bench.senders.flood import BEGUN, SPOOFED_NETWORK, Flood, add_bounds, are_bounded, paced, report, target_address

_SYNS = 1 << 16
"""So many SYNs are made beforehand, and sent again and again."""

_IP = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHIIHHHH")
_SYN = 0xA002  # ten words of header
_OPTIONS = bytes.fromhex("020405b4 0402 080a 00000001 00000000 01 030307")  # MSS 1460, SACK permitted, timestamps, scale 7
SYN_BYTES = _IP.size + _TCP.size + len(_OPTIONS)


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """`struct mmsghdr` of sendmmsg(2)."""

    _fields_ = (("header", _Header), ("sent_bytes", ctypes.c_uint))


def syn(source: bytes, source_port: int, vip: bytes, port: int, isn: int) -> bytes:
    """One SYN from the IP header on, addresses as four bytes. The kernel fills in the IP checksum of what a raw socket sends."""
    bare = _TCP.pack(source_port, port, isn, 0, _SYN, 64240, 0, 0) + _OPTIONS
    total = checksum(bare, pseudo_header_sum(source + vip, socket.IPPROTO_TCP, len(bare)))
    header = _IP.pack(0x45, 0, SYN_BYTES, 1, 0x4000, 64, socket.IPPROTO_TCP, 0, source, vip)
    return header + bare[:16] + struct.pack("!H", total) + bare[18:]


def train(vip: str, port: int, count: int) -> bytearray:
    """SYNs in a row, SYN_BYTES each: sources in turn, ports and initial numbers at random."""
    target = socket.inet_aton(vip)
    sources = [host.packed for host in SPOOFED_NETWORK.hosts()]
    return bytearray().join(
        syn(sources[number % len(sources)], random.randrange(1024, 1 << 16), target, port, random.getrandbits(32))
        for number in range(count)
    )


def flood(vip: str, port: int, rate: int, seconds: float) -> Flood:
    """Send `rate` SYNs a second, or as many as are possible. Raises OSError without the right to a raw socket."""
    packets = train(vip, port, _SYNS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(packets))
    vectors = (_Vector * _SYNS)(*(_Vector(base + number * SYN_BYTES, SYN_BYTES) for number in range(_SYNS)))
    messages = (_Message * _SYNS)()
    for number in range(_SYNS):
        messages[number].header.vectors = ctypes.pointer(vectors[number])
        messages[number].header.vector_count = 1
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.connect((vip, 0))
        print(BEGUN, flush=True)
        return _send(raw.fileno(), messages, rate, seconds)


def _send(fd: int, messages: ctypes.Array[_Message], rate: int, seconds: float) -> Flood:
    sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
    place = 0

    def send(count: int) -> tuple[int, int]:
        nonlocal place
        done = sendmmsg(fd, ctypes.byref(messages, place * ctypes.sizeof(_Message)), min(count, _SYNS - place), 0)
        # When its first message is refused, it does not try the others.
        sent, failed = (0, 1) if done < 0 else (done, 0)
        place = (place + sent + failed) % _SYNS
        return sent, failed

    return paced(rate, seconds, send)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line. SystemExit for a wrong one, and for a target that is not a test address."""
    parser = argparse.ArgumentParser(prog="python -m bench.senders.syn_flood", description=__doc__)
    parser.add_argument("vip", type=target_address)
    parser.add_argument("port", type=int)
    add_bounds(parser, "SYNs")
    options = parser.parse_args(arguments)
    if not (0 < options.port < 1 << 16 and are_bounded(options)):
        parser.error("port, rate or seconds out of range")
    return options


def main() -> int:
    """Entry point; returns the exit code."""
    options = parse()
    return report(lambda: flood(options.vip, options.port, options.rate, options.seconds))


if __name__ == "__main__":
    sys.exit(main())
