"""Sends packets of our own: RST segments and ICMP errors.

They leave through a raw socket with our own IP header, so they pass the OUTPUT hook and never PREROUTING: they cannot come
back into a queue.
"""

import socket


class SegmentSink:
    """A raw IPv4 socket. Needs CAP_NET_RAW; raises OSError when it cannot be opened."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._socket.setblocking(False)

    def send(self, packet: bytes) -> bool:
        """Send one whole IPv4 packet; False when the kernel refused it (no route, full buffer)."""
        try:
            self._socket.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
        except OSError:
            return False
        return True
