"""COUNT clients that want to be connected to the service all the time: `many_clients.py COUNT`.

A client that is reset connects again, as a person would; one that gets no answer leaves the next tries to its kernel, and
begins anew when that gives up. The program
reads commands from standard input, a line each, and answers each with one line of JSON:

    connected   how many clients are connected now
    resets      how often a client was reset so far
    ask         each connected client makes a request: how many got a whole answer
    close N     N connected clients close with RST, and do not come back: how many
"""

import asyncio
import json
import os
import resource
import socket
import struct
import sys

_FILES = 16_384
_REQUEST = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
_END_OF_HEAD = b"\r\n\r\n"
_RST_ON_CLOSE = struct.pack("ii", 1, 0)
_AT_ONCE = 200
"""Clients that begin to connect at the same time: with more, the queues of the listening sockets would be full."""


class Connection(asyncio.Protocol):
    """One connection of one client."""

    def __init__(self, clients: "Clients") -> None:
        self._clients = clients
        self._answer = b""
        self._answered: asyncio.Future[bool] | None = None
        self.transport: asyncio.Transport | None = None
        self.is_over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._clients.connected[self] = None

    def ask(self) -> "asyncio.Future[bool]":
        """Make a request. The result is whether the whole answer came."""
        assert self.transport is not None
        self._answer, self._answered = b"", asyncio.get_running_loop().create_future()
        self.transport.write(_REQUEST)
        return self._answered

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(_END_OF_HEAD)
        length = head.lower().partition(b"content-length: ")[2].split(b"\r")[0]
        if end and len(body) == int(length) and self._answered is not None:
            self._answered.set_result(True)
            self._answered = None

    def connection_lost(self, _: Exception | None) -> None:
        self._clients.connected.pop(self, None)
        if self._answered is not None:
            self._answered.set_result(False)
        self.is_over.set_result(None)

    def leave(self) -> None:
        """Close with a RST, for good."""
        assert self.transport is not None
        self._clients.connected.pop(self)
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        self.transport.abort()


class Clients:
    """All clients."""

    def __init__(self) -> None:
        self.connected: dict[Connection, None] = {}
        self.resets = 0
        self._leaving: set[Connection] = set()

    async def stay(self) -> None:
        """One client: connect, and connect again whenever the connection ends."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(self), os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])
                )
            except TimeoutError:  # its kernel has given up after two minutes without an answer
                continue
            except OSError:
                self.resets += 1
                continue
            await connection.is_over
            if connection in self._leaving:
                return
            self.resets += 1

    async def ask(self) -> int:
        """Let each connected client make a request; returns how many got a whole answer."""
        return sum(await asyncio.gather(*(connection.ask() for connection in self.connected)))

    def close(self, count: int) -> int:
        """Let so many connected clients leave; returns how many did."""
        leaving = list(self.connected)[:count]
        self._leaving.update(leaving)
        for connection in leaving:
            connection.leave()
        return len(leaving)


async def _obey(clients: Clients, line: str) -> int:
    word, _, number = line.partition(" ")
    if word == "ask":
        return await clients.ask()
    if word == "close":
        return clients.close(int(number))
    return clients.resets if word == "resets" else len(clients.connected)


async def main(count: int) -> None:
    """Read commands until standard input ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, most), most))
    clients, tasks = Clients(), []
    loop = asyncio.get_running_loop()
    for number in range(count):
        tasks.append(loop.create_task(clients.stay()))
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        print(json.dumps(await _obey(clients, line)), flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
