"""Packets as a lab's real server sees them at its packet socket: made with `struct`, so that headers can also be wrong."""

import socket
import struct

LOCAL, REAL_SERVER = ("192.0.2.10", 5000), ("192.0.2.101", 8080)

CLIENT_OPTION = bytes.fromhex("fe08 9c41 c6336402")
"""The client-address option for 198.51.100.2, port 40001."""

_ACK = 0x10


def packet(options: bytes = b"", flags: int = _ACK, data: bytes = b"", **changed: int) -> bytes:
    """An IPv4 TCP packet from LOCAL to REAL_SERVER; `changed` overrides version_ihl, protocol or data_offset (words)."""
    ip = struct.pack(
        "!BBHHHBBH4s4s",
        changed.get("version_ihl", 0x45),
        0,
        40 + len(options) + len(data),
        1,
        0,
        64,
        changed.get("protocol", socket.IPPROTO_TCP),
        0,
        socket.inet_aton(LOCAL[0]),
        socket.inet_aton(REAL_SERVER[0]),
    )
    offset = changed.get("data_offset", 5 + len(options) // 4)
    return ip + struct.pack("!HHIIBBHHH", LOCAL[1], REAL_SERVER[1], 1, 2, offset << 4, flags, 65535, 0, 0) + options + data
