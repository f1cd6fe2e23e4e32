"""A worker process for tests of the director: there is no process, and the test says what it answers."""

import asyncio
import itertools
import os
import socket
from collections.abc import Sequence

from appliance.ipc.messages import Done, LineReader, Message, Numbered, decode, encode


class FakeWorker:
    """One life of a worker: its process, and its end of the control socket."""

    def __init__(self, control_fd: int) -> None:
        self.socket = socket.socket(fileno=os.dup(control_fd))
        self.pid = 4711
        self.returncode: int | None = None
        self._reader = LineReader()
        self._heard: list[bytes] = []
        self._numbers = itertools.count(1)

    async def hears(self) -> Numbered:
        """The next message of the director."""
        self.socket.setblocking(False)
        while not self._heard:
            data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16)
            assert data, "the director has closed its end"
            self._heard += self._reader.feed(data)
        return decode(self._heard.pop(0))

    def says(self, message: Message) -> None:
        """Send a message to the director."""
        self.says_bytes(encode(next(self._numbers), message))

    def says_bytes(self, data: bytes) -> None:
        """Send whatever the test wants."""
        self.socket.send(data)

    async def becomes_ready(self) -> Numbered:
        """Take the plan, which is returned, and say that it is in force."""
        start = await self.hears()
        self.says(Done(start.number))
        return start

    def dies(self, code: int = -9) -> None:
        """End, as a process with this exit code."""
        self.returncode = code
        self.socket.close()

    async def wait(self) -> int:
        """A worker whose channel is closed ends at once."""
        self.returncode = self.returncode or 0
        self.socket.close()
        return self.returncode

    def kill(self) -> None:
        """Nobody has to."""
        raise AssertionError("it has ended by itself")


class FakeWorkers:
    """Starts fake workers; `started` gives them to the test in the order of their starts."""

    def __init__(self) -> None:
        self.started: asyncio.Queue[FakeWorker] = asyncio.Queue()
        self.lane_fds: list[tuple[int, ...]] = []
        """What each of them got of the lane."""

    async def start(self, shared_fd: int, control_fd: int, lane_fds: Sequence[int]) -> FakeWorker:  # noqa: ARG002  # it shares no memory
        """As `supervisor.start_worker`."""
        worker = FakeWorker(control_fd)
        self.lane_fds.append(tuple(lane_fds))
        self.started.put_nowait(worker)
        return worker
