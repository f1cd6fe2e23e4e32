"""A lock that lets at most one appliance run in a network namespace, because two would use the same queues and the same table.

The lock is on a file in the runtime directory, which nobody but root and the service can write to; so nobody else can take it.
The kernel gives it back when its process ends, in whatever way. The file stays.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.edge.errors import EdgeError


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Hold the lock `file` for the block. Raises EdgeError, which names the process that has it, or why it cannot be trusted."""
    try:
        file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        _check_directory(file.parent)
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EdgeError(f"cannot lock {file}: {error.strerror}") from error
    try:
        _take(fd, file)
        yield
    finally:
        os.close(fd)


def _check_directory(directory: Path) -> None:
    """Raises OSError when others than root and this user could put a file of theirs in the place of the lock."""
    status = directory.stat()
    if status.st_uid not in (0, os.geteuid()) and os.geteuid() != 0:
        raise OSError(0, f"{directory} belongs to another user")
    if status.st_mode & stat.S_IWOTH:
        raise OSError(0, f"everybody can write to {directory}")


def _take(fd: int, file: Path) -> None:
    """Lock the open file, and write down who has it. A file that root made is given to the owner of the directory."""
    status, directory = os.fstat(fd), file.parent.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid(), directory.st_uid):
        raise EdgeError(f"cannot lock {file}: it is no file of root's or of the service's")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(fd, 20, 0).decode(errors="replace").strip()
        pid = holder if holder.isdecimal() else "unknown"
        raise EdgeError(f"another appliance (pid {pid}) already runs in this network namespace") from error
    if os.geteuid() == 0:
        os.fchown(fd, directory.st_uid, directory.st_gid)
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
