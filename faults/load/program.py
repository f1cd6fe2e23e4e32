"""The program of the clients, as whoever started it sees it."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from bench.rig.topology import BenchError, module
from faults.records import Record

_END_S = 20.0


class Moved(NamedTuple):
    """How things went since some time: of all streams, how many have ended so far, and how many of the others had progress; the
    outcomes of the connections and of the datagrams that began since, with how many had each."""

    streams: int
    ended: int
    moved: int
    connections: dict[str, int]
    datagrams: dict[str, int]


class Load:
    """Clients that are running."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def moved(self, since: float) -> Moved:
        """How things went since that time."""
        return Moved(**self._ask(f"moved {since}"))

    def stop(self) -> Record:
        """End the clients and return what they noted."""
        return Record.of_data(self._ask("stop"))

    def _ask(self, command: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            raise BenchError(f"the clients ended with {self._process.wait(_END_S)}")
        return json.loads(line)


@contextmanager
def running(host: str, tcp_port: int, udp_port: int, *options: str) -> Iterator[Load]:
    """With clients that have begun; they are gone afterwards. Raises BenchError when they cannot begin."""
    command = module("faults.load", host, str(tcp_port), str(udp_port), *options)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "begun\n":
                raise BenchError("the clients could not begin")
            yield Load(process)
        finally:
            process.kill()
