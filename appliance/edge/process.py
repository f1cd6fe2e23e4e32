"""What a process asks of the kernel about itself and its children."""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> bool:
    """Have the kernel kill this process as soon as its parent has ended, also while it is stopped; False when that has happened
    already.

    Otherwise a process that does nothing at that moment would go on holding what the next one needs.
    """
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent


_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12
"""Places in /proc/PID/stat behind the name of the program, proc(5)."""


def cpu_s(pid: int) -> float | None:
    """CPU time that all threads of a process have used, in seconds; None when there is no such process."""
    with suppress(OSError):
        # The name of the program is in parentheses and may itself have any character.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS_PER_S
    return None
