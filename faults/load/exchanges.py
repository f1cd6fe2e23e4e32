"""Exchanges: a question and its answer, on a connection of its own or in a datagram. Each has one outcome."""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import closing

from faults.load.streams import in_words
from faults.pattern import WELCOME_BYTES, Hello, Pattern, answers_to
from faults.records import ANSWERED, CORRUPTED, Exchange

CONNECTION_S, DATAGRAM_S = 3.0, 1.0
"""How long an answer is waited for. A SYN is sent again after one second, a datagram is not."""

_BLOCK_BYTES = 100

_OWN_PORTS = range(22_000, 32_000)
"""Below those that the kernel chooses, above those of `faults.senders`."""

_DATAGRAMS_MAX_PER_S = 20
_SEEDS = 1 << 48
"""Seeds of exchanges are above those of streams."""

Ask = Callable[[int], Awaitable[str]]
"""One exchange with a number of its own; returns its outcome."""


async def timed(ask: Ask, number: int) -> Exchange:
    """One exchange, and how long it took."""
    began = time.monotonic()
    try:
        outcome = await ask(number)
    except (OSError, asyncio.IncompleteReadError) as error:
        outcome = in_words(error)
    return Exchange(began, time.monotonic() - began, outcome)


def by_connection(host: str, port: int) -> Ask:
    """Exchanges of one block each, on a connection of their own that the client closes."""

    async def ask(number: int) -> str:
        seed = _SEEDS + number
        async with asyncio.timeout(CONNECTION_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(Hello(_BLOCK_BYTES, seed).encode() + Pattern(seed).at(0, _BLOCK_BYTES))
                answer = await reader.readexactly(WELCOME_BYTES + _BLOCK_BYTES)
            except BaseException:
                writer.transport.abort()  # what cannot be sent would keep it open
                raise
            writer.close()
        return ANSWERED if answer[WELCOME_BYTES:] == answers_to(seed).at(0, _BLOCK_BYTES) else CORRUPTED

    return ask


def by_datagram(host: str, port: int) -> Ask:
    """Exchanges of one datagram each way, each from a socket of its own.

    No port comes again while the gateway may still know it, also when one program follows another: their numbers go on with time.
    """
    first = int(time.monotonic() * _DATAGRAMS_MAX_PER_S)

    async def ask(number: int) -> str:
        own_port = _OWN_PORTS[(first + number) % len(_OWN_PORTS)]
        with closing(connected_udp(host, port, own_port)) as udp:
            return await _ask_on(udp, number)

    return ask


def by_held_socket(udp: socket.socket) -> Ask:
    """Exchanges of one datagram each way, one after the other on this socket."""

    async def ask(number: int) -> str:
        return await _ask_on(udp, number)

    return ask


def connected_udp(host: str, port: int, own_port: int = 0) -> socket.socket:
    """A socket for datagrams to this address, from this port or from any."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    udp.bind(("", own_port))
    udp.connect((host, port))
    return udp


async def _ask_on(udp: socket.socket, number: int) -> str:
    question = Pattern(_SEEDS + number).at(0, _BLOCK_BYTES)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DATAGRAM_S):
        await loop.sock_sendall(udp, question)
        while True:
            head, _, echoed = (await loop.sock_recv(udp, 1 << 16)).partition(b"\n")
            if echoed == question:
                return ANSWERED
            # The answer to a question that was given up may still come; anything else is wrong.
            if not (number and _is_older(echoed, number)) or not json.loads(head)["real_server"]:
                return CORRUPTED


_REMEMBERED = 200


def _is_older(echoed: bytes, number: int) -> bool:
    return any(echoed == Pattern(_SEEDS + one).at(0, _BLOCK_BYTES) for one in range(max(0, number - _REMEMBERED), number))


class Beginner:
    """Begins an exchange every `every_s`, whatever becomes of those before; or, one at a time, as soon as the last is over."""

    def __init__(self, ask: Ask, every_s: float, *, one_at_a_time: bool = False) -> None:
        self._ask, self._every_s, self._one_at_a_time = ask, every_s, one_at_a_time
        self._under_way: set[asyncio.Task[None]] = set()
        self.over: list[Exchange] = []

    async def run(self) -> None:
        """Begin exchanges until cancelled."""
        loop, number = asyncio.get_running_loop(), 0
        while True:
            task = loop.create_task(self._one(number))
            number += 1
            if self._one_at_a_time:
                await task
            else:
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            await asyncio.sleep(self._every_s)

    async def _one(self, number: int) -> None:
        self.over.append(await timed(self._ask, number))

    async def rest(self) -> None:
        """Wait for the exchanges under way. Each has a time limit of its own."""
        await asyncio.gather(*self._under_way)
