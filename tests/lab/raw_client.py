"""A TCP client that sends single segments, also such as no kernel sends: any option, any timestamp clock, a SYN that is not
repeated."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from typing import Any, Self

import dpkt

from appliance.lab import namespaces
from appliance.wire.flow import flow_key, pack_endpoint
from appliance.wire.seq import add, is_before
from tests.lab.conftest import RunningLab
from tests.support.segments import fragments, read_tcp, tcp

NOP = b"\x01"
MSS_1460 = bytes.fromhex("020405b4")

_ANSWER_TIMEOUT_S = 60.0
"""Longer than any answer takes: it only ends a test that failed."""

_FLAGS = {"F": dpkt.tcp.TH_FIN, "S": dpkt.tcp.TH_SYN, "R": dpkt.tcp.TH_RST, "P": dpkt.tcp.TH_PUSH, "A": dpkt.tcp.TH_ACK}

_NOBODY_ELSE_ANSWERS = """
table ip raw_clients {{
    chain prerouting {{
        type filter hook prerouting priority raw
        ip daddr {{ {addresses} }} drop
    }}
}}
"""
"""The kernel has these addresses, so that it answers ARP. But its TCP must not get segments to them, because it would reset the
connections. Packet sockets get their copy before this rule."""


@contextmanager
def raw_addresses(lab: RunningLab, *addresses: str) -> Iterator[None]:
    """Give the client addresses from which its kernel sends no TCP, for `RawClient` and `SegmentClient`.

    The gateway knows where they are: the first answer to an address would wait for ARP, and on a machine that is busy enough it
    would be lost.
    """
    (link,) = json.loads(lab.run("client", "ip", "-json", "link", "show", "eth0"))
    (route,) = json.loads(lab.run("gateway", "ip", "-json", "route", "get", addresses[0]))
    for address in addresses:
        lab.run("client", "ip", "address", "add", f"{address}/24", "dev", "eth0")
        known = (address, "lladdr", link["address"], "dev", route["dev"], "nud", "permanent")
        lab.run("gateway", "ip", "neighbour", "replace", *known)
    lab.run("client", "nft", _NOBODY_ELSE_ANSWERS.format(addresses=", ".join(addresses)))
    try:
        yield
    finally:
        lab.run("client", "nft", "delete", "table", "ip", "raw_clients")
        for address in addresses:
            lab.run("client", "ip", "address", "delete", f"{address}/24", "dev", "eth0")
            lab.run("gateway", "ip", "neighbour", "delete", address, "dev", route["dev"])


class RawClient:
    """One connection to the VIP from an address of `raw_addresses`.

    `clock` is the TSval of all segments, as long as the other side sends timestamps, too; None: no timestamps.
    While `fragment_bytes` is set, every segment is sent in fragments of so many bytes.
    """

    fragment_bytes: int | None = None

    def __init__(self, lab: RunningLab, address: str, port: int, *, seq: int = 1000, clock: int | None = None) -> None:
        self.name = f"{address}:{port}"
        self._here = pack_endpoint(IPv4Address(address), port)
        self._there = pack_endpoint(IPv4Address(lab.vip), lab.port)
        self._vip = lab.vip
        self._seq, self._ack = seq, 0
        self._is_open = False
        self._clock, self._echo = clock, 0
        self._sender, self._receiver = namespaces.call_inside(lab.namespace("client"), _open_sockets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.close()
        self._receiver.close()

    def send(self, flags: str, data: bytes = b"", options: bytes = b"") -> None:
        """Send one segment, with `options` before the timestamp if there is one."""
        if self._clock is not None:
            options += NOP * 2 + b"\x08\x0a" + self._clock.to_bytes(4, "big") + self._echo.to_bytes(4, "big")
        segment = tcp(self._here, self._there, flags, seq=self._seq, ack=self._ack, data=data, options=options)
        for packet in fragments(segment, self.fragment_bytes) if self.fragment_bytes else [segment]:
            self._sender.sendto(packet, (self._vip, 0))
        self._seq = add(self._seq, len(data) + ("S" in flags) + ("F" in flags))

    def receive(self, flag: str) -> dpkt.tcp.TCP:
        """Wait for the next new segment with this flag. Fails when a checksum is wrong."""
        while True:
            raw = self._receiver.recv(65536)
            if raw[12:24] != flow_key(self._there, self._here):
                continue
            read_tcp(raw)
            segment: dpkt.tcp.TCP = dpkt.ip.IP(raw).data
            is_new = not self._is_open or not is_before(segment.seq, self._ack)
            if segment.flags & _FLAGS[flag] and is_new:
                self._note(segment)
                return segment

    def has_heard_something(self) -> bool:
        """Whether a segment has come that was not received yet."""
        self._receiver.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                if self._receiver.recv(1 << 16)[12:24] == flow_key(self._there, self._here):
                    return True
        return False

    def connect(self, options: bytes = b"", ack_options: bytes = b"") -> None:
        """Do the three-way handshake, with options in the SYN and in the ACK."""
        self.send("S", options=options)
        self.receive("S")
        self.send("A", options=ack_options)

    def ask(self, options: bytes = b"") -> dict[str, Any]:
        """Make one request in a segment with `options`, and return the answer. The real server closes first, then this client."""
        self.send("PA", b"GET /?close=1 HTTP/1.1\r\nHost: lab\r\n\r\n", options)
        answer, closed = b"", False
        while not closed:
            segment = self.receive("A")
            answer += bytes(segment.data)
            closed = bool(segment.flags & dpkt.tcp.TH_FIN)
        self.send("FA")
        parsed: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return parsed

    def _note(self, segment: dpkt.tcp.TCP) -> None:
        counted = len(segment.data) + bool(segment.flags & (dpkt.tcp.TH_SYN | dpkt.tcp.TH_FIN))
        self._ack, self._is_open = add(segment.seq, counted), True
        stamps = [data for kind, data in dpkt.tcp.parse_opts(segment.opts) if kind == dpkt.tcp.TCP_OPT_TIMESTAMP]
        if stamps:
            self._echo = int.from_bytes(stamps[0][:4], "big")
        else:
            self._clock = None


def _open_sockets() -> tuple[socket.socket, socket.socket]:
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    receiver = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    receiver.bind(("eth0", dpkt.ethernet.ETH_TYPE_IP))
    receiver.settimeout(_ANSWER_TIMEOUT_S)
    return sender, receiver
