"""The part of the benchmark that runs inside the lab: check every mode, measure the modes in turns, return the results."""

import sys
import time

from bench.compare.results import ALL_CPU, GATEWAY_CPU, OTHERS_SHARE, Results, schedule
from bench.compare.setup import Setup
from bench.measures.measure import Load, Measure
from bench.modes.mode import Mode
from bench.rig.checks import check_mode
from bench.rig.counters import growth, queue_counts, syns_sent_again
from bench.rig.cpu import CpuMeter, CpuTime
from bench.rig.reading import Reading
from bench.rig.servers import prepare_network, servers_running
from bench.rig.topology import BenchError, Site

_SETTLE_S = 0.3
"""A pause after each measurement: its last segments must not be judged by the rules of the next."""


def measure_all(site: Site, setup: Setup, meter: CpuMeter | None) -> Results:
    """Run everything. Raises BenchError when a mode is not what it claims or the lab cannot be prepared."""
    prepare_network(site)
    results = Results()
    with servers_running(site):
        for mode in setup.modes:
            _check(site, mode, setup.shards)
        for number, measure, mode in schedule(setup.rounds, setup.measures, setup.modes):
            load = Load(site, mode.pair_of_round(number), mode.targets[0], setup.seconds)
            reading = _measure(load, measure, mode, measure.shards or setup.shards, meter)
            results.add(measure, mode, reading)
            value = f"{reading.value:,.{measure.decimals}f}"
            _say(f"round {number + 1}/{setup.rounds}  {measure.name:20} {mode.title:18} {value:>10}  {reading.trouble}")
    return results


def _check(site: Site, mode: Mode, shards: int) -> None:
    with mode.opened(site, shards):
        check_mode(site, mode, shards)
        time.sleep(_SETTLE_S)
    _say(f"checked: {mode.title} is what it says")


def _measure(load: Load, measure: Measure, mode: Mode, shards: int, meter: CpuMeter | None) -> Reading:
    """One failed measurement must not stop all others, so it is a reading with the value 0."""
    try:
        with mode.opened(load.site, shards):
            queues, syns = queue_counts(load.site), syns_sent_again()
            started = meter and meter.now()
            reading = measure.measure(load)
            used = meter.now().since(started) if meter and started else None
            dropped = sum(count.drops for count in growth(queues, queue_counts(load.site)).values())
            retried = syns_sent_again() - syns
            time.sleep(_SETTLE_S)
    except BenchError as error:
        return Reading(0.0, str(error))
    return judged(with_cpu(reading, used), 0 if measure.may_drop else dropped, retried)


def with_cpu(reading: Reading, used: CpuTime | None) -> Reading:
    """The reading with CPU time for each unit, where there are units, and what others took; unchanged where no time is known."""
    if used is None:
        return reading
    reading = reading.with_details(**{OTHERS_SHARE: used.others_share})
    if not reading.units:
        return reading
    return reading.with_details(**{GATEWAY_CPU: used.gateway_us / reading.units, ALL_CPU: used.all_us / reading.units})


def judged(reading: Reading, dropped: int, retried: int) -> Reading:
    """The reading with what the load generator does not report: a lost packet costs a retransmission, a lost SYN a whole second
    of one connection, and nothing at all is no figure."""
    if not reading.value and not reading.trouble:
        reading = reading.with_trouble("nothing got through")
    if dropped:
        reading = reading.with_trouble(f"{dropped} packets found their queue full")
    if retried:
        reading = reading.with_trouble(f"{retried} SYNs had to be sent again")
    return reading


def _say(line: str) -> None:
    print(line.rstrip(), file=sys.stderr, flush=True)
