"""`python -m faults.load HOST TCP_PORT UDP_PORT`: the clients, as one program.

It prints a line when all streams have begun. Then it reads commands, a line each, and answers each with one line of JSON:

    moved SINCE   how many streams have ended, and how many of the others have had progress since that time; the outcomes of the
                  connections and of the datagrams that began since
    stop          the whole `Record`; then the program ends
"""

import argparse
import asyncio
import json
import socket
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import uvloop

from faults.load import exchanges
from faults.load.streams import OPEN_S, Pace, StreamClient
from faults.records import Exchange, Record

STEADY = Pace(block_bytes=2_000, every_s=0.05, most_unanswered=8)
BULK = Pace(block_bytes=15_000, every_s=0.01, most_unanswered=16)

CONNECTION_EVERY_S = DATAGRAM_EVERY_S = 0.05


class Clients:
    """All traffic of one program."""

    def __init__(self, host: str, tcp_port: int, udp_port: int, held: socket.socket) -> None:
        self._at = host, tcp_port
        self.streams: list[StreamClient] = []
        self.connections = exchanges.Beginner(exchanges.by_connection(host, tcp_port), CONNECTION_EVERY_S)
        self.datagrams = exchanges.Beginner(exchanges.by_datagram(host, udp_port), DATAGRAM_EVERY_S)
        self.held = exchanges.Beginner(exchanges.by_held_socket(held), DATAGRAM_EVERY_S, one_at_a_time=True)

    async def begin_streams(self, paces: Iterable[Pace]) -> None:
        """Open the streams, and return when each has had an answer."""
        loop = asyncio.get_running_loop()
        for seed, pace in enumerate(paces):
            _, stream = await loop.create_connection(partial(StreamClient, seed, pace), *self._at)
            self.streams.append(stream)
        async with asyncio.timeout(OPEN_S):
            await asyncio.gather(*(stream.begun for stream in self.streams))

    def moved(self, since: float) -> dict[str, Any]:
        """The answer to `moved`."""
        opened = [stream for stream in self.streams if stream.is_open]
        return {
            "streams": len(self.streams),
            "ended": len(self.streams) - len(opened),
            "moved": sum(stream.last_progress > since for stream in opened),
            "connections": _outcomes(self.connections.over, since),
            "datagrams": _outcomes(self.datagrams.over, since),
        }

    async def run(self) -> Record:
        """Begin exchanges, and obey commands until `stop`."""
        loop = asyncio.get_running_loop()
        beginners = (self.connections, self.datagrams, self.held)
        tasks = [loop.create_task(beginner.run()) for beginner in beginners]
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).split():
            if line[0] == "stop":
                break
            print(json.dumps(self.moved(float(line[1]))), flush=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in self.streams:
            stream.close()
        for beginner in beginners:
            await beginner.rest()
        streams = tuple(stream.as_record() for stream in self.streams)
        return Record(streams, *(tuple(beginner.over) for beginner in beginners))


def _outcomes(over: Iterable[Exchange], since: float) -> Counter[str]:
    return Counter(one.outcome for one in over if one.began > since)


class Options(NamedTuple):
    """The command line."""

    host: str
    tcp_port: int
    udp_port: int
    steady: int
    bulk: int


async def serve(options: Options) -> None:
    """The whole program."""
    with closing(exchanges.connected_udp(options.host, options.udp_port)) as held:
        clients = Clients(options.host, options.tcp_port, options.udp_port, held)
        await clients.begin_streams([STEADY] * options.steady + [BULK] * options.bulk)
        print("begun", flush=True)
        record = await clients.run()
    print(json.dumps(record.as_data()), flush=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("tcp_port", type=int)
    parser.add_argument("udp_port", type=int)
    parser.add_argument("--steady", type=int, default=24)
    parser.add_argument("--bulk", type=int, default=2)
    uvloop.run(serve(Options(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
