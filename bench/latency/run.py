"""The part that runs inside the lab: the ways in turns, each alone and beside a bulk stream in either direction."""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from bench.latency.asking import Waits, ask
from bench.rig.checks import check_way
from bench.rig.counters import growth, queue_counts
from bench.rig.load import Reading, bulk_from_server, bulk_to_server
from bench.rig.results import schedule
from bench.rig.servers import prepare_network, servers_running
from bench.rig.topology import Site
from bench.rig.ways import APPLIANCE, BARE_LOOP, NAT, PLAIN, Way

SHARDS = 1
"""With one shard the bulk stream is in the shard of the small requests, whatever ports they have."""

WAYS = (PLAIN, NAT, BARE_LOOP, APPLIANCE)

LOADS = ("alone", "beside bulk to server", "beside bulk from server")

_BULK: dict[str, Callable[..., Reading]] = dict(zip(LOADS[1:], (bulk_to_server, bulk_from_server), strict=True))

_LEAD_S = 1.0
"""The bulk stream begins so much earlier, and ends so much later."""

_SETTLE_S = 0.3


class Measured(NamedTuple):
    """One measurement: the waits of small requests, the stream beside them in Gbit/s, packets that found their queue full."""

    waits: Waits
    bulk_gbit_per_s: float
    dropped: int


Results = dict[tuple[str, str], list[Measured]]
"""By load and name of the way, the rounds in order."""


def measure_all(site: Site, rounds: int, seconds: int) -> Results:
    """Measure everything. Raises BenchError when a way is not what it claims, or a stream or a request failed."""
    prepare_network(site)
    results: Results = {}
    with servers_running(site):
        for way in WAYS:
            with way.opened(site, SHARDS):
                check_way(site, way, SHARDS)
                time.sleep(_SETTLE_S)
        for number, load, way in schedule(rounds, LOADS, WAYS):
            measured = _measure(site, way, load, seconds)
            results.setdefault((load, way.name), []).append(measured)
            _say(f"round {number + 1}/{rounds}  {load:24} {way.title:16} {_in_words(measured)}")
    return results


def _measure(site: Site, way: Way, load: str, seconds: int) -> Measured:
    target = way.targets[0]
    with way.opened(site, SHARDS), ThreadPoolExecutor(max_workers=1) as beside:
        queues = queue_counts(site)
        bulk = None
        if load in _BULK:
            bulk = beside.submit(_BULK[load], way.targets, seconds + 2 * int(_LEAD_S), site.directory)
            time.sleep(_LEAD_S)
        waits = ask(target, seconds)
        reading = bulk.result() if bulk is not None else Reading(0.0)
        dropped = sum(count.drops for count in growth(queues, queue_counts(site)).values())
        time.sleep(_SETTLE_S)
    return Measured(waits, reading.value, dropped)


def _in_words(measured: Measured) -> str:
    waits = measured.waits
    stream = f"{measured.bulk_gbit_per_s:6.2f} Gbit/s  {measured.dropped} dropped" if measured.bulk_gbit_per_s else ""
    return f"median {waits.median_ms:7.2f} ms  p99 {waits.p99_ms:7.2f} ms  {stream}"


def _say(line: str) -> None:
    print(line.rstrip(), file=sys.stderr, flush=True)
