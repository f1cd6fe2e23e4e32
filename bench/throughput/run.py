"""The part of the benchmark that runs inside the lab: check every way, measure the ways in turns, return the results."""

import sys
import time
from collections.abc import Callable
from functools import partial

from bench.rig.checks import check_way
from bench.rig.counters import growth, queue_counts, syns_sent_again
from bench.rig.load import FIGURES, Reading
from bench.rig.results import Results, schedule
from bench.rig.servers import prepare_network, servers_running
from bench.rig.topology import BenchError, Site
from bench.rig.ways import WAYS, Way

_SETTLE_S = 0.3
"""A pause after each measurement: its last segments must not be judged by the rules of the next."""


def measure_all(site: Site, shards: int, rounds: int, seconds: int) -> Results:
    """Run everything. Raises BenchError when a way is not what it claims or the lab cannot be prepared."""
    prepare_network(site)
    results = Results()
    with servers_running(site):
        for way in WAYS:
            _check(site, way, shards)
        for number, figure, way in schedule(rounds, FIGURES, WAYS):
            targets = way.targets[:1] if figure.is_bulk else way.pair_of_round(number)
            reading = _measure(site, way, shards, partial(figure.measure, targets, seconds, site.directory))
            results.add(figure.name, way.name, reading)
            value = f"{reading.value:,.{figure.decimals}f}"
            _say(f"round {number + 1}/{rounds}  {figure.title:22} {way.title:16} {value:>10}  {reading.trouble}")
    return results


def _check(site: Site, way: Way, shards: int) -> None:
    with way.opened(site, shards):
        check_way(site, way, shards)
        time.sleep(_SETTLE_S)
    _say(f"checked: {way.title} is what it says")


def _measure(site: Site, way: Way, shards: int, measure: Callable[[], Reading]) -> Reading:
    with way.opened(site, shards):
        queues, syns = queue_counts(site), syns_sent_again()
        try:
            reading = measure()
        except BenchError as error:
            reading = Reading(0.0, str(error))  # one failed measurement must not stop all others
        dropped = sum(count.drops for count in growth(queues, queue_counts(site)).values())
        retried = syns_sent_again() - syns
        time.sleep(_SETTLE_S)
    # wrk does not report these: a lost packet costs a retransmission, a lost SYN a whole second of one connection.
    if dropped:
        reading = reading.with_trouble(f"{dropped} packets found their queue full")
    if retried:
        reading = reading.with_trouble(f"{retried} SYNs had to be sent again")
    return reading


def _say(line: str) -> None:
    print(line.rstrip(), file=sys.stderr, flush=True)
