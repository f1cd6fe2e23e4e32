"""One measurement under a flood: wrk for the rate of fresh connections, a probe that times how long one takes to connect, and
the count of SYNs and answers while wrk runs."""

import http.client
import threading
import time
from pathlib import Path
from typing import NamedTuple

from bench.flood.captured import check_flood
from bench.flood.counting import PerSecond, counting
from bench.rig.flooding import flooding_meanwhile
from bench.rig.reading import Reading
from bench.rig.topology import HTTP_PORT, BenchError, Site
from bench.rig.wrk import ERRORS, new_connections

_ALONE_S = 1.0
"""The flood is alone for so long before wrk begins."""

_LATE_S = 10.0
"""Where a flood leaves others little time, wrk may need so much longer than it should. The flood goes on meanwhile."""

_PROBE_PAUSE_S = 0.02
_PROBE_TIMEOUT_S = 10.0
_HTTP_OK = 200


class Load(NamedTuple):
    """One measurement. `fresh` is wrk's connections per second and its errors; `flood` is what was counted while wrk ran, and
    `alone` before that, when nothing else used the cores; `connects_s` are the times that the probe measured; so many SYNs of the
    flood were `captured` and had right checksums."""

    fresh: Reading
    flood: PerSecond
    alone: PerSecond
    connects_s: tuple[float, ...]
    failed_probes: int
    captured: int = 0

    @property
    def errors(self) -> int:
        """Errors of wrk and of the probe."""
        return int(self.fresh.details.get(ERRORS, 0)) + self.failed_probes


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


def measure(site: Site, target: str, flooded: str, rate_per_s: int, seconds: int) -> Load:
    """Open fresh connections to the target for so many seconds, while SYNs go to `flooded` at that rate; 0 is no flood.

    Raises BenchError, also when SYNs of the flood are not as they should be.
    """
    sender, seconds_max = "bench.senders.syn_flood", _ALONE_S + seconds + _LATE_S
    flood = flooding_meanwhile(sender, flooded, str(HTTP_PORT), rate_per_s=rate_per_s, seconds_max=seconds_max)
    with counting(site) as counted, flood as goes_on:
        captured = check_flood(flooded) if rate_per_s else 0
        before = counted()
        time.sleep(_ALONE_S)
        alone = counted()
        with Probe(target) as probe:
            fresh = _fresh(target, seconds, site.directory)
            after = counted()
            reading = judged(fresh, was_flooded=goes_on())
    return Load(reading, after.since(alone), alone.since(before), tuple(probe.connects_s), probe.failed, captured)


def judged(fresh: Reading, *, was_flooded: bool) -> Reading:
    """The reading with what wrk cannot know: whether the flood went on to the end."""
    return fresh if was_flooded else fresh.with_trouble("the flood ended too early")


def _fresh(target: str, seconds: int, directory: Path) -> Reading:
    try:
        return new_connections((target,), seconds, directory)
    except BenchError as error:
        return Reading(0.0, str(error), details={ERRORS: 1})  # a mode that does not answer is a result
