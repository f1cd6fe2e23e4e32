"""What a process asks of the kernel about itself."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> bool:
    """Have the kernel kill this process as soon as its parent has ended, also while it is stopped; False when that has happened
    already.

    Otherwise a process that does nothing at that moment would go on holding what the next one needs.
    """
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent
