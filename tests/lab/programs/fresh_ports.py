"""Ports that no program of this lab's client has used for a long time.

A kernel may choose a port that it has used a moment ago. The gateway then starts the old session anew, with the real server that
it has: no scheduler is asked, and no new session is counted. Tests that count sessions, or look who was chosen, use these ports.
"""

import fcntl
import os
import socket
from pathlib import Path

_FIRST, _PORTS = 20_000, 40_000


class FreshPorts:
    """So many ports in turn, which go on where the last program of the lab stopped."""

    def __init__(self, count: int) -> None:
        self._ports = iter([_FIRST + place % _PORTS for place in range(*_reserve(2 * count + 64))])

    def bind(self, sock: socket.socket, address: str = "") -> None:
        """Bind to the next port that nobody has. Raises OSError when there is none left."""
        for port in self._ports:
            try:
                sock.bind((address, port))
            except OSError:  # in use, or in TIME_WAIT
                continue
            return
        raise OSError("no port is left of those that were reserved")


def _reserve(count: int) -> tuple[int, int]:
    """Begin and end of a part of the turn that is nobody else's."""
    descriptor = os.open(Path(os.environ["LAB_DIR"]) / "next_port", os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        begin = int(file.read() or 0)
        file.seek(0)
        file.write(f"{begin + count}")
    return begin, begin + count
