"""How long a scrape of /metrics takes with many real servers, and for how long the event loop of the director stands still.

The API is served as the director serves it, from shared memory of as many real servers, without workers and a kernel. curl asks
as Prometheus does. Between two scrapes a page becomes too old, so each one is made anew. Meanwhile a task wakes up every
millisecond; the longest time between two of its turns is how long nobody else was answered. Prints milliseconds.
"""

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import uvloop

from appliance.api import Gateway, make_app, serve
from appliance.attack.watch import AttackWatch
from appliance.config.loading import Api
from appliance.director.access import Access
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.ipc.rows import DutyState, LaneState, LaneStats, SessionLogCounts, ShardState
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model.lane_counters import LANE_COUNTERS
from appliance.rest.metrics import FRESH_S

SCRAPES = 20
PER_SERVICE = 100
TICK_S = 0.001

FORMS = {"text": "text/plain;version=0.0.4", "OpenMetrics": "application/openmetrics-text;version=1.0.0"}
"""By name: what is asked for."""


class StandIn:
    """A gateway as far as /metrics asks it, with a counter of its own for each number of each real server."""

    def __init__(self, real_servers: int, shards: int) -> None:
        self.access = Access(Api())
        self.shared = SharedState.create(memoryview(bytearray(size_bytes(shards, real_servers))), shards, real_servers)
        self.services = tuple(_service(first, real_servers) for first in range(0, real_servers, PER_SERVICE))
        self.sessions = self.configuration = None
        self.attacks = AttackWatch()
        for row in range(shards + 1):
            cells = self.shared.all_destinations(row)
            for place in range(len(cells)):
                cells[place] = place * 1_234_567 + row

    def shard_states(self) -> list[ShardState]:
        """All of them are up."""
        return [ShardState(shard, True, 1, 1) for shard in range(self.shared.shards)]

    def duty_states(self) -> list[DutyState]:
        """One that goes well."""
        return [DutyState("look at counters", 0, "")]

    async def kernel_drops(self) -> dict[str, int]:
        """None."""
        return {}

    async def lane_stats(self) -> LaneStats:
        """A lane with a number for each counter."""
        return LaneStats(LaneState("on", ""), 1, 2, 0, list(range(len(LANE_COUNTERS))))

    def kernel_drops_are_known(self) -> bool:
        """Always."""
        return True

    def host_conntrack(self) -> None:
        """The host tracks nothing."""

    def host_problems(self) -> Sequence[str]:
        """None."""
        return ()

    missing_addresses = host_problems

    @property
    def health(self) -> "StandIn":
        """All real servers are up."""
        return self

    down: frozenset[int] = frozenset()
    troubles: tuple[str, ...] = ()

    @property
    def access_control(self) -> "StandIn":
        """What access lists have dropped."""
        return self

    async def drops(self) -> dict[tuple[str, str], int]:
        """Nothing."""
        return {}

    @property
    def session_log(self) -> "StandIn":
        """It is off."""
        return self

    counts = SessionLogCounts(0, 0, 0)

    @property
    def drains(self) -> "StandIn":
        """No real server is drained."""
        return self

    slots: tuple[int, ...] = ()


def _service(first: int, real_servers: int) -> ServicePlan:
    slots = range(first, min(first + PER_SERVICE, real_servers))
    servers = tuple(RealServerPlan(f"10.{slot >> 16}.{slot >> 8 & 255}.{slot & 255}", 80, 1, slot) for slot in slots)
    return ServicePlan(f"service-{first // PER_SERVICE}", "203.0.113.10", 80, "rr", ("192.0.2.10",), servers)


class Scrape(NamedTuple):
    """One answer."""

    took_ms: float
    size_bytes: int
    """As it was sent."""
    stood_still_ms: float
    """The longest time between two turns of the event loop, meanwhile."""


class _Ticker:
    """Notices how long the event loop is held."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def run(self) -> None:
        """Until it is cancelled."""
        before = time.perf_counter()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.perf_counter()
            self.longest_s, before = max(self.longest_s, now - before), now


async def scrape(url: str, accept: str, *more: str) -> Scrape:
    """Ask once, as a process of its own."""
    ticker = _Ticker()
    ticking = asyncio.ensure_future(ticker.run())
    options = ("--silent", "--fail", "--output", "/dev/null", "--write-out", "%{time_total} %{size_download}", "--header")
    curl = await asyncio.create_subprocess_exec(
        "curl", *options, f"Accept: {accept}", *more, f"{url}/metrics", stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await curl.communicate()
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking
    took_s, size = printed.split()
    return Scrape(float(took_s) * 1e3, int(size), ticker.longest_s * 1e3)


async def measure(real_servers: int, shards: int, scrapes: int) -> dict[str, list[Scrape]]:
    """So many scrapes of each form, compressed, by its name."""
    runner = await serve(make_app(cast("Gateway", StandIn(real_servers, shards))), ["127.0.0.1:0"])
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    taken: dict[str, list[Scrape]] = {name: [] for name in FORMS}
    try:
        for _ in range(scrapes):
            for name, accept in FORMS.items():
                taken[name].append(await scrape(url, accept, "--header", "Accept-Encoding: gzip"))
            await asyncio.sleep(FRESH_S)
    finally:
        await runner.cleanup()
    return taken


def report(taken: dict[str, list[Scrape]]) -> str:
    """The median and the worst of each form."""
    lines = ["form         scrape ms (median, worst)   loop stood still ms (median, worst)   bytes sent"]
    for name, scrapes in taken.items():
        times, pauses = [one.took_ms for one in scrapes], [one.stood_still_ms for one in scrapes]
        cells: tuple[Any, ...] = (statistics.median(times), max(times), statistics.median(pauses), max(pauses))
        lines.append(
            f"{name:<12} {cells[0]:>12.1f} {cells[1]:>12.1f} {cells[2]:>22.1f} {cells[3]:>12.1f} {scrapes[-1].size_bytes:>14}"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.scrape_cost", description=__doc__)
    parser.add_argument("--real-servers", type=int, default=1000, metavar="N")
    parser.add_argument("--shards", type=int, default=2, metavar="N")
    parser.add_argument("--scrapes", type=int, default=SCRAPES, metavar="N")
    options = parser.parse_args()
    print(f"{options.real_servers} real servers, {options.shards} shards, {options.scrapes} scrapes of each form")
    print(report(uvloop.run(measure(options.real_servers, options.shards, options.scrapes))), end="")


if __name__ == "__main__":
    main()
