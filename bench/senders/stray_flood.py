"""A bounded flood of unsolicited packets: `python -m bench.senders.stray_flood KIND TARGET --rate N --seconds S`.

Root only, and only to test addresses. KIND is "udp", "fragment" or "tcp". It prints "flooding" when it begins, and at the end, as
JSON, how many packets the kernel took and how many it refused.
"""

import argparse
import itertools
import random
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

from appliance.wire import layout as at
from appliance.wire.flow import flow_key
from bench.rig.segments import segment
from bench.rig.topology import HTTP_PORT
from bench.senders.flood import BEGUN, SPOOFED_NETWORK, Flood, add_bounds, are_bounded, paced, report, target_address

KINDS = ("udp", "fragment", "tcp")

UNUSED_PORT = 4444
"""A port that no service of the benchmark has."""

_PACKETS = 1 << 14
"""So many packets are made beforehand, and sent again and again."""

_PAYLOAD = bytes(32)
_FIRST_PART_BYTES = 24
_UDP_HEADER = struct.Struct("!HHHH")
_NO_CHECKSUM = 0
_MORE_FRAGMENTS = 0x2000


def packets(kind: str, target: str, count: int) -> list[bytes]:
    """So many packets, from the IP header on, from random ports of addresses that nobody has.

    Fragments come in pairs. A pair is a segment to the web service, which a gateway that lets fragments pass has to judge.
    """
    makers = {"udp": _datagram, "fragment": _fragments, "tcp": _syn}
    sources = [host.packed for host in SPOOFED_NETWORK.hosts()]
    made: list[bytes] = []
    for number in range(count):
        source = sources[number % len(sources)] + random.randrange(1024, 1 << 16).to_bytes(2, "big")
        made += makers[kind](source, socket.inet_aton(target), number)
    return made[:count]


def _datagram(source: bytes, target: bytes, _number: int) -> Iterator[bytes]:
    header = _UDP_HEADER.pack(int.from_bytes(source[4:], "big"), HTTP_PORT, _UDP_HEADER.size + len(_PAYLOAD), _NO_CHECKSUM)
    yield _packet(source, target, at.PROTO_UDP, header + _PAYLOAD)


def _syn(source: bytes, target: bytes, _number: int) -> Iterator[bytes]:
    yield segment(flow_key(source, target + UNUSED_PORT.to_bytes(2, "big")), at.SYN, seq=random.getrandbits(32), ack=0)


def _fragments(source: bytes, target: bytes, number: int) -> Iterator[bytes]:
    whole = segment(flow_key(source, target + HTTP_PORT.to_bytes(2, "big")), at.ACK, _PAYLOAD)[at.IP_HEADER_BYTES :]
    identification = number + 1  # instead of a 0 the kernel would write one of its own
    yield _packet(source, target, at.PROTO_TCP, whole[:_FIRST_PART_BYTES], identification, _MORE_FRAGMENTS)
    yield _packet(source, target, at.PROTO_TCP, whole[_FIRST_PART_BYTES:], identification, _FIRST_PART_BYTES // 8)


def _packet(source: bytes, target: bytes, protocol: int, payload: bytes, identification: int = 1, where: int = 0) -> bytes:
    """An IP packet; the kernel writes the checksum of what a raw socket sends."""
    total = at.IP_HEADER_BYTES + len(payload)
    head = (at.IPV4_NO_OPTIONS, 0, total, identification, where, at.TTL_OF_OUR_SEGMENTS, protocol, 0)
    return at.IP_HEADER.pack(*head, source[:4], target) + payload


def flood(kind: str, target: str, rate: int, seconds: float) -> Flood:
    """Send `rate` packets a second, or as many as are possible. Raises OSError without the right to a raw socket."""
    made = packets(kind, target, _PACKETS)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.connect((target, 0))
        print(BEGUN, flush=True)
        return _send(raw, made, rate, seconds)


def _send(raw: socket.socket, made: Sequence[bytes], rate: int, seconds: float) -> Flood:
    in_turn = itertools.cycle(made)

    def send(count: int) -> tuple[int, int]:
        sent = 0
        for packet in itertools.islice(in_turn, count):
            with suppress(OSError):
                raw.send(packet)
                sent += 1
        return sent, count - sent

    return paced(rate, seconds, send)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line. SystemExit for a wrong one, and for a target that is not a test address."""
    parser = argparse.ArgumentParser(prog="python -m bench.senders.stray_flood", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("target", type=target_address)
    add_bounds(parser, "packets")
    options = parser.parse_args(arguments)
    if not are_bounded(options):
        parser.error("rate or seconds out of range")
    return options


def main() -> int:
    """Entry point; returns the exit code."""
    options = parse()
    return report(lambda: flood(options.kind, options.target, options.rate, options.seconds))


if __name__ == "__main__":
    sys.exit(main())
