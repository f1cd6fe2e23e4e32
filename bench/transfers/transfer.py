"""One big transfer over HTTP, in either direction, to or from the real server that a service chooses."""

import os
import socket

from bench.rig.topology import BenchError

MEBIBYTE = 1 << 20

_CHUNK = bytes(MEBIBYTE)
_SILENCE_TIMEOUT_S = 60.0


def upload(port: int, mebibytes: int) -> None:
    """Send so much. Raises BenchError unless the server got all of it, OSError when the connection failed."""
    with _connected(port) as connection:
        length = mebibytes * MEBIBYTE
        connection.sendall(f"POST /sha256?close=1 HTTP/1.1\r\nHost: lab\r\nContent-Length: {length}\r\n\r\n".encode())
        for _ in range(mebibytes):
            connection.sendall(_CHUNK)
        answer = b"".join(iter(lambda: connection.recv(MEBIBYTE), b""))
    if f'"bytes": {length}}}'.encode() not in answer:
        raise BenchError(f"an upload was answered with {answer[-200:]!r}")


def download(port: int, mebibytes: int) -> None:
    """Get so much. Raises BenchError when it was not all, OSError when the connection failed."""
    buffer, count = bytearray(MEBIBYTE), 0
    with _connected(port) as connection:
        connection.sendall(f"GET /bytes/{mebibytes * MEBIBYTE}?close=1 HTTP/1.1\r\nHost: lab\r\n\r\n".encode())
        while received := connection.recv_into(buffer):
            count += received
    if count <= mebibytes * MEBIBYTE:  # with the header of the answer, it is more
        raise BenchError(f"a download ended after {count} bytes")


def _connected(port: int) -> socket.socket:
    return socket.create_connection((os.environ["LAB_VIP"], port), timeout=_SILENCE_TIMEOUT_S)
