"""What others wait for while the director is at work: an answer of its API, and the next turn of a worker."""

import mmap
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, socket
from types import TracebackType
from typing import Self

from appliance.ipc.shared_layout import SharedState, shape_of

_PAUSE_S = 0.002
_ANSWER_S = 120.0


class UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWER_S)
        self._path = path

    def connect(self) -> None:
        """Connect to it."""
        self.sock = socket(AF_UNIX)
        self.sock.settimeout(_ANSWER_S)
        self.sock.connect(str(self._path))


def ask(api: Path, path: str, accept: str = "application/json") -> bytes:
    """The body of an answer. Raises AssertionError for any but 200."""
    connection = UnixConnection(api)
    try:
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (path, answer.status, body[:500])
        return body
    finally:
        connection.close()


def heartbeats_of(directory: Path) -> memoryview:
    """The turns of each worker, as they are counted in the shared memory of the run with this runtime directory."""
    (file,) = directory.glob("counters-*")
    with file.open("rb") as stream:
        memory = memoryview(mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ))
    shape = shape_of(memory)
    assert shape is not None
    return SharedState(memory, shape.shards, shape.destinations).heartbeats


class Watch:
    """For a block: the longest time, in seconds, that an answer of the API took, and that a worker made no turn. One that has
    nothing to do makes a turn every 20 ms."""

    def __init__(self, directory: Path, api: Path) -> None:
        self._api = api
        self._heartbeats = heartbeats_of(directory)
        self.longest_answer_s = self.longest_turn_s = 0.0
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._ask, self._look)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._is_over.wait(_PAUSE_S):
            self.longest_answer_s = max(self.longest_answer_s, seconds(lambda: ask(self._api, "/")))

    def _look(self) -> None:
        before, since = self._heartbeats.tolist(), [time.monotonic()] * len(self._heartbeats)
        while not self._is_over.wait(_PAUSE_S / 2):
            now = time.monotonic()
            for shard, turns in enumerate(self._heartbeats.tolist()):
                if turns != before[shard]:
                    self.longest_turn_s = max(self.longest_turn_s, now - since[shard])
                    before[shard], since[shard] = turns, now


def seconds(do: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    do()
    return time.perf_counter() - began
