"""The memory that the director and its workers share: an anonymous file, which exists for as long as a process has it open.

It has no name, so nothing stays behind, and it outlives each single process.
"""

import mmap
import os


def create(size: int) -> int:
    """The file descriptor of new shared memory of `size` bytes, all zero. Workers inherit it."""
    fd = os.memfd_create("appliance")
    os.ftruncate(fd, size)
    return fd


def attach(fd: int) -> memoryview:
    """A writable view of the whole shared memory behind `fd`."""
    return memoryview(mmap.mmap(fd, os.fstat(fd).st_size))
