"""The worker's end of the socket to the director."""

import socket
import time
from collections import deque
from typing import Any

from appliance.ipc.messages import LineReader, decode_plan, decode_query, encode
from appliance.ipc.plan import Plan, services_from_json
from appliance.sessions.walk import SessionWalk
from appliance.shard.shard import Shard


class ControlChannel:
    """The worker's end of the socket to the director.

    An answer about sessions goes out piece by piece, each asked for by itself, so that a slow reader far away fills no memory
    here.
    """

    def __init__(self, control: socket.socket) -> None:
        self._socket = control
        self._reader = LineReader()
        self._received: deque[dict[str, Any]] = deque()
        self._walks: dict[int, SessionWalk] = {}
        self._asked: deque[int] = deque()
        self._unsent = b""
        self.closed = False

    def wait_for_plan(self) -> Plan:
        """Block until the director has sent the plan; SystemExit when it went away instead."""
        while not self._received:
            data = self._socket.recv(1 << 16)
            if not data:
                raise SystemExit("the director went away before it sent a plan")
            self._received += self._reader.feed(data)
        self._socket.setblocking(False)
        return decode_plan(self._received.popleft())

    def send(self, message: dict[str, Any]) -> None:
        """Queue one message and send what the socket takes."""
        self._unsent += encode(message)
        self._flush()

    @property
    def has_output(self) -> bool:
        """Whether anything waits to be sent or to be made."""
        return bool(self._unsent or self._asked)

    @property
    def is_walking(self) -> bool:
        """Whether somebody is in the middle of the sessions."""
        return bool(self._walks)

    def converse(self, shard: Shard) -> None:
        """Take in what the director says and give it at most one piece of an answer; never blocks."""
        self._receive()
        while self._received:
            self._obey(self._received.popleft(), shard)
        self._advance(time.monotonic())

    def _receive(self) -> None:
        """Take in messages; the director's end of file closes the channel."""
        try:
            data = self._socket.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionResetError:  # a director that was killed before it had read everything
            data = b""
        self.closed = not data
        self._received += self._reader.feed(data)

    def _obey(self, message: dict[str, Any], shard: Shard) -> None:
        if "services" in message:
            shard.change_services(services_from_json(message["services"]))
        elif "ask" in message:
            self._walks[message["walk"]] = shard.walk(decode_query(message["ask"]))
            self._asked.append(message["walk"])
        elif message["more"]:
            self._asked.append(message["walk"])
        else:
            self._walks.pop(message["walk"], None)

    def _advance(self, now: float) -> None:
        """Make and send one piece that was asked for, unless the director has not yet taken the last one."""
        self._flush()
        if self._unsent or not self._asked:
            return
        number = self._asked.popleft()
        if walk := self._walks.get(number):
            piece = walk.step(now)
            if piece.is_last:
                del self._walks[number]
            self.send({"walk": number, "items": piece.items, "is_last": piece.is_last, "place": piece.place})

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._unsent) if self._unsent else 0
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.closed = True
            return
        self._unsent = self._unsent[sent:]
