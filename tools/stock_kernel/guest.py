"""The guest: start qemu, pass its output on, and find its exit code."""

import contextlib
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.stock_kernel import initramfs, qemu
from tools.stock_kernel.job import Job
from tools.stock_kernel.process import start, stop
from tools.stock_kernel.provision import Provisions
from tools.stock_kernel.shares import all_shares
from tools.stock_kernel.streams import FramedStream
from tools.stock_kernel.tooling import SetupError, last_lines, say

TIMED_OUT = 124
DIED = 125
CHUNK_BYTES = 65536
LONGEST_WAIT_S = 3600.0  # the system call counts milliseconds in an int
# With several emulated processors on a crowded machine, qemu 7.2 was seen to crash once and to spin for ever once in some
# 300 boots. As long as the command has not begun it is safe to start over. An ordinary boot takes 3 s, a slow one 10 s.
BOOT_TIMEOUT_S = 60.0
BOOT_ATTEMPTS = 3
CONSOLE_TAIL_BYTES = 8192
CONSOLE_TAIL_LINES = 20
STDOUT_FD, STDERR_FD = 1, 2


class Channel:
    """One stream of the guest's output: a connected pair of sockets, and the function that gets the bytes."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self.ours, self.of_qemu = socket.socketpair()
        self._sink = sink

    def receive(self) -> bool:
        """Pass on the bytes that have come; False when the other end has closed."""
        try:
            chunk = self.ours.recv(CHUNK_BYTES)
        except ConnectionResetError:  # qemu died before it read all bytes
            return False
        self._sink(chunk)
        return bool(chunk)

    def close(self) -> None:
        """Close both ends."""
        self.ours.close()
        self.of_qemu.close()


class Console:
    """The kernel's log. Its end is kept, to explain a failure; with `verbose` all of it goes to stderr."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._tail = b""

    def take(self, chunk: bytes) -> None:
        """Take the next bytes of the log."""
        self._tail = (self._tail + chunk)[-CONSOLE_TAIL_BYTES:]
        if self._verbose:
            write_all(STDERR_FD, chunk)

    def tail(self) -> str:
        """The last lines of the log."""
        return last_lines(self._tail.decode(errors="replace"), CONSOLE_TAIL_LINES)


def run(job: Job, machine: qemu.Machine, provisions: Provisions, timeout_s: float) -> int:
    """Boot, run the job to its end and return the exit code. Raises SetupError when qemu does not start."""
    deadline = time.monotonic() + timeout_s
    for _ in range(BOOT_ATTEMPTS):
        exit_code = Guest(job, machine).run(provisions, deadline)
        if exit_code is not None:
            return exit_code
    return DIED


class Guest:
    """One boot for one job: its streams, and its result."""

    def __init__(self, job: Job, machine: qemu.Machine) -> None:
        self._job = job
        self._machine = machine
        self._out, self._err = FramedStream(job.token), FramedStream(job.token)
        self._console = Console(verbose=machine.verbose)
        self._channels = [
            Channel(lambda chunk: write_all(STDOUT_FD, self._out.feed(chunk))),
            Channel(lambda chunk: write_all(STDERR_FD, self._err.feed(chunk))),
            Channel(self._console.take),
        ]

    def run(self, provisions: Provisions, deadline: float) -> int | None:
        """Run the job and return its exit code; None when it never began because qemu failed. `deadline` is monotonic, in
        seconds."""
        with contextlib.ExitStack() as cleanup:
            for channel in self._channels:
                cleanup.callback(channel.close)
            directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="stock-kernel.")))
            process = self._start(provisions, directory, cleanup)
            boot_deadline = min(deadline, time.monotonic() + BOOT_TIMEOUT_S)
            if not relay(self._channels, self._started, boot_deadline) and boot_deadline < deadline:
                say(f"the guest has not booted after {BOOT_TIMEOUT_S:g} s")
                return None
            in_time = relay(self._channels, self._finished, deadline)
            return self._verdict(process, in_time=in_time, log=directory / "qemu.log")

    def _start(self, provisions: Provisions, directory: Path, cleanup: contextlib.ExitStack) -> subprocess.Popen[bytes]:
        transport = provisions.transport
        shares = all_shares(self._job.writable)
        archive = directory / "initramfs"
        archive.write_bytes(initramfs.build(provisions.kernel, provisions.busybox, transport, shares, self._job))
        served = cleanup.enter_context(transport.serve(shares, self._machine.memory, directory))
        fds = [channel.of_qemu.fileno() for channel in self._channels]
        command = qemu.command_line(self._machine, provisions.kernel.image, archive, qemu.Ports(*fds), served)
        process = start(command, log=directory / "qemu.log", keep_fds=fds)
        cleanup.callback(stop, process)
        # With only qemu's copies open, the death of qemu is the end of every stream.
        for channel in self._channels:
            channel.of_qemu.close()
        return process

    def _started(self) -> bool:
        return self._out.started and self._err.started

    def _finished(self) -> bool:
        return self._out.exit_code is not None and self._err.exit_code is not None

    def _verdict(self, process: subprocess.Popen[bytes], *, in_time: bool, log: Path) -> int | None:
        if self._err.exit_code is not None and self._finished():
            return self._err.exit_code
        write_all(STDOUT_FD, self._out.rest())
        write_all(STDERR_FD, self._err.rest())
        if not in_time:
            say("time is up; the end of the guest's console:\n" + self._console.tail())
            return TIMED_OUT
        return self._cause_of_death(process.wait(), last_lines(log.read_text(errors="replace")))

    def _cause_of_death(self, status: int, complaint: str) -> int | None:
        if status > 0:  # qemu ended by itself: it refused its arguments, or this machine
            raise SetupError(f"qemu failed:\n{complaint}")
        if status < 0:
            say(f"qemu was ended by signal {-status} {complaint}".rstrip())
            return DIED if self._started() else None
        say("the guest ended without an exit code; the end of its console:\n" + self._console.tail())
        return DIED


def relay(channels: Sequence[Channel], finished: Callable[[], bool], deadline: float) -> bool:
    """Pass streams on until `finished` or until all have ended; False when the deadline (monotonic, s) came first."""
    with selectors.DefaultSelector() as selector:
        for channel in channels:
            selector.register(channel.ours, selectors.EVENT_READ, channel)
        while selector.get_map() and not finished():
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return False
            for key, _ in selector.select(min(remaining_s, LONGEST_WAIT_S)):
                if not key.data.receive():
                    selector.unregister(key.fileobj)
    return True


def write_all(fd: int, data: bytes) -> None:
    """Write without a buffer, so that a reader which has closed is an error here and not at exit."""
    (sys.stdout if fd == STDOUT_FD else sys.stderr).flush()
    while data:
        data = data[os.write(fd, data) :]
