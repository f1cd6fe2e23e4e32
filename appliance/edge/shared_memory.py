"""The memory that the director and its workers share: a file, which is there as long as it has a name or a process has it open.

The file in the runtime directory outlives the director, so that the next one counts on. Without a name, nothing stays behind.
"""

import contextlib
import mmap
import os
import stat
from pathlib import Path

from appliance.edge.errors import EdgeError

_LONGEST_BYTES = 1 << 30


def create(size: int) -> int:
    """The file descriptor of new shared memory of `size` bytes, all zero and without a name. Workers inherit it."""
    fd = os.memfd_create("appliance")
    os.ftruncate(fd, size)
    return fd


def create_file(file: Path, size: int) -> int:
    """The same, with a name; it takes the place of a file that is there, which processes may still have open. Raises EdgeError.

    Its space is reserved, because memory of a full file system cannot be written: a process that tries is killed.
    """
    new = file.with_name(file.name + ".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
            new.replace(file)
        except OSError:
            os.close(fd)
            raise
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise EdgeError(f"cannot make {file}: {error.strerror}") from error
    return fd


def read_file(file: Path) -> memoryview | None:
    """What such a file of an earlier run has in it; None when there is none that is ours."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()) or status.st_size > _LONGEST_BYTES:
            return None
        with open(fd, "rb", closefd=False) as stream:
            return memoryview(bytearray(stream.read()))
    except OSError:
        return None
    finally:
        os.close(fd)


def attach(fd: int) -> memoryview:
    """A writable view of the whole shared memory behind `fd`."""
    return memoryview(mmap.mmap(fd, os.fstat(fd).st_size))
