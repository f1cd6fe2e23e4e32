"""Runs the command as a shell would run it: as a job of its own, in the foreground of the terminal if the lab is there.

The command has its own process group. A Ctrl-C on the terminal therefore reaches the command and never the lab, and a
signal that does reach the lab was sent to the lab. Interactive shells work, and Ctrl-Z stops both command and lab.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from appliance.lab.errors import StopRequested
from appliance.lab.processes import Child, start_job
from appliance.lab.signals import HeldSignals

_STOP_GRACE_S = 5.0


class Terminal:
    """The controlling terminal, if there is one. The caller must have blocked SIGTTOU, as HeldSignals does."""

    def __init__(self) -> None:
        try:
            self._fd: int | None = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError:
            self._fd = None
        self._lent = False

    def lend(self, process_group: int) -> None:
        """Make `process_group` the foreground job, if this process is in the foreground itself."""
        if self._fd is not None and os.tcgetpgrp(self._fd) == os.getpgrp():
            os.tcsetpgrp(self._fd, process_group)
            self._lent = True

    def take_back(self) -> None:
        """Make this process the foreground job again, if `lend` gave the terminal away."""
        if self._fd is not None and self._lent:
            self._lent = False
            with suppress(OSError):  # the terminal has hung up
                os.tcsetpgrp(self._fd, os.getpgrp())

    def close(self) -> None:
        """Take the terminal back and close it."""
        self.take_back()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def run_in_foreground(
    argv: Sequence[str], environment: Mapping[str, str], signals: HeldSignals, on_wake: Callable[[], None]
) -> int:
    """Run a command to its end and return its exit code, 128 plus the signal's number when a signal killed it.

    `on_wake` is called whenever a child process has changed its state. Raises StopRequested when a stop signal reached the
    lab; before that, the command gets the same signal and up to 5 seconds to end.
    """
    terminal = Terminal()
    try:
        job = start_job(argv, environment)
        _resume(job, terminal)
        while (code := job.poll()) is None:
            if job.stopped:
                _suspend_with(job, terminal)
            signum = signals.wait()
            on_wake()
            if signum is not None:
                _end(job, signum, signals)
                raise StopRequested(signum)
        return code
    finally:
        terminal.close()


def _resume(job: Child, terminal: Terminal) -> None:
    terminal.lend(job.pid)
    # The job may have used the terminal before it had it, and the kernel stopped it for that.
    job.stopped = False
    _signal_group(job, signal.SIGCONT)


def _suspend_with(job: Child, terminal: Terminal) -> None:
    terminal.take_back()
    os.killpg(0, signal.SIGTSTP)  # stops this process too, at this line, until the shell continues it
    _resume(job, terminal)


def _end(job: Child, signum: int, signals: HeldSignals) -> None:
    _signal_group(job, signum)
    _signal_group(job, signal.SIGCONT)
    deadline = time.monotonic() + _STOP_GRACE_S
    while job.poll() is None and (remaining_s := deadline - time.monotonic()) > 0:
        if signals.wait(remaining_s) is not None:
            return  # a second stop signal: do not wait any longer


def _signal_group(job: Child, signum: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(job.pid, signum)
