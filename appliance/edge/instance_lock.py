"""A lock that lets at most one appliance run in a network namespace, because two would use the same queues and the same table.

The lock is a Unix socket in the abstract namespace. The kernel keeps these per network namespace and removes one when its process
ends, in whatever way. Nothing stays on disk.
"""

import socket
import struct

from appliance.edge.errors import EdgeError

_NAME = "\0l4-appliance"


def acquire() -> socket.socket:
    """Take the lock; it is held for as long as the returned socket is open. Raises EdgeError, which names the process that has
    it."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(_NAME)
    except OSError as error:
        lock.close()
        raise EdgeError(f"another appliance (pid {_holder_pid()}) already runs in this network namespace") from error
    lock.listen()
    return lock


def _holder_pid() -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(_NAME)
        except OSError:
            return "unknown"
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return str(pid)
