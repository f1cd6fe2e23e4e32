"""Sockets of checks: from which address and port they ask."""

import errno
import itertools
import socket
import struct
from typing import NamedTuple

from appliance.policy.check_ports import FIRST, LAST

_PORTS = LAST - FIRST + 1
_TRIES = 16
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
_turns = itertools.count()


class SourceError(OSError):
    """This host cannot ask from that address: it does not have it, or has no port or descriptor left."""


class Source(NamedTuple):
    """Where a check comes from."""

    address: str
    own_ports: bool
    """Whether it is a local address, of which checks may use certain ports only (see `policy.check_ports`)."""

    def opened(self, kind: int, to: tuple[str, int]) -> socket.socket:
        """A socket that does not block, bound to the address, and connected as far as `kind` is SOCK_DGRAM.

        Raises SourceError, and OSError when the real server cannot be reached. Of SOCK_STREAM the caller connects it.
        """
        opened = _new(kind)
        try:
            self._bind(opened, to)
        except BaseException:
            opened.close()
            raise
        return opened

    def _bind(self, opened: socket.socket, to: tuple[str, int]) -> None:
        if opened.type == socket.SOCK_STREAM:
            # The same port may be in use towards other real servers; and a connection that is over leaves no TIME_WAIT, which
            # would keep the port from the next check.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        if self.own_ports:
            self._bind_own_port(opened)
        else:
            _bind(opened, self.address, 0)
        if opened.type == socket.SOCK_DGRAM:
            opened.connect(to)

    def _bind_own_port(self, opened: socket.socket) -> None:
        """Bind to one of the ports of checks: another one each time, because earlier connections may not be over."""
        for _ in range(_TRIES):
            try:
                _bind(opened, self.address, FIRST + next(_turns) % _PORTS)
            except PermissionError:  # without CAP_NET_BIND_SERVICE there is one
                _bind(opened, self.address, LAST)
            except SourceError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            return
        raise SourceError(errno.EADDRINUSE, f"no port for a check is free on {self.address}")


def _new(kind: int) -> socket.socket:
    try:
        opened = socket.socket(socket.AF_INET, kind)
    except OSError as error:
        raise SourceError(error.errno, f"no socket: {error.strerror}") from error
    opened.setblocking(False)
    return opened


def _bind(opened: socket.socket, address: str, port: int) -> None:
    try:
        opened.bind((address, port))
    except PermissionError:
        raise
    except OSError as error:
        raise SourceError(error.errno, f"cannot ask from {address}: {error.strerror}") from error
