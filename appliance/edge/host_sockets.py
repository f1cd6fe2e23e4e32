"""Asks the kernel whether the host itself has a TCP socket for a segment that has arrived (sock_diag).

`edge.peer` asks in the same way, through pyroute2, which takes a millisecond. This is asked for packets, so the request is packed
here, and the kernel's socket stays open.
"""

import errno
import socket
import struct

from appliance.edge.errors import EdgeError
from appliance.wire.flow import parts_of

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_ANY = 0xFFFFFFFF
"""All states; and no cookie."""

_REQUEST = struct.Struct("=IHHII BBBBI 2s2s4s12x4s12xIII")
"""struct nlmsghdr, and struct inet_diag_req_v2 for IPv4 (linux/inet_diag.h)."""
_HEADER = struct.Struct("=IHHII")
_ERROR = struct.Struct("=i")
_MOST_BYTES = 4096
_PATIENCE_S = 0.1
"""The kernel answers while it takes the question. This only keeps a worker from waiting for ever."""


class HostSockets:
    """The TCP sockets of this network namespace. Raises EdgeError when the kernel does not tell."""

    def __init__(self) -> None:
        self._number = 0
        try:
            self._kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
        except OSError as error:
            raise EdgeError(f"cannot ask the kernel for the host's sockets: {error.strerror}") from error
        try:
            self._kernel.settimeout(_PATIENCE_S)
            self._check()
        except OSError as error:
            self.close()
            raise EdgeError(f"cannot ask the kernel for the host's sockets: {error.strerror or error}") from error

    def close(self) -> None:
        """Ask no more."""
        self._kernel.close()

    def _check(self) -> None:
        """A kernel without the module tcp_diag says of each socket that it is not there."""
        with socket.create_server(("127.0.0.1", 0)) as one:
            address, port = one.getsockname()
            here = socket.inet_aton(address)
            if not self._has(here, port.to_bytes(2, "big"), here, b"\0\1"):
                raise OSError(errno.EOPNOTSUPP, "it has no sock_diag for TCP")

    def has(self, key: bytes) -> bool:
        """Whether a segment with this key (`wire.flow`) is for a socket, also one that listens. Yes when nobody knows."""
        there, here, their_port, our_port = parts_of(key)
        try:
            return self._has(here, our_port, there, their_port)
        except OSError:
            return True

    def _has(self, here: bytes, our_port: bytes, there: bytes, their_port: bytes) -> bool:
        self._number = self._number % _ANY + 1
        self._kernel.send(
            _REQUEST.pack(
                _REQUEST.size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, self._number, 0,
                socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ANY, our_port, their_port, here, there, 0, _ANY, _ANY,
            )
        )  # fmt: skip
        while True:
            answer = self._kernel.recv(_MOST_BYTES)
            _, kind, _, number, _ = _HEADER.unpack_from(answer)
            if number != self._number:  # of a question that took too long
                continue
            if kind != _NLMSG_ERROR:
                return True
            code = -_ERROR.unpack_from(answer, _HEADER.size)[0]
            if code == errno.ENOENT:
                return False
            raise OSError(code, "sock_diag was refused")
