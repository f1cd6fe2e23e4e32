"""How long a small request waits beside a bulk stream in the same shard, and how long it waits without one."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bench.measures.asking import Waits, ask
from bench.measures.bulk import bulk
from bench.measures.measure import Figure, Load, Measure
from bench.rig.reading import Reading

_LEAD_S = 1
"""The bulk stream begins so much earlier, and ends so much later."""

_SETTLE_S = 0.2

_DETAILS = (
    Figure("beside_p99_ms", "p99 beside", 2),
    Figure("alone_p50_ms", "p50 alone", 2),
    Figure("alone_p99_ms", "p99 alone", 2),
    Figure("times_alone", "p50 beside / alone", 2),
    Figure("bulk_gbit_per_s", "bulk Gbit/s", 2),
)


def compared(alone: Waits, beside: Waits, stream: Reading) -> Reading:
    """The figures of a measurement: the median beside the stream, in ms, and the others as details."""
    return Reading(
        beside.median_ms,
        stream.trouble,
        details={
            "beside_p99_ms": beside.p99_ms,
            "alone_p50_ms": alone.median_ms,
            "alone_p99_ms": alone.p99_ms,
            "times_alone": beside.median_ms / alone.median_ms,
            "bulk_gbit_per_s": stream.value,
        },
    )


def _latency(direction: str, load: Load) -> Reading:
    alone = ask(load.bulk_target, load.seconds)
    with ThreadPoolExecutor(max_workers=1) as other:
        stream = other.submit(bulk, direction, load._replace(seconds=load.seconds + 2 * _LEAD_S))
        time.sleep(_LEAD_S)
        beside = ask(load.bulk_target, load.seconds)
        reading = compared(alone, beside, stream.result())
    time.sleep(_SETTLE_S)
    return reading


def _measure(direction: str) -> Measure:
    return Measure(
        f"latency-{direction.replace(' ', '-')}",
        f"small requests beside bulk {direction}, one shard",
        "p50 ms beside",
        2,
        partial(_latency, direction),
        _DETAILS,
        more_is_better=False,
        # With one shard the stream is in the shard of the requests, whatever ports they have.
        shards=1,
        may_drop=True,
        programs=("iperf3",),
    )


LATENCY_TO_SERVER, LATENCY_FROM_SERVER = (_measure(direction) for direction in ("to server", "from server"))
