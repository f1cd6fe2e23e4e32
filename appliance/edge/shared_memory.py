"""Memory that the director and its workers share: an anonymous file that lives exactly as long as somebody holds it open.

It has no name, so nothing can be left behind, and it survives any one process.
"""

import mmap
import os


def create(size: int) -> int:
    """A new zeroed shared memory of `size` bytes; the file descriptor is passed on to workers."""
    fd = os.memfd_create("appliance")
    os.ftruncate(fd, size)
    return fd


def attach(fd: int) -> memoryview:
    """A writable view of the whole shared memory behind `fd`."""
    return memoryview(mmap.mmap(fd, os.fstat(fd).st_size))
