"""Locks that processes have in common: on bytes of a file that each of them has open."""

import fcntl
import os

_TRIES = 500
"""How often a lock that somebody else holds is tried, each time after others had the CPU: some milliseconds at most. Its holder
gives it back after some microseconds, unless it was stopped."""


class RecordLocks:
    """One lock for each number. The kernel gives back those of a process that ends.

    They belong to the process and not to the file descriptor, which workers inherit from the director. A process loses all of
    them when it closes any descriptor of the file.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def take(self, number: int) -> bool:
        """Take a lock; False when somebody else still holds it after _TRIES."""
        for _ in range(_TRIES):
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except OSError:
                os.sched_yield()
            else:
                return True
        return False

    def give_back(self, number: int) -> None:
        """Give back a lock that was taken."""
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, number)
