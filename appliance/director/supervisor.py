"""Keeps the worker process of one shard alive.

A worker that dies is started again after a short pause, which doubles with every early death up to a limit. A worker that
cannot start at all says why over the control channel; before the appliance is up that ends it, afterwards it is one more
death.
"""

import asyncio
import itertools
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, NamedTuple

from appliance.ipc.messages import encode, encode_plan, encode_question, encode_services
from appliance.ipc.plan import Plan, ServicePlan
from appliance.ipc.queries import Query, ShardDownError

log = logging.getLogger("appliance.supervisor")

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
GOOD_LIFE_S = 10.0
"""A worker that lived this long is followed after the first pause again."""

_STOP_GRACE_S = 3.0
_LINE_LIMIT_BYTES = 1 << 20


class WorkerFailedError(RuntimeError):
    """A worker could not start; the message is the worker's own."""


class Piece(NamedTuple):
    """A part of a worker's answer, as `conn_walk` makes it."""

    items: list[Any]
    place: str


class ShardProcess:
    """The worker of one shard, in all its lives. `run` is the task that looks after it; cancelling that stops the worker."""

    def __init__(self, plan: Plan, shared_fd: int, on_death: Callable[[], None] = lambda: None) -> None:
        """`on_death` is called whenever a worker has ended, before the next one is started."""
        self.shard = plan.shard
        self.pid: int | None = None
        self.up = False
        self.first_start: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the worker is ready for packets for the first time; WorkerFailedError when it cannot start."""
        self._plan = plan
        self._shared_fd = shared_fd
        self._on_death = on_death
        self._writer: asyncio.StreamWriter | None = None
        self._walk_numbers = itertools.count()
        self._walks: dict[int, asyncio.Queue[dict[str, Any] | None]] = {}

    async def run(self) -> None:
        """Start the worker, and again whenever it dies, until cancelled."""
        pause_s = 0.0
        while True:
            born = time.monotonic()
            death = await self._live()
            if not self.first_start.done():
                self.first_start.set_exception(WorkerFailedError(f"shard {self.shard}: {death}"))
                return
            lived_long = time.monotonic() - born >= GOOD_LIFE_S
            pause_s = FIRST_PAUSE_S if lived_long or not pause_s else min(2 * pause_s, LONGEST_PAUSE_S)
            log.error("shard %d: worker %s; starting it again in %.1f s", self.shard, death, pause_s)
            await asyncio.sleep(pause_s)

    def change_services(self, services: tuple[ServicePlan, ...]) -> None:
        """Give the worker other real servers or weights; every later life of it starts with them."""
        self._plan = replace(self._plan, services=services)
        # Also before it is ready: the old plan may be on its way, and then this follows it. Without a writer none has been
        # sent, and the next one that is has the change in it.
        if self._writer is not None:
            self._writer.write(encode_services(services))

    async def ask(self, query: Query) -> AsyncIterator[Piece]:
        """The shard's answer in pieces, each asked for when the one before was taken.

        Raises ShardDownError when the worker is away, or dies meanwhile: an answer that looks whole must be whole.
        """
        walk = next(self._walk_numbers)
        answers = self._walks[walk] = asyncio.Queue()
        is_last = False
        try:
            self._send(encode_question(walk, query))
            while True:
                answer = await answers.get()
                if answer is None:
                    raise ShardDownError(f"the worker of shard {self.shard} died")
                is_last = answer["is_last"]
                yield Piece(answer["items"], answer["place"])
                if is_last:
                    return
                self._send(encode({"walk": walk, "more": True}))
        finally:
            del self._walks[walk]
            if self.up and not is_last:
                self._send(encode({"walk": walk, "more": False}))

    def _send(self, line: bytes) -> None:
        # Not before it is ready: until then a worker reads its plan and nothing else, and would never answer.
        if not self.up or self._writer is None:
            raise ShardDownError(f"the worker of shard {self.shard} is away")
        self._writer.write(line)

    async def _live(self) -> str:
        """One life; returns how it ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            control_fd = theirs.fileno()
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "appliance.queue_worker",
                f"--shared-fd={self._shared_fd}",
                f"--control-fd={control_fd}",
                pass_fds=(self._shared_fd, control_fd),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=_LINE_LIMIT_BYTES)
        self.pid = process.pid
        failure = None
        try:
            self._writer.write(encode_plan(self._plan))
            failure = await self._listen(reader)
        finally:
            self._is_down()
            await _end(process)
            self._on_death()
        return failure or _how_it_ended(process)

    async def _listen(self, reader: asyncio.StreamReader) -> str | None:
        """Take the worker's messages until it is gone; returns its own words when it could not start."""
        while (message := await _next_message(reader)) is not None:
            if "failed" in message:
                return str(message["failed"])
            if "ready" in message:
                self.up = True
                log.info("shard %d: ready, pid %s, queue %d", self.shard, self.pid, self._plan.queue_num)
                if not self.first_start.done():
                    self.first_start.set_result(None)
            elif message["walk"] in self._walks:
                self._walks[message["walk"]].put_nowait(message)
        return None

    def _is_down(self) -> None:
        self.up = False
        self.pid = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for answers in self._walks.values():
            answers.put_nowait(None)


async def _next_message(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """None when the worker is gone, also in the middle of a line."""
    try:
        line = await reader.readline()
    except ConnectionError:
        return None
    message: dict[str, Any] | None = json.loads(line) if line.endswith(b"\n") else None
    return message


async def _end(process: asyncio.subprocess.Process) -> None:
    """Wait for a worker whose channel is closed, which is its sign to go; kill one that does not."""
    try:
        await asyncio.wait_for(process.wait(), _STOP_GRACE_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def _how_it_ended(process: asyncio.subprocess.Process) -> str:
    code = process.returncode or 0
    if code < 0:
        return f"(pid {process.pid}) was killed by {signal.Signals(-code).name}"
    return f"(pid {process.pid}) ended with exit code {code}"
