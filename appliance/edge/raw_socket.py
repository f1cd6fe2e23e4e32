"""Sends the packets that the appliance itself makes: RST segments and ICMP errors.

They leave by a raw socket with an IP header of our own. So they pass the OUTPUT hook and not PREROUTING, and cannot come back
into a queue.
"""

import socket


class SegmentSink:
    """A raw IPv4 socket. It needs CAP_NET_RAW; OSError is raised when it cannot be opened."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._socket.setblocking(False)

    def send(self, packet: bytes) -> bool:
        """Send one whole IPv4 packet; False when the kernel refuses it (no route, full buffer)."""
        try:
            self._socket.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
        except OSError:
            return False
        return True
