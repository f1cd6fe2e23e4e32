"""Keeps the worker process of one shard running, and talks to it.

A worker that dies is started again after a short pause, which doubles with every early death up to a limit. A worker that
cannot start says why over the control channel: before the appliance is up that ends the appliance, afterwards it counts as one
more death.
"""

import asyncio
import contextlib
import itertools
import logging
import socket
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from appliance.director.known_services import KnownServices
from appliance.director.worker_process import Process, StartProcess, end, how_it_ended, start_worker
from appliance.ipc.messages import (
    Ask,
    AwaitSettled,
    ChangeDrained,
    ChangeHealth,
    ChangeSessionLog,
    Done,
    Ended,
    EndWalk,
    Forget,
    Message,
    MessageError,
    More,
    Piece,
    Refused,
    Start,
    decode,
    encode,
)
from appliance.ipc.plan import Plan, ServicePlan
from appliance.ipc.queries import Query, ShardDownError, ShardFailedError

log = logging.getLogger("appliance.supervisor")

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
GOOD_LIFE_S = 10.0
"""After a worker that lived this long, the next one is started after the first pause again."""

ANSWER_TIMEOUT_S = 5.0
"""How long a change of services, and each piece of an answer, waits for the worker. A worker takes a message about every 20 ms,
also under load."""

_LINE_LIMIT_BYTES = 1 << 20


class WorkerFailedError(RuntimeError):
    """A worker could not start; the message is the worker's own."""


class ShardProcess:
    """The worker of one shard: one process after the other. `run` is the task that keeps one running; cancel it to stop it."""

    def __init__(
        self, plan: Plan, shared_fd: int, on_death: Callable[[], None] = lambda: None, start: StartProcess = start_worker
    ) -> None:
        """`on_death` is called whenever a worker has ended, before the next one is started. `start` starts a process."""
        self.shard = plan.shard
        self.queue_num = plan.queue_num
        self.pid: int | None = None
        self.up = False
        """Whether the worker is ready for packets."""
        self.is_silent = False
        """Whether the worker does nothing, though it is up: `director.watchdog` writes this."""
        self.has_predecessor = False
        """Whether the next worker comes after another one, of this run or of the one before."""
        self.lane_fds: tuple[int, ...] = ()
        """The descriptors that its workers get of the lane's maps."""
        self.hear: Callable[[Ended], None] = lambda _: None
        """What is called with the sessions that have ended in its workers."""
        self.first_start: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the worker is ready for packets for the first time; WorkerFailedError when it cannot start."""
        self._plan = plan
        self._shared_fd = shared_fd
        self._on_death = on_death
        self._start = start
        self._process: Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._numbers = itertools.count(1)
        self._start_number = 0
        self._known = KnownServices()
        self._answers: dict[int, asyncio.Future[Done | Piece]] = {}
        """By the number of the message that is to be answered."""

    async def run(self) -> None:
        """Start the worker, and again whenever it dies, until cancelled."""
        pause_s = 0.0
        while True:
            born = time.monotonic()
            try:
                death = await self._live()
            except (
                Exception
            ) as error:  # for instance no file descriptor left: the other shards go on, and this one is tried again
                death = f"could not be started or followed: {error!r}"
            if not self.first_start.done():
                self.first_start.set_exception(WorkerFailedError(f"shard {self.shard}: {death}"))
                return
            lived_long = time.monotonic() - born >= GOOD_LIFE_S
            pause_s = FIRST_PAUSE_S if lived_long or not pause_s else min(2 * pause_s, LONGEST_PAUSE_S)
            log.error("shard %d: worker %s; starting it again in %.1f s", self.shard, death, pause_s)
            await asyncio.sleep(pause_s)

    async def change_services(self, services: tuple[ServicePlan, ...]) -> None:
        """Give the worker other services, and wait until they are in force. Every worker that is started later has them as well.

        It is told what is new, in parts. Raises ShardFailedError in the end when the worker refuses one, or does not answer in
        ANSWER_TIMEOUT_S; the rest is sent all the same. A worker that dies is no error, because the next one starts with them."""
        self._plan = replace(self._plan, services=services)
        failure: ShardFailedError | None = None
        for message in self._known.news(services):
            self._known.told(message)
            try:
                if await self._tell(message, waits=not failure):
                    self._known.confirmed(message)
            except ShardFailedError as error:
                failure = failure or error
        if failure:
            raise failure

    async def change_health(self, down: tuple[int, ...]) -> None:
        """Tell the worker the slots of all real servers that are down, as `change_services` does with services."""
        self._plan = replace(self._plan, down=down)
        await self._tell(ChangeHealth(down))

    async def change_drained(self, drained: tuple[int, ...]) -> None:
        """Tell the worker the slots of all real servers that are drained, as `change_services` does with services."""
        self._plan = replace(self._plan, drained=drained)
        await self._tell(ChangeDrained(drained))

    async def change_session_log(self, log_per_s: int, services: tuple[str, ...]) -> None:
        """Tell the worker which sessions it has to tell at their end, as `change_services` does with services."""
        self._plan = replace(self._plan, log_per_s=log_per_s, logged_services=services)
        await self._tell(ChangeSessionLog(log_per_s, [*services]))

    async def forget(self, real_servers: Sequence[tuple[str, str, int]]) -> None:
        """Have the worker count no more for real servers that were removed: service, address and port of each. Raises
        ShardFailedError when one of them has sessions there, and when the worker is away: then nobody knows."""
        if not self.up or self.is_silent:
            raise ShardFailedError(f"shard {self.shard}: its worker is away at this moment")
        try:
            await self._answer_in_time(self._send(Forget([*map(list, real_servers)])))
        except ShardDownError as error:
            raise ShardFailedError(str(error)) from error

    async def settled(self, within_s: float) -> None:
        """Wait until the sessions of the worker know of the changes before this: those of removed services have ended then.

        Raises ShardFailedError as `change_services` does, but after `within_s`.
        """
        await self._tell(AwaitSettled(), within_s)

    async def _tell(self, change: Message, within_s: float | None = None, *, waits: bool = True) -> bool:
        """Returns whether the worker has said that it is in force."""
        # Also while it is still starting: the old plan may be on its way, and then this follows it. Without a writer no plan has
        # been sent, and the next one that is has the change in it.
        if self._writer is None:
            return False
        number = self._send(change)
        if waits and not self.is_silent:  # one that does nothing at this moment finds the message when it goes on
            with contextlib.suppress(ShardDownError):
                await self._answer_in_time(number, within_s)
                return True
        return False

    def kill(self) -> None:
        """Kill the worker, if there is one; `run` starts the next one."""
        if self._process is not None:
            self._process.kill()

    async def ask(self, query: Query) -> AsyncGenerator[Piece, None]:
        """The shard's answer in pieces, each asked for when the one before was taken.

        Raises ShardDownError when the worker is away, or dies meanwhile, because an answer that looks whole must be whole; and
        ShardFailedError when the worker is there and cannot answer, does nothing, or takes longer than ANSWER_TIMEOUT_S.
        """
        # Not before it is ready: until then a worker reads its plan and nothing else, and would not answer.
        if not self.up:
            raise ShardDownError(f"the worker of shard {self.shard} is away")
        if self.is_silent:  # it may well have sessions, so this is not the same as a worker that is away
            raise ShardFailedError(f"shard {self.shard}: the worker does nothing at this moment")
        writer = self._writer
        walk = number = self._send(Ask(query))
        is_last = False
        try:
            while not is_last:
                piece = await self._answer_in_time(number)
                if not isinstance(piece, Piece):
                    raise ShardFailedError(f"shard {self.shard}: the worker answered a query with {piece!r}")
                is_last = piece.is_last
                yield piece
                if not is_last:
                    if self._writer is not writer:
                        raise self._death()
                    number = self._send(More(walk))
        finally:
            if not is_last and self._writer is writer:
                self._send(EndWalk(walk))

    def _death(self) -> ShardDownError:
        return ShardDownError(f"the worker of shard {self.shard} died")

    def _send(self, message: Message) -> int:
        """Send a message to the worker, which is there; returns its number."""
        number = next(self._numbers)
        if self._writer is not None:
            self._writer.write(encode(number, message))
        return number

    async def _answer_to(self, number: int) -> Done | Piece:
        """The answer to the message that was just sent. Raises ShardDownError and ShardFailedError, as `ask` does."""
        answer: asyncio.Future[Done | Piece] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            return await answer
        finally:
            del self._answers[number]

    async def _answer_in_time(self, number: int, within_s: float | None = None) -> Done | Piece:
        """The same; ShardFailedError also when it does not come within this time, ANSWER_TIMEOUT_S by default."""
        within_s = ANSWER_TIMEOUT_S if within_s is None else within_s
        try:
            async with asyncio.timeout(within_s):
                return await self._answer_to(number)
        except TimeoutError as error:
            raise ShardFailedError(f"shard {self.shard}: no answer within {within_s:.0f} s") from error

    async def _live(self) -> str:
        """Start one worker and wait for its end; returns how it ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_LINE_LIMIT_BYTES)
            with contextlib.closing(writer):
                process = await self._start(self._shared_fd, theirs.fileno(), self.lane_fds)
                theirs.close()  # so that the worker's death is the end of what can be read
                return await self._live_as(process, reader, writer)

    async def _live_as(self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        self.pid, self._process = process.pid, process
        self._writer = writer
        failure = None
        try:
            self._known.start(self._plan.services)
            self._start_number = self._send(Start(replace(self._plan, has_predecessor=self.has_predecessor)))
            failure = await self._listen(reader)
        finally:
            self.has_predecessor = True
            self._is_down()
            await end(process)
            self._on_death()
        return failure or how_it_ended(process)

    async def _listen(self, reader: asyncio.StreamReader) -> str | None:
        """Take the worker's messages until it is gone; returns the reason when it could not start."""
        while (line := await _next_line(reader)) is not None:
            try:
                number, message = decode(line)
            except MessageError as error:
                failure = self._take_unreadable(error)
            else:
                failure = self._take(number, message)
            if failure is not None:
                return failure
        return None

    def _take(self, number: int, message: Message) -> str | None:
        """Hand one message to whoever waits for it. Returns the reason when it says that the worker cannot start."""
        if isinstance(message, Ended):
            self.hear(message)
        elif not isinstance(message, Done | Piece | Refused):
            self._refuse(number, f"a worker does not say {type(message).__name__}")
        elif not self.up and isinstance(message, Refused):
            return message.reason
        elif not self.up and message.of == self._start_number:
            self._is_up()
        else:
            self._hand_over(message)
        return None

    def _hand_over(self, message: Done | Piece | Refused) -> None:
        answer = self._answers.get(message.of)
        if answer is None or answer.done():  # it took too long, or nobody wants the rest of the walk
            if isinstance(message, Refused):
                log.error("shard %d: the worker refused a message: %s", self.shard, message.reason)
        elif isinstance(message, Refused):
            answer.set_exception(ShardFailedError(f"shard {self.shard}: {message.reason}"))
        else:
            answer.set_result(message)

    def _take_unreadable(self, error: MessageError) -> str | None:
        """What comes of a line that is no message: whoever waits for it gets the error, and the worker is told."""
        if not self.up:
            return str(error)
        # Without the number of the question it may have been the answer to any of them.
        for number, answer in self._answers.items():
            if (error.of or number) == number and not answer.done():
                answer.set_exception(ShardFailedError(f"shard {self.shard}: {error}"))
        if error.is_refusal:
            log.error("shard %d: %s", self.shard, error)
        else:
            self._refuse(error.number, str(error))
        return None

    def _refuse(self, of: int, reason: str) -> None:
        log.error("shard %d: cannot take what the worker says: %s", self.shard, reason)
        self._send(Refused(of, reason))

    def _is_up(self) -> None:
        self.up = True
        log.info("shard %d: ready, pid %s, queue %d", self.shard, self.pid, self._plan.queue_num)
        if not self.first_start.done():
            self.first_start.set_result(None)

    def _is_down(self) -> None:
        self.up = False
        self.pid = self._process = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(self._death())


async def _next_line(reader: asyncio.StreamReader) -> bytes | None:
    """The next line; empty when it was too long; None when the worker is gone, also in the middle of a line."""
    try:
        line = await reader.readline()
    except ConnectionError:
        return None
    except ValueError:  # longer than the limit: the reader has thrown away what it had of it
        return b""
    return line if line.endswith(b"\n") else None
