"""The worker's end of the socket to the director.

An answer about sessions is sent in pieces, and each piece is made when the director asks for it. So the memory that an answer
takes here stays small, however slow its reader is.
"""

import logging
import socket
import time
from collections import deque

from appliance.ipc.messages import (
    Ask,
    AwaitSettled,
    ChangeDrained,
    ChangeHealth,
    ChangeServices,
    ChangeSessionLog,
    Done,
    Ended,
    EndWalk,
    Forget,
    LineReader,
    Message,
    MessageError,
    More,
    Piece,
    Refused,
    Start,
    decode,
    encode,
)
from appliance.ipc.plan import Plan
from appliance.ipc.queries import TRACE
from appliance.sessions.walk import SessionWalk
from appliance.shard.shard import Shard
from appliance.shard.tracer import PacketTrace, Tracer

log = logging.getLogger("appliance.worker")

_READ_BYTES = 1 << 16


class ControlChannel:
    """Reads what the director says, and answers it. After `wait_for_plan` nothing here blocks."""

    def __init__(self, control: socket.socket) -> None:
        self.socket = control
        """This end. Only this class reads it and writes to it; others may wait for it."""
        self._reader = LineReader()
        self._received: deque[bytes] = deque()
        self._sent = 0
        self._start_number = 0
        self._walks: dict[int, SessionWalk | PacketTrace] = {}
        """By the number of the message that asked for it."""
        self._asked: deque[tuple[int, int]] = deque()
        """The pieces that are to be made: the walk, and the number of the message that asked for the piece."""
        self._await_settled: list[int] = []
        """The numbers of the messages that are answered when all sessions know of the changes before them."""
        self._unsent = b""
        self.closed = False
        """Whether the director has closed its end."""

    def wait_for_plan(self) -> Plan:
        """Block until the director has sent the plan. Raises SystemExit when it went away instead, or sent something else."""
        while not self._received:
            data = self.socket.recv(_READ_BYTES)
            if not data:
                raise SystemExit("the director went away before it sent a plan")
            self._received += self._reader.feed(data)
        self.socket.setblocking(False)
        try:
            self._start_number, message = decode(self._received.popleft())
            if not isinstance(message, Start):
                raise MessageError(f"the first message is {type(message).__name__} and not Start")
        except MessageError as error:
            self.refuse_start(str(error))
            raise SystemExit(f"cannot read the plan: {error}") from error
        return message.plan

    def confirm_start(self) -> None:
        """Tell the director that this worker is ready for packets."""
        self._send(Done(self._start_number))

    def refuse_start(self, reason: str) -> None:
        """Tell the director that this worker cannot start."""
        self._send(Refused(self._start_number, reason))

    @property
    def has_output(self) -> bool:
        """Whether anything waits to be sent, to be made or to be done."""
        return bool(self._unsent or self._asked or self._received)

    def converse(self, shard: Shard, tracer: Tracer) -> None:
        """Do what the director has said, one change of services a turn, and make at most one piece of an answer. No error of a
        message ends the worker. `tracer` is that of the shard."""
        self._receive()
        is_costly = False
        while self._received and not is_costly:
            is_costly = self._take(self._received.popleft(), shard, tracer)
        if self._await_settled and shard.is_settled():
            for number in self._await_settled:
                self._send(Done(number))
            self._await_settled.clear()
        self._advance(time.monotonic(), tracer, shard)

    def _receive(self) -> None:
        """Take in lines; the director's end of file closes the channel."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:  # a director that was killed before it had read everything
            data = b""
        self.closed = not data
        self._received += self._reader.feed(data)

    def _take(self, line: bytes, shard: Shard, tracer: Tracer) -> bool:
        """Returns whether that may have taken some time."""
        try:
            number, message = decode(line)
        except MessageError as error:
            log.error("cannot read what the director says: %s", error)
            if not error.is_refusal:
                self._send(Refused(error.number, str(error)))
            return False
        try:
            self._do(number, message, shard, tracer)
        except Exception as error:  # one message must never end the sessions of this worker
            self._failed(number, type(message).__name__, error)
        return isinstance(message, ChangeServices)

    def _do(self, number: int, message: Message, shard: Shard, tracer: Tracer) -> None:
        match message:
            case ChangeServices(services, gone):
                shard.change_services(services, gone)
                self._send(Done(number))
            case ChangeHealth(down):
                shard.change_health(down)
                self._send(Done(number))
            case ChangeDrained(drained):
                shard.change_drained(drained)
                self._send(Done(number))
            case ChangeSessionLog(log_per_s, logged_services):
                shard.sessions.ended.change(log_per_s, logged_services)
                self._send(Done(number))
            case Forget(real_servers):
                self._forget(number, real_servers, shard)
            case AwaitSettled():
                self._await_settled.append(number)
            case Ask(query):
                self._walks[number] = tracer.begin(query) if query.kind == TRACE else shard.walk(query)
                self._asked.append((number, number))
            case More(walk) if walk in self._walks:
                self._asked.append((walk, number))
            case EndWalk(walk):
                tracer.end(self._walks.pop(walk, None))
                self._send(Done(number))
            case Refused(of, reason):
                log.error("the director refused message %d: %s", of, reason)
            case _:
                log.error("the director sent a message that does not fit here: %r", message)
                self._send(Refused(number, f"{type(message).__name__} does not fit here"))

    def _forget(self, number: int, real_servers: list[tuple[str, str, int]], shard: Shard) -> None:
        try:
            shard.forget_real_servers(real_servers)
        except ValueError as error:  # one of them has sessions: the director may try it again
            self._send(Refused(number, str(error)))
        else:
            self._send(Done(number))

    def _advance(self, now: float, tracer: Tracer, shard: Shard) -> None:
        """Make and send one piece that was asked for, unless the director has not yet taken the last one."""
        self._flush()
        if self._unsent or not self._asked:
            return
        walk_number, number = self._asked.popleft()
        walk = self._walks.get(walk_number)
        if walk is None:  # it was ended while this waited for its turn
            self._send(Done(number))
            return
        try:
            items, is_last, place = walk.step(now)
            self.tell_ended(shard)  # first: those that were cut are known when the answer comes
            answer = encode(self._next_number(), Piece(number, items, is_last, place))
        except Exception as error:  # whoever asked gets an error in place of the rest, and the worker goes on
            del self._walks[walk_number]
            tracer.end(walk)
            self._failed(number, type(walk).__name__, error)
            return
        if is_last:
            del self._walks[walk_number]
        self._put(answer)

    def tell_ended(self, shard: Shard) -> None:
        """Tell the director of some sessions that have ended, unless it has not yet taken what was sent before."""
        if self._unsent:
            return
        rows, left_out = shard.sessions.ended.take()
        if rows or left_out:
            self._send(Ended([*map(list, rows)], left_out))

    def _failed(self, number: int, what: str, error: Exception) -> None:
        log.error("%s failed because of an error of ours; please report this", what, exc_info=error)
        self._send(Refused(number, f"{what} failed: {error!r}"))

    def _next_number(self) -> int:
        self._sent += 1
        return self._sent

    def _send(self, message: Message) -> None:
        self._put(encode(self._next_number(), message))

    def _put(self, line: bytes) -> None:
        """Send what the socket takes of this line, and keep the rest for later."""
        self._unsent += line
        self._flush()

    def _flush(self) -> None:
        try:
            sent = self.socket.send(self._unsent) if self._unsent else 0
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.closed = True
            return
        self._unsent = self._unsent[sent:]
