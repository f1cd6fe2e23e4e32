"""Both services measured in turns, and how they compare: speed, and what the gateway needs for it."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from appliance.lab import namespaces
from bench.rig.topology import Site
from bench.transfers.gateway import PORTS
from bench.transfers.transfer import MEBIBYTE

Transfer = Callable[[int, int], None]
"""Takes the port of a service and a number of mebibytes."""

_SETTLE_S = 0.1
"""Before and after each transfer: the last packets of one must not be counted for the next."""

_UTIME, _STIME = 11, 12
"""Places in /proc/PID/stat behind the command's name, see proc(5)."""


class Reading(NamedTuple):
    """One transfer. The CPU time is that of all processes in the gateway; other work on the machine hardly touches it."""

    gbit_per_s: float
    gateway_cpu_s: float


def compared(transfer: Transfer, rounds: int, mebibytes: int) -> str:
    """Measure both services in turns, and say how they compare. Raises BenchError or OSError when a transfer fails."""
    readings: dict[str, list[Reading]] = {name: [] for name in PORTS}
    for number in range(rounds):
        for name in sorted(PORTS, reverse=bool(number % 2)):
            readings[name].append(_measure(transfer, PORTS[name], mebibytes))
    return as_text(f"{transfer.__name__}, {rounds} rounds of {mebibytes} MiB", readings)


def as_text(title: str, readings: dict[str, list[Reading]]) -> str:
    """Median, least and largest of both services' readings and of their ratios, round by round."""
    lines = [f"{title}: median [min..max]"]
    for what, field in (("speed, Gbit/s", "gbit_per_s"), ("gateway CPU, s", "gateway_cpu_s")):
        proxied, plain = ([getattr(reading, field) for reading in readings[name]] for name in ("proxied", "plain"))
        ratios = [one / other for one, other in zip(proxied, plain, strict=True)]
        figures = [f"{_spread(values):20}" for values in (proxied, plain, ratios)]
        lines.append(f"  {what:15} proxied {figures[0]} plain {figures[1]} proxied/plain {figures[2]}".rstrip())
    return "\n".join(lines)


def _measure(transfer: Transfer, port: int, mebibytes: int) -> Reading:
    time.sleep(_SETTLE_S)
    cpu_s, started = _gateway_cpu_s(), time.perf_counter()
    transfer(port, mebibytes)
    duration_s = time.perf_counter() - started
    time.sleep(_SETTLE_S)
    return Reading(mebibytes * MEBIBYTE * 8 / 1e9 / duration_s, _gateway_cpu_s() - cpu_s)


def _gateway_cpu_s() -> float:
    """What the processes in the gateway's namespace have used so far, in the kernel and outside."""
    gateway = namespaces.path(Site.of_environment().gateway).stat().st_ino
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended, or is not ours
            if (process / "ns/net").stat().st_ino == gateway:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[_UTIME]) + int(fields[_STIME])
    return ticks / os.sysconf("SC_CLK_TCK")


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}..{max(values):.2f}]"
