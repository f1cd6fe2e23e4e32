"""Starts processes in namespaces, and ends all processes of a namespace."""

import os
import select
import signal
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from appliance.lab.signals import DEFAULT_IN_CHILDREN

NamespaceId = tuple[int, int]
"""Device and inode of a network namespace; they are the same on every path to it."""

_KILL_ROUNDS = 20
_KILL_WAIT_S = 1.0


class Child:
    """A process that the lab started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stopped = False  # by job control; the code that continues the process resets it
        self._exit_code: int | None = None

    def poll(self) -> int | None:
        """The exit code, which is 128 plus the signal's number when a signal killed it; None while it runs."""
        if self._exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                self.stopped = True
            elif pid:
                code = os.waitstatus_to_exitcode(status)
                self._exit_code = code if code >= 0 else 128 - code
        return self._exit_code


def start_service(argv: Sequence[str], log: Path, environment: Mapping[str, str] = os.environ) -> Child:
    """Start a program with its output in `log`. It has its own session, so that no Ctrl-C on a terminal reaches it."""
    files = (
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    )
    pid = os.posix_spawnp(
        argv[0], tuple(argv), environment, file_actions=files, setsid=True, setsigmask=(), setsigdef=DEFAULT_IN_CHILDREN
    )
    return Child(pid)


def start_job(argv: Sequence[str], environment: Mapping[str, str]) -> Child:
    """Start a program with the files and the session of the lab, as the leader of a new process group."""
    pid = os.posix_spawnp(argv[0], tuple(argv), environment, setpgroup=0, setsigmask=(), setsigdef=DEFAULT_IN_CHILDREN)
    return Child(pid)


def end_processes(namespaces: Collection[NamespaceId], grace_s: float) -> int:
    """End every process in these namespaces: with SIGTERM, and after `grace_s` with SIGKILL. Returns how many still run.

    The processes are listed again in each round, because a process may start another one before it dies.
    """
    with _members(namespaces) as pidfds:
        for pidfd in pidfds:
            _send(pidfd, signal.SIGTERM)
            _send(pidfd, signal.SIGCONT)  # a stopped process handles SIGTERM only when it is continued
        _wait_for_exit(pidfds, grace_s)
    for _ in range(_KILL_ROUNDS):
        with _members(namespaces) as pidfds:
            if not pidfds:
                return 0
            for pidfd in pidfds:
                _send(pidfd, signal.SIGKILL)
            _wait_for_exit(pidfds, _KILL_WAIT_S)
    with _members(namespaces) as pidfds:
        return len(pidfds)


@contextmanager
def _members(namespaces: Collection[NamespaceId]) -> Iterator[list[int]]:
    """A pidfd for each process in the namespaces, except this one. Unlike a pid, a pidfd always means the same process."""
    with ExitStack() as stack:
        pidfds = []
        for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdecimal()):
            if pid == os.getpid() or _namespace_of(pid) not in namespaces:
                continue
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            stack.callback(os.close, pidfd)
            if _namespace_of(pid) in namespaces:
                pidfds.append(pidfd)
        yield pidfds


def _namespace_of(pid: int) -> NamespaceId | None:
    try:
        status = os.stat(f"/proc/{pid}/ns/net")
    except OSError:  # the process has ended; also a zombie has no namespaces any more
        return None
    return status.st_dev, status.st_ino


def _send(pidfd: int, signum: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signum)


def _wait_for_exit(pidfds: Sequence[int], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    waiting, poller = set(pidfds), select.poll()
    for pidfd in pidfds:
        poller.register(pidfd, select.POLLIN)
    while waiting and (remaining_s := deadline - time.monotonic()) > 0:
        for pidfd, _ in poller.poll(remaining_s * 1000):
            poller.unregister(pidfd)
            waiting.discard(pidfd)
