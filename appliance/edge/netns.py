"""The network namespace of this process."""

import errno
import socket

from appliance.edge.errors import EdgeError

_SO_NETNS_COOKIE = 71  # asm-generic/socket.h
_COOKIE_BYTES = 8


def cookie() -> int | None:
    """A number that no other network namespace gets until the machine starts again; None on kernels before 5.14.

    The inode number of a namespace is given to another one when it is gone. Raises EdgeError when the kernel cannot be asked.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            return int.from_bytes(any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, _COOKIE_BYTES), "little")
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return None
        raise EdgeError(f"cannot ask for the network namespace: {error.strerror}") from error
