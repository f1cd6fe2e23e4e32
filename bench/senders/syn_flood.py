"""A bounded SYN flood: `python -m bench.senders.syn_flood VIP PORT --rate N --seconds S`. Root, and only towards test addresses.

Says "flooding" when it begins, and at the end prints as JSON what it really sent. Each SYN is a whole opening of its own, with
the options that a Linux client sends, from a random port of an address in SPOOFED_NETWORK. The SYNs are made beforehand and sent
many at a time, or Python would be the limit of the rate.
"""

import argparse
import ctypes
import ipaddress
import json
import os
import random
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from appliance.wire.checksum import checksum, pseudo_header_sum

SPOOFED_NETWORK = ipaddress.IPv4Network("198.51.100.128/25")
"""Addresses that nobody in the lab has."""

RATE_MAX_PER_S, SECONDS_MAX = 500_000, 60

_TEST_NETWORKS = tuple(map(ipaddress.IPv4Network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")))  # RFC 5737
_SYNS = 1 << 16
"""Made beforehand; from then on they come again, as the SYNs of a real flood do: nobody answers its SYN-ACKs."""

_BATCH = 256
_TICK_S = 0.001
_PATIENCE_S = 0.05
"""A flooder that was kept from running for longer than this does not make up for it: it would be a burst of another rate."""

_IP = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHIIHHHH")
_SYN = 0xA002  # ten words of header
_OPTIONS = bytes.fromhex("020405b4 0402 080a 00000001 00000000 01 030307")  # MSS 1460, SACK permitted, timestamps, scale 7
SYN_BYTES = _IP.size + _TCP.size + len(_OPTIONS)


class Flood(NamedTuple):
    """What came of it. `failed` SYNs were refused by the kernel we run on."""

    sent: int
    failed: int
    seconds: float


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


def due(rate: int, elapsed_s: float, accounted: int) -> tuple[int, int]:
    """How many SYNs to send now, and how many to write off because their time is long over."""
    behind = int(rate * elapsed_s) - accounted
    late = max(0, behind - max(_BATCH, int(rate * _PATIENCE_S)))
    return min(behind - late, _BATCH), late


def flood(vip: str, port: int, rate: int, seconds: float) -> Flood:
    """Send `rate` SYNs a second, or as many as go. Raises OSError when there can be no raw socket."""
    packets = train(vip, port, _SYNS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(packets))
    vectors = (_Vector * _SYNS)(*(_Vector(base + number * SYN_BYTES, SYN_BYTES) for number in range(_SYNS)))
    messages = (_Message * _SYNS)()
    for number in range(_SYNS):
        messages[number].header.vectors = ctypes.pointer(vectors[number])
        messages[number].header.vector_count = 1
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.connect((vip, 0))
        print("flooding", flush=True)
        return _send(raw.fileno(), messages, rate, seconds)


def _send(fd: int, messages: ctypes.Array[_Message], rate: int, seconds: float) -> Flood:
    sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
    sent = failed = late = place = 0
    start = time.monotonic()
    while (elapsed_s := time.monotonic() - start) < seconds:
        count, written_off = due(rate, elapsed_s, sent + failed + late)
        late += written_off
        if count <= 0:
            time.sleep(_TICK_S)
            continue
        done = sendmmsg(fd, ctypes.byref(messages, place * ctypes.sizeof(_Message)), min(count, _SYNS - place), 0)
        if done < 0:  # its first message was refused; the others were not tried
            failed, done = failed + 1, 1
        else:
            sent += done
        place = (place + done) % _SYNS
    return Flood(sent, failed, elapsed_s)


def target_address(text: str) -> str:
    """A target on the command line. Raises ArgumentTypeError for what is not a test address."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not any(address in network for network in _TEST_NETWORKS):
        raise argparse.ArgumentTypeError(f"{text} is not a test address (RFC 5737)")
    return text


def add_bounds(parser: argparse.ArgumentParser, what: str) -> None:
    """What keeps a flood bounded; see `are_bounded`."""
    parser.add_argument("--rate", type=int, required=True, help=f"{what} a second, at most {RATE_MAX_PER_S}")
    parser.add_argument("--seconds", type=float, required=True, help=f"at most {SECONDS_MAX}")


def are_bounded(options: argparse.Namespace) -> bool:
    """Whether rate and seconds are what they may be."""
    rate, seconds = int(options.rate), float(options.seconds)
    return 0 < rate <= RATE_MAX_PER_S and 0 < seconds <= SECONDS_MAX


def report(flood: Callable[[], Flood]) -> int:
    """Flood, and print what came of it; returns the exit code."""
    if os.geteuid() != 0:
        print("it needs a raw socket, so it has to run as root", file=sys.stderr)
        return 1
    print(json.dumps(flood()._asdict()))
    return 0


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
