"""Signals that the lab receives only where it asks for them, and never in the middle of other work.

The signals are blocked and stay pending until `wait` fetches them. Work that must not be interrupted, such as the creation
of a namespace and the removal of a lab, therefore needs no signal handler.
"""

import signal
from types import TracebackType
from typing import Self

from appliance.lab.errors import StopRequested

DEFAULT_IN_CHILDREN = (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that a started command must not inherit as ignored. Python ignores the last two, and a shell ignores the first for a
background job."""


class HeldSignals:
    """A context manager that blocks SIGINT, SIGTERM, SIGHUP and SIGCHLD. Only for the main thread.

    SIGHUP is not touched when the caller ignores it, as under `nohup`. SIGTTOU is blocked too, so that the lab may give the
    terminal to another process group and may write to it from the background.
    """

    def __init__(self) -> None:
        hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
        self._stops = frozenset((signal.SIGINT, signal.SIGTERM, *hangup))
        self._awaited = self._stops | {signal.SIGCHLD}

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if ignored, the kernel would discard the exit codes of children
        self._mask_before = signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited | {signal.SIGTTOU})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # A second Ctrl-C during the removal asked for the end that has come now; the caller must not get it.
        while signal.sigtimedwait(self._awaited, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask_before)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Sleep until a stop signal comes, a child changes its state or the time is up. Returns the stop signal, if one came."""
        if timeout_s is None:
            received = signal.sigwait(self._awaited)
            return received if received in self._stops else None
        info = signal.sigtimedwait(self._awaited, timeout_s)
        return info.si_signo if info and info.si_signo in self._stops else None

    def pause(self, timeout_s: float = 0) -> None:
        """Sleep as `wait` does. Raises StopRequested when a stop signal came."""
        signum = self.wait(timeout_s)
        if signum is not None:
            raise StopRequested(signum)
