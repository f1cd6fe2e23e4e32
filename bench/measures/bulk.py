"""Bulk traffic: one TCP stream of iperf3, in either direction."""

from functools import partial

from bench.measures.measure import Load, Measure
from bench.rig.iperf3 import iperf3
from bench.rig.reading import Reading

_OPTIONS = {"to server": (), "from server": ("--reverse",)}


def bulk(direction: str, load: Load) -> Reading:
    """A stream "to server" or "from server"."""
    return iperf3(load.bulk_target, load.seconds, *_OPTIONS[direction])


def _measure(direction: str) -> Measure:
    name = f"bulk-{direction.replace(' ', '-')}"
    return Measure(name, f"bulk {direction}", "Gbit/s", 2, partial(bulk, direction), unit="Mbit", programs=("iperf3",))


BULK_TO_SERVER, BULK_FROM_SERVER = (_measure(direction) for direction in _OPTIONS)
