"""Many connections to the service over one pair of sockets, made of single segments, so that a test decides about each of them.

`tests.lab.raw_client.raw_addresses` gives the client addresses for which its kernel does not answer; use one of these.
"""

import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address

from dpkt.ethernet import ETH_TYPE_IP

from appliance.lab import namespaces
from appliance.wire import seq
from appliance.wire.flow import pack_endpoint
from tests.lab.conftest import RunningLab
from tests.support.segments import Seen, read_tcp, tcp

WINDOW_BYTES = 1000
"""The whole answer to GET / is shorter, the answer to GET /bytes is longer."""

_ANSWER_WAIT_S = 60.0
"""How long a connection waits for a segment before it has failed: longer than any answer takes. Nothing is sent again."""

_RECEIVE_BUFFER_BYTES = 4 << 20


class SegmentClient:
    """Sends segments from any port of an address of the client, and receives what the service sends there."""

    def __init__(self, lab: RunningLab, address: str) -> None:
        self._address = IPv4Address(address)
        self._service = pack_endpoint(IPv4Address(lab.vip), lab.port)
        self._vip = lab.vip
        self._sender, self._receiver = namespaces.call_inside(lab.namespace("client"), _open_sockets)

    def close(self) -> None:
        """Close the sockets."""
        self._sender.close()
        self._receiver.close()

    def send(self, port: int, flags: str, *, seq: int, ack: int = 0, data: bytes = b"", window_bytes: int = WINDOW_BYTES) -> None:
        """Send one segment; flags are letters as tcpdump prints them."""
        source = pack_endpoint(self._address, port)
        segment = tcp(source, self._service, flags, seq=seq, ack=ack, data=data, window=window_bytes)
        self._sender.sendto(segment, (self._vip, 0))

    def receive(self, timeout_s: float) -> Seen | None:
        """The next segment of the service, with right checksums; None when there is none in time."""
        deadline = time.monotonic() + timeout_s
        while packet := self.receive_packet(deadline - time.monotonic()):
            if packet[9] == socket.IPPROTO_TCP:
                return read_tcp(packet)
        return None

    def receive_packet(self, timeout_s: float) -> bytes | None:
        """The next packet of any protocol to this address; None when there is none in time."""
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            self._receiver.settimeout(left_s)
            try:
                packet = self._receiver.recv(1 << 16)
            except TimeoutError:
                return None
            if packet[16:20] == self._address.packed:
                return packet
        return None

    def forget_arrived(self) -> None:
        """Drop everything that has arrived, for connections that are not used any more."""
        self._receiver.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self._receiver.recv(1 << 16)


def _open_sockets() -> tuple[socket.socket, socket.socket]:
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    receiver = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    receiver.bind(("eth0", ETH_TYPE_IP))
    return sender, receiver


class ConnectionFailed(Exception):  # noqa: N818  # the end of a connection, not an error in the test
    """A connection did not do what the test wanted; the message says what it did."""


class SegmentConnection:
    """One connection from `port` with a random initial sequence number; it sends nothing that the test does not ask for."""

    def __init__(self, client: SegmentClient, port: int) -> None:
        self._client = client
        self._port = port
        self._seq = random.getrandbits(32)
        self._ack = 0
        self.window_bytes = WINDOW_BYTES
        self.received = b""
        self.is_finished = False
        """Whether the server has sent its FIN."""
        self.is_acknowledged = False
        """Whether the server has acknowledged all that was sent."""
        self.challenges = 0

    def send(self, flags: str, data: bytes = b"") -> None:
        """Send the next segment; with the flag for it, it acknowledges everything that came."""
        ack = self._ack if "A" in flags else 0
        self._client.send(self._port, flags, seq=self._seq, ack=ack, data=data, window_bytes=self.window_bytes)
        self._seq = seq.add(self._seq, len(data) + ("S" in flags) + ("F" in flags))
        self.is_acknowledged = False

    def open(self, *, resets_strays: bool = True) -> None:
        """Do the handshake, with one SYN. RFC 9293, 3.10.7.3: a RST answers an acknowledgement of something that was never
        sent. Without `resets_strays` there is no such RST: a real server that still has an old connection probes it when it
        likes, and the RST would end that one."""
        self._client.forget_arrived()
        self.send("S")
        while True:
            segment = self._next()
            if segment.ack == self._seq and "R" in segment.flags:
                raise ConnectionFailed("the SYN was refused")
            if segment.ack == self._seq and segment.flags == "SA":
                break
            if "A" in segment.flags and "R" not in segment.flags:
                self.challenges += 1
                if resets_strays:
                    self._client.send(self._port, "R", seq=segment.ack)
        self._ack = seq.add(segment.seq, 1)
        self.send("A")

    def ask(self, path: str) -> None:
        """Request a page; `wait_until` receives the answer."""
        self.send("PA", f"GET {path} HTTP/1.1\r\nHost: lab\r\n\r\n".encode())

    def wait_until(self, condition: Callable[["SegmentConnection"], bool]) -> None:
        """Receive segments, without acknowledging them, until the condition holds."""
        while not condition(self):
            segment = self._next()
            if "R" in segment.flags:
                raise ConnectionFailed("the connection was reset")
            self.is_acknowledged = segment.ack == self._seq
            if segment.seq == self._ack:
                self.received += segment.data
                self.is_finished = "F" in segment.flags
                self._ack = seq.add(self._ack, len(segment.data) + self.is_finished)

    def _next(self) -> Seen:
        while segment := self._client.receive(_ANSWER_WAIT_S):
            if int.from_bytes(segment.destination[4:], "big") == self._port:
                return segment
        raise ConnectionFailed("there was no answer")
