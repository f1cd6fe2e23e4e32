"""Signals taken one at a time, where the lab asks for them, instead of anywhere in the middle of its work.

Everything the lab must not be interrupted in (a half-made namespace, the teardown) is thereby safe without a handler, a
flag or a second `try`: the signals stay blocked and pending until `wait` fetches them.
"""

import signal
from types import TracebackType
from typing import Self

from appliance.lab.errors import StopRequested

DEFAULT_IN_CHILDREN = (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores the last two, a shell's background job inherits the first as ignored; a command expects none of that."""


class HeldSignals:
    """Context manager that blocks SIGINT, SIGTERM, SIGHUP and SIGCHLD. Main thread only.

    SIGHUP is left alone when the caller ignores it, as `nohup` arranges. SIGTTOU is blocked too, so that the lab may move
    the terminal to another process group and write to it from the background.
    """

    def __init__(self) -> None:
        hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
        self._stops = frozenset((signal.SIGINT, signal.SIGTERM, *hangup))
        self._awaited = self._stops | {signal.SIGCHLD}

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or the kernel would reap children and lose their exit codes
        self._mask_before = signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited | {signal.SIGTTOU})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # A second Ctrl-C during the teardown asked for what is done by now; it must not hit the caller.
        while signal.sigtimedwait(self._awaited, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask_before)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Sleep until a stop signal comes, a child changes state or the time is up; the stop signal, else None."""
        if timeout_s is None:
            received = signal.sigwait(self._awaited)
            return received if received in self._stops else None
        info = signal.sigtimedwait(self._awaited, timeout_s)
        return info.si_signo if info and info.si_signo in self._stops else None

    def pause(self, timeout_s: float = 0) -> None:
        """Sleep like `wait`; raises StopRequested when a stop signal came."""
        signum = self.wait(timeout_s)
        if signum is not None:
            raise StopRequested(signum)
