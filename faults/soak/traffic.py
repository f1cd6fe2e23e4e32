"""`python -m faults.soak.traffic HOST TCP_PORT UDP_PORT`: clients with all kinds of habits, until standard input ends.

For each line on standard input it prints how often each habit had which outcome so far, as JSON.
"""

import argparse
import asyncio
import json
import random
import socket
import struct
import sys
from collections import Counter
from contextlib import closing
from functools import partial

import uvloop

from bench.senders.flood import SPOOFED_NETWORK
from bench.senders.syn_flood import syn
from faults.load import exchanges
from faults.load.__main__ import BULK, STEADY
from faults.load.streams import Pace, StreamClient
from faults.pattern import WELCOME_BYTES, Hello, Pattern
from faults.records import ANSWERED

_SHORT_EVERY_S, _RUDE_EVERY_S, _DATAGRAM_EVERY_S, _HALF_OPEN_EVERY_S = 0.025, 0.1, 0.05, 0.1
_KEPT, _BULK = 10, 2
_SHORTEST_LIFE_S, _LONGEST_LIFE_S = 2.0, 12.0
_RST_ON_CLOSE = struct.pack("ii", 1, 0)
_BLOCK_BYTES = 100
_ISN_BITS = 32
_LOWEST_PORT, _HIGHEST_PORT = 1024, 65_535


class Clients:
    """All habits and their outcomes."""

    def __init__(self, host: str, tcp_port: int, udp_port: int) -> None:
        self._host, self._tcp_port, self._udp_port = host, tcp_port, udp_port
        self.outcomes: dict[str, Counter[str]] = {}
        self._seeds = iter(range(1 << 40))

    def _note(self, habit: str, outcome: str) -> None:
        self.outcomes.setdefault(habit, Counter())[outcome] += 1

    async def live(self, held: socket.socket, raw: socket.socket) -> None:
        """All habits at once, until cancelled."""
        by_connection = exchanges.by_connection(self._host, self._tcp_port)
        asked = (
            self._ask("short connections", by_connection, _SHORT_EVERY_S),
            self._ask("connections that the client resets", self._rude, _RUDE_EVERY_S),
            self._ask("datagrams", exchanges.by_datagram(self._host, self._udp_port), _DATAGRAM_EVERY_S),
            self._ask("datagrams of a held socket", exchanges.by_held_socket(held), _DATAGRAM_EVERY_S, one_at_a_time=True),
            self._half_open(raw),
        )
        kept = [self._keep("kept connections", STEADY) for _ in range(_KEPT)]
        bulk = [self._keep("bulk", BULK) for _ in range(_BULK)]
        async with asyncio.TaskGroup() as group:
            for habit in (*asked, *kept, *bulk):
                group.create_task(habit)

    async def _ask(self, habit: str, ask: exchanges.Ask, every_s: float, *, one_at_a_time: bool = False) -> None:
        async with asyncio.TaskGroup() as group:
            for number in self._seeds:
                task = group.create_task(self._one(habit, ask, number))
                if one_at_a_time:
                    await task
                await asyncio.sleep(every_s)

    async def _one(self, habit: str, ask: exchanges.Ask, number: int) -> None:
        self._note(habit, (await exchanges.timed(ask, number)).outcome)

    async def _rude(self, number: int) -> str:
        """It resets the connection while the answer is on its way, or after it."""
        async with asyncio.timeout(exchanges.CONNECTION_S):
            reader, writer = await asyncio.open_connection(self._host, self._tcp_port)
            writer.write(Hello(_BLOCK_BYTES, number).encode() + Pattern(number).at(0, _BLOCK_BYTES))
            if number % 2:
                await reader.readexactly(WELCOME_BYTES + _BLOCK_BYTES)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        writer.transport.abort()
        return ANSWERED

    async def _keep(self, habit: str, pace: Pace) -> None:
        """One stream after the other, each for a while."""
        loop = asyncio.get_running_loop()
        for seed in self._seeds:
            _, stream = await loop.create_connection(partial(StreamClient, seed, pace), self._host, self._tcp_port)
            try:
                await asyncio.sleep(random.uniform(_SHORTEST_LIFE_S, _LONGEST_LIFE_S))
            finally:
                stream.close()
            record = stream.as_record()
            self._note(habit, record.how_it_ended or (ANSWERED if record.right_bytes else "no answer"))

    async def _half_open(self, raw: socket.socket) -> None:
        """SYNs of clients that are not there, so that nobody answers the SYN-ACK."""
        sources, target = [host.packed for host in SPOOFED_NETWORK.hosts()], socket.inet_aton(self._host)
        while True:
            port, isn = random.randint(_LOWEST_PORT, _HIGHEST_PORT), random.getrandbits(_ISN_BITS)
            raw.sendto(syn(random.choice(sources), port, target, self._tcp_port, isn), (self._host, 0))
            self._note("half-open connections", "sent")
            await asyncio.sleep(_HALF_OPEN_EVERY_S)


async def _obey(clients: Clients) -> None:
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(clients.outcomes), flush=True)


async def serve(host: str, tcp_port: int, udp_port: int) -> None:
    """The whole program."""
    clients = Clients(host, tcp_port, udp_port)
    with (
        closing(exchanges.connected_udp(host, udp_port)) as held,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
    ):
        living = asyncio.ensure_future(clients.live(held, raw))
        await _first(living, asyncio.ensure_future(_obey(clients)))


async def _first(*tasks: "asyncio.Future[None]") -> None:
    """Until one of them ends; the others are cancelled, and its error is raised."""
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for task in done:
        task.result()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("tcp_port", type=int)
    parser.add_argument("udp_port", type=int)
    options = parser.parse_args()
    uvloop.run(serve(options.host, options.tcp_port, options.udp_port))


if __name__ == "__main__":
    main()
