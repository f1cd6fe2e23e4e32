"""At most one appliance per network namespace: two would fight over the same queues and table.

The lock is a Unix socket in the abstract namespace, which the kernel keeps per network namespace and takes away with the
process, however that ends. Nothing is left on disk.
"""

import socket
import struct

from appliance.edge.errors import EdgeError

_NAME = "\0l4-appliance"


def acquire() -> socket.socket:
    """Hold the lock for as long as the socket is open. Raises EdgeError naming the process that has it."""
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
