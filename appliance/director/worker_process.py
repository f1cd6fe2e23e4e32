"""The process of a worker: how it is started, how its lines are read, how it is ended, and how its end is described."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

_STOP_GRACE_S = 3.0

LINE_LIMIT_BYTES = 1 << 20
"""The longest line of a worker that is read."""


class Process(Protocol):
    """What is needed of a process; `asyncio.subprocess.Process` has it."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the number of the signal that killed it; None while it runs."""

    async def wait(self) -> int:
        """Wait until it has ended."""

    def kill(self) -> None:
        """Send it SIGKILL."""


StartProcess = Callable[[int, int, Sequence[int]], Awaitable[Process]]
"""Starts a worker with file descriptors, which it inherits: the shared memory, its end of the control socket, and the maps of the
lane, of which there are none without a lane."""


async def start_worker(shared_fd: int, control_fd: int, lane_fds: Sequence[int]) -> Process:
    """A new worker process."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "appliance.queue_worker",
        f"--shared-fd={shared_fd}",
        f"--control-fd={control_fd}",
        f"--lane-fds={','.join(map(str, lane_fds))}",
        pass_fds=(shared_fd, control_fd, *lane_fds),
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )


async def end(process: Process) -> None:
    """Wait for a worker whose channel is closed, which tells it to end; kill it when it does not."""
    try:
        # Not wait_for: in Python 3.11 it loses a cancellation that comes when the worker has just ended, and `run` would go on.
        async with asyncio.timeout(_STOP_GRACE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def how_it_ended(process: Process) -> str:
    """The end of a process in words, for the log."""
    code = process.returncode or 0
    if code < 0:
        return f"(pid {process.pid}) was killed by {signal.Signals(-code).name}"
    return f"(pid {process.pid}) ended with exit code {code}"


async def next_line(reader: asyncio.StreamReader) -> bytes | None:
    """The next line; empty when it was too long; None when the worker is gone, also in the middle of a line."""
    try:
        line = await reader.readline()
    except ConnectionError:
        return None
    except ValueError:  # longer than the limit: the reader has thrown away what it had of it
        return b""
    return line if line.endswith(b"\n") else None
