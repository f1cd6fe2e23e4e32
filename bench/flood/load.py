"""One measurement under a flood: wrk for the rate of fresh connections, and a probe that times how long one takes to connect."""

import http.client
import threading
import time
from pathlib import Path
from typing import NamedTuple

from bench.rig.flooding import flooding
from bench.rig.reading import Reading
from bench.rig.topology import HTTP_PORT, BenchError
from bench.rig.wrk import new_connections

_BEFORE_S, _AFTER_S = 0.5, 1.0
"""The flood begins before wrk and ends after it, by so much."""

_PROBE_PAUSE_S = 0.02
_PROBE_TIMEOUT_S = 10.0
_HTTP_OK = 200


class Load(NamedTuple):
    """One measurement. `fresh` is wrk's connections per second and its errors; `connects_s` are the times that the probe
    measured."""

    fresh: Reading
    flood_per_s: float
    connects_s: tuple[float, ...]
    failed_probes: int


class Probe:
    """Opens fresh connections one after another, in a thread of its own, and measures how long each takes to connect."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.connects_s: list[float] = []
        self.failed = 0

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(_PROBE_PAUSE_S):
            try:
                self.connects_s.append(self._connect_s())
            except (OSError, http.client.HTTPException):
                self.failed += 1

    def _connect_s(self) -> float:
        connection = http.client.HTTPConnection(self._target, HTTP_PORT, timeout=_PROBE_TIMEOUT_S)
        try:
            start = time.monotonic()
            connection.connect()
            took_s = time.monotonic() - start
            connection.request("GET", "/", headers={"Connection": "close"})
            # A client with a cookie is connected before any real server is asked: only an answer shows that the session is open.
            if connection.getresponse().status != _HTTP_OK:
                raise ConnectionError
            return took_s
        finally:
            connection.close()


def measure(target: str, rate_per_s: int, seconds: int, directory: Path) -> Load:
    """Open fresh connections to the target for so many seconds, while SYNs come at that rate; 0 is no flood."""
    long_s = seconds + _BEFORE_S + _AFTER_S
    with flooding("bench.senders.syn_flood", target, str(HTTP_PORT), rate_per_s=rate_per_s, seconds=long_s) as outcome:
        time.sleep(_BEFORE_S)
        with Probe(target) as probe:
            fresh = _fresh(target, seconds, directory)
        flood_per_s = outcome().per_s
    return Load(fresh, flood_per_s, tuple(probe.connects_s), probe.failed)


def _fresh(target: str, seconds: int, directory: Path) -> Reading:
    try:
        return new_connections((target,), seconds, directory)
    except BenchError as error:
        return Reading(0.0, str(error))  # a mode that does not answer is a result
