"""The TCP client-address option as a real server reads it: kind 254, length 8, port (16 bits), IPv4 address (32 bits).

The gateway puts it first among the options of a packet that it sends to a real server. Every function here takes a packet
that begins with the IP header. Both sources give packets in that form: the SYN that the kernel saved, and a packet socket of
type SOCK_DGRAM.
"""

import ctypes
import socket
import struct
from typing import NamedTuple

OPTION_KIND = 254
OPTION_BYTES = 8

TCP_SAVE_SYN = 27  # linux/tcp.h; the socket module does not have these two
TCP_SAVED_SYN = 28

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_ETH_P_IP = 0x0800

_PLAIN_IPV4 = 0x45  # version 4 and a header of 20 bytes; the offsets below are valid only for it
_CONN = slice(12, 24)  # source address, destination address, source port, destination port
_TCP_FLAGS = 33
_OPTIONS = 40
_SYN_ACK_BITS, _SYN = 0x12, 0x02
_SNAP_BYTES = _OPTIONS + OPTION_BYTES

_TAP_BUFFER_BYTES = 8 << 20
_CONNS_MAX = 1 << 16

_FILTER = (
    # (code, jump if true, jump if false, operand); the offsets are those of an IPv4 header without options
    (0x30, 0, 0, 0),  # A = version and header length
    (0x15, 0, 12, _PLAIN_IPV4),
    (0x30, 0, 0, 9),  # A = protocol
    (0x15, 0, 10, socket.IPPROTO_TCP),
    (0x28, 0, 0, 6),  # A = fragment field
    (0x45, 8, 0, 0x1FFF),  # a later fragment has no TCP header
    (0x30, 0, 0, _TCP_FLAGS),
    (0x54, 0, 0, _SYN_ACK_BITS),
    (0x15, 4, 0, _SYN),  # every SYN, with any options: it starts a new connection
    (0x30, 0, 0, 32),  # A = data offset, in the upper four bits
    (0x35, 0, 3, (20 + OPTION_BYTES) << 2),
    (0x30, 0, 0, _OPTIONS),
    (0x15, 0, 1, OPTION_KIND),
    (0x06, 0, 0, _SNAP_BYTES),
    (0x06, 0, 0, 0),
)


class ClientAddress(NamedTuple):
    """The content of the option: the address and port from which the client reached the VIP."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


def client_address(packet: bytes) -> ClientAddress | None:
    """The client address in an IPv4 TCP packet; None when its first TCP option is not the client-address option."""
    if len(packet) < _SNAP_BYTES or packet[0] != _PLAIN_IPV4 or packet[9] != socket.IPPROTO_TCP:
        return None
    header_bytes = packet[32] >> 4 << 2
    kind, length, port, address = struct.unpack_from("!BBH4s", packet, _OPTIONS)
    if header_bytes < 20 + OPTION_BYTES or kind != OPTION_KIND or length != OPTION_BYTES:
        return None
    return ClientAddress(socket.inet_ntoa(address), port)


def conn_key(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """The key of a connection: the twelve bytes of addresses and ports in a packet from `source` to `destination`."""
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    return addresses + struct.pack("!HH", source[1], destination[1])


class ClientAddresses:
    """The latest client address of each connection. Beyond `conns_max` connections, the oldest are forgotten."""

    def __init__(self, conns_max: int = _CONNS_MAX) -> None:
        self._conns_max = conns_max
        self._by_conn: dict[bytes, ClientAddress] = {}

    def note(self, packet: bytes) -> None:
        """Read one packet, which begins with its IP header."""
        if len(packet) < _OPTIONS:
            return
        key = packet[_CONN]
        client = client_address(packet)
        if client is not None or packet[_TCP_FLAGS] & _SYN_ACK_BITS == _SYN:
            # A SYN without the option must also delete the address: the gateway reuses its ports for other clients.
            self._by_conn.pop(key, None)
        if client is not None:
            self._by_conn[key] = client
            if len(self._by_conn) > self._conns_max:
                del self._by_conn[next(iter(self._by_conn))]

    def get(self, key: bytes) -> ClientAddress | None:
        """The client of the connection with this `conn_key`; None when it is not known."""
        return self._by_conn.get(key)


def open_tap() -> socket.socket:
    """A non-blocking packet socket that receives every incoming SYN, and every packet that begins with the client-address option.

    The kernel gives a packet to such a socket before it gives it to TCP. After reading a request from a TCP socket, the
    options that came with it can therefore be read here. Raises PermissionError without CAP_NET_RAW.
    """
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in _FILTER)
    code = ctypes.create_string_buffer(program, len(program))
    # With a protocol given, the socket does not receive what this host sends. Until the filter is attached it receives all
    # other packets too; `ClientAddresses.note` ignores those.
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_IP))
    tap.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(_FILTER), ctypes.addressof(code)))
    tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _TAP_BUFFER_BYTES)
    return tap


class ClientAddressReader:
    """Finds the client of a connection, from the packets of the tap and from the SYN that the kernel saved."""

    def __init__(self, tap: socket.socket) -> None:
        self._tap = tap
        self._addresses = ClientAddresses()

    def drain(self) -> None:
        """Read all packets that have arrived. Never blocks."""
        while True:
            try:
                packet = self._tap.recv(_SNAP_BYTES)
            except BlockingIOError:
                return
            self._addresses.note(packet)

    def client_of(self, conn: socket.socket) -> ClientAddress | None:
        """The client of an accepted connection, whose listener must have TCP_SAVE_SYN set; None when there was no option."""
        self.drain()
        key = conn_key(conn.getpeername(), conn.getsockname())
        if self._addresses.get(key) is None:
            # The kernel gives out the saved SYN only once; `note` keeps its content for the next request.
            self._addresses.note(conn.getsockopt(socket.IPPROTO_TCP, TCP_SAVED_SYN, 256))
        return self._addresses.get(key)
