"""Packets as they cross an interface, from the IP header on, read from a packet socket whose buffer holds those of a whole
test."""

import socket
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import dpkt

from appliance.lab import namespaces
from tests.lab.conftest import RunningLab
from tests.support.segments import Seen, read_tcp

_BUFFER_BYTES = 512 << 20
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; what follows is from linux/if_packet.h. The socket module has no names for these.
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_STATISTICS = struct.Struct("=II")
_ETH_P_ALL = 3  # linux/if_ether.h: what the host sends, too


@dataclass(frozen=True)
class Captured:
    """One TCP packet. `is_outgoing` says that the host of the interface sent it."""

    raw: bytes
    is_outgoing: bool

    @cached_property
    def seen(self) -> Seen:
        """The parsed packet. Fails when a checksum is wrong; in packets that the host itself sends, checksums may be
        unfinished."""
        return read_tcp(self.raw)

    @property
    def source_port(self) -> int:
        """The TCP source port."""
        return int.from_bytes(self.raw[20:22], "big")

    @property
    def flags(self) -> int:
        """The TCP flags, as dpkt.tcp.TH_* has them."""
        return self.raw[33]

    @property
    def option_bytes(self) -> bytes:
        """The TCP options, padding included."""
        return self.raw[40 : 20 + (self.raw[32] >> 4) * 4]

    @property
    def options(self) -> dict[int, bytes]:
        """The data of each TCP option by its kind, in their order, without NOPs. Fails when a kind is there twice."""
        found = [(kind, data) for kind, data in dpkt.tcp.parse_opts(self.option_bytes) if kind > dpkt.tcp.TCP_OPT_NOP]
        assert len(dict(found)) == len(found), f"an option is there twice: {found}"
        return dict(found)

    @property
    def payload_bytes(self) -> int:
        """Length of the data."""
        return len(self.raw) - 40 - len(self.option_bytes)


class Capture:
    """Captures all TCP packets at eth0 of a namespace, from when it is made until it is closed."""

    def __init__(self, lab: RunningLab, role: str) -> None:
        self._socket = namespaces.call_inside(lab.namespace(role), _open_socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def take(self) -> list[Captured]:
        """Packets since the last call, in order. Fails when the socket lost any."""
        packets = []
        while True:
            try:
                raw, (_, protocol, kind, *_) = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                break
            if protocol == dpkt.ethernet.ETH_TYPE_IP and raw[9] == socket.IPPROTO_TCP:
                packets.append(Captured(raw, kind == socket.PACKET_OUTGOING))
        _, lost = _STATISTICS.unpack(self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size))
        assert not lost, f"the capture itself lost {lost} packets"
        return packets

    def take_arrived(self) -> list[Captured]:
        """As `take`, but only packets to the host of the namespace."""
        return [packet for packet in self.take() if not packet.is_outgoing]


def _open_socket() -> socket.socket:
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
    sniffer.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    sniffer.bind(("eth0", _ETH_P_ALL))
    return sniffer
