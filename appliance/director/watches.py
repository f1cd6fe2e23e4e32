"""What the director looks at again and again: counters, the routes to real servers, the ruleset in the kernel.

Each class here has a `look`, which is one look and never fails because of what the host answers. The functions at the end repeat
the looks until they are cancelled.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from typing import Protocol

from appliance.director.attacks import Attacks
from appliance.edge import queue_stats, routes
from appliance.edge.errors import EdgeError
from appliance.ipc.plan import ServicePlan
from appliance.ipc.shared_layout import SharedState, totals
from appliance.model.counters import (
    BACKLOG_DROPPED,
    DIRECT_ACCESS_DROPS,
    FORGED_CLIENT_OPTIONS,
    FORGED_SOURCE_DROPS,
    HALF_OPEN_DROPPED,
    QUEUE_COUNTERS,
    QUEUE_FULL_DROPS,
    SOCKET_DROPS,
    SYNCOOKIES_DISENGAGED,
    SYNCOOKIES_ENGAGED,
    TIME_WAIT_OVERFLOWS,
    UNCONFIRMED_DROPPED,
)
from appliance.model.rates import RateMeter
from appliance.model.verdicts import LIMITS_REACHED, REFUSALS, TABLE_FULL
from appliance.policy.access_rules import COUNTERS as ACCESS_COUNTERS
from appliance.policy.access_rules import MENDED as ACCESS_SETS_MENDED

log = logging.getLogger("appliance.director")

SAMPLE_INTERVAL_S = 2.0
WATCH_INTERVAL_S = 5.0
LANE_INTERVAL_S = 0.5
COUNT_INTERVAL_S = 1.0
LEAST_PAUSE_S = 0.1
"""Between two looks at the host, however many notices there are."""

FRESH_S = 0.25
"""For how long the kernel's own counters, once read, are answered without another look."""

_OF_THE_GATEWAY = (
    FORGED_SOURCE_DROPS,
    DIRECT_ACCESS_DROPS,
    FORGED_CLIENT_OPTIONS,
    *(place for place, counter in enumerate(QUEUE_COUNTERS) if counter.name in (*ACCESS_COUNTERS, ACCESS_SETS_MENDED)),
)
"""Places of what the kernel counts for all shards together."""

_NO_DROPS = queue_stats.QueueStats(0, 0, 0)


class KernelDrops:
    """How many packets the kernel has dropped for the defence, by extended counter.

    A look starts a process. However many ask, there is one at a time, and a new one not before FRESH_S.
    """

    def __init__(self, read: Callable[[], dict[str, int]], now: Callable[[], float] = time.monotonic) -> None:
        """`read` asks the kernel. It blocks."""
        self._read = read
        self._now = now
        self._last: dict[str, int] = {}
        self.are_known = False
        """Whether the last look did not fail."""
        self._fresh_until = -inf
        self._looking: asyncio.Future[None] | None = None

    async def look(self) -> dict[str, int]:
        """The numbers of FRESH_S ago or later; those of the last look that did not fail when the kernel cannot be asked."""
        if self._looking is None and self._now() >= self._fresh_until:
            self._looking = asyncio.ensure_future(self._look())
        if self._looking is not None:
            await asyncio.shield(self._looking)  # one who does not wait any longer ends it for nobody else
        return self._last

    async def _look(self) -> None:
        began = self._now()
        try:
            self._last = await asyncio.to_thread(self._read)
            self.are_known = True
        except Exception as error:  # packets are dropped all the same, so even an error of ours must not end the appliance
            self.are_known = False
            log.error("cannot read what the kernel has dropped: %s", error, exc_info=not isinstance(error, EdgeError))
        finally:
            self._fresh_until, self._looking = began + FRESH_S, None


class QueueDrops:
    """Adds the packets that the kernel has dropped in front of the queues to the shared counters."""

    def __init__(self, shared: SharedState, queue_base: int) -> None:
        self._shared = shared
        self._queue_base = queue_base
        self._last: dict[int, queue_stats.QueueStats] = {}

    def look(self) -> None:
        """Add the drops since the last look. The kernel's own totals start at zero with each worker."""
        now = queue_stats.read()
        for shard in range(self._shared.shards):
            number = self._queue_base + shard
            stats = now.get(number)
            if stats is None:
                self._last.pop(number, None)
                continue
            before = self._last.get(number, _NO_DROPS)
            if stats.queue_full_drops < before.queue_full_drops or stats.socket_drops < before.socket_drops:
                before = _NO_DROPS
            counts = self._shared.table(shard, "queue")
            counts[QUEUE_FULL_DROPS] += stats.queue_full_drops - before.queue_full_drops
            counts[SOCKET_DROPS] += stats.socket_drops - before.socket_drops
            self._last[number] = stats


class Events:
    """Logs refused connections and full tables: one line for each kind and look, so that a flood does not fill the log."""

    def __init__(self, shared: SharedState, service_names: Callable[[], Mapping[int, str]]) -> None:
        """`service_names` gives the name of the service that each slot belongs to."""
        self._shared = shared
        self._service_names = service_names
        self._logged: dict[tuple[str, int], int] = {}
        self._edges_logged = Counter[tuple[str, int]]()

    def look(self) -> None:
        """Log what has happened since the last look."""
        for verdict in (*REFUSALS, *LIMITS_REACHED):
            what = f"connections in {SAMPLE_INTERVAL_S:.0f} s {verdict.summary}"
            self._log("verdicts", verdict.index, what, "table full, dropping packet: " if verdict is TABLE_FULL else "")
        self._log("queue", TIME_WAIT_OVERFLOWS, QUEUE_COUNTERS[TIME_WAIT_OVERFLOWS].summary, "time wait bucket table overflow: ")
        for place in (HALF_OPEN_DROPPED, BACKLOG_DROPPED, UNCONFIRMED_DROPPED):
            self._log("queue", place, QUEUE_COUNTERS[place].summary)
        if sum(self._more("queue", place) for place in (SYNCOOKIES_ENGAGED, SYNCOOKIES_DISENGAGED)):
            self._log_cookie_edges()

    def _log(self, table: str, place: int, what: str, in_kernel_words: str = "") -> None:
        """`in_kernel_words` are the words of the kernel's own message, for those who search a log for them."""
        if more := self._more(table, place):
            log.warning("%s%d %s", in_kernel_words, more, what)

    def _more(self, table: str, place: int) -> int:
        """By how much a counter has grown since the last look, in all shards."""
        total = sum(self._shared.table(shard, table)[place] for shard in range(self._shared.shards))
        before = self._logged.get((table, place), 0)
        self._logged[table, place] = total
        return max(0, total - before)

    def _log_cookie_edges(self) -> None:
        """Say which services have begun or stopped to answer with SYN cookies: two lines for each of them at most."""
        edges = Counter[tuple[str, int]]()
        for slot, name in self._service_names().items():
            for shard in range(self._shared.shards):
                edges.update({(name, edge): times for edge, times in enumerate(self._shared.cookie_edges(shard, slot)) if times})
        for (name, edge), total in sorted(edges.items()):
            if (times := total - self._edges_logged[name, edge]) > 0:  # fewer when a real server has given up its slot
                log.warning("service %s %s%s", name, _COOKIE_EDGES[edge], f" ({times} times)" if times > 1 else "")
        self._edges_logged = edges


_COOKIE_EDGES = (
    "began to answer with SYN cookies: its backlog was over the limit",
    "stopped answering with SYN cookies: its backlog was well below the limit again",
)
"""The words for each of the `cookie_edges` of the shared memory. Each shard has a backlog of its own for the service."""


class Routes:
    """Tells the shards the MTUs of the routes to real servers, and knows who is next on the way to each."""

    def __init__(self, shared: SharedState) -> None:
        self._shared = shared
        self._ways: dict[str, routes.Route] = {}
        """By the address of each real server."""

    @property
    def next_hops(self) -> dict[str, str]:
        """By the address of each real server, see `edge.routes.Route`."""
        return {address: way.next_hop for address, way in self._ways.items()}

    async def look(self, services: Sequence[ServicePlan], *, only_new: bool = False) -> None:
        """Write each MTU that has changed since the last look; with `only_new`, ask for nothing but real servers that have come
        since then. When the kernel cannot be asked, all stay as they are."""
        try:
            stale = await asyncio.to_thread(self._look, services, only_new=only_new)
        except Exception as error:  # traffic flows without, so even an error of ours or of the library must not end it
            log.error("cannot look after the MTUs of routes: %s", error, exc_info=not isinstance(error, EdgeError))
            return
        if stale:
            self._shared.set_mtus(stale)

    def _look(self, services: Sequence[ServicePlan], *, only_new: bool) -> dict[int, int]:
        """Look, and return the slots whose MTU has to be written."""
        slots_of: dict[str, list[int]] = {}
        for service in services:
            for real_server in service.real_servers:
                slots_of.setdefault(real_server.address, []).append(real_server.slot)
        before = self._ways
        asked = tuple(address for address in slots_of if not only_new or address not in before)
        found = routes.look(asked) if asked else {}
        self._ways = {address: found.get(address) or before[address] for address in slots_of}
        for address, way in found.items():
            _log_route(address, before[address].mtu if address in before else None, way.mtu)
        written = self._shared.mtus.tolist()
        return {slot: way.mtu for address, way in self._ways.items() for slot in slots_of[address] if written[slot] != way.mtu}


def _log_route(address: str, before: int | None, now: int) -> None:
    """`before` is None at the first look, which is no news; 0 is no route, which `network` sees and logs."""
    if now and before is not None and now != before:
        log.info("route MTU to %s: %s -> %d", address, before or "no route", now)


class Counts:
    """Everything that is looked at every SAMPLE_INTERVAL_S."""

    def __init__(
        self, shared: SharedState, queue_base: int, kernel_drops: KernelDrops, service_names: Callable[[], Mapping[int, str]]
    ) -> None:
        self.meter = RateMeter()
        self._shared = shared
        self._queue_drops = QueueDrops(shared, queue_base)
        self._events = Events(shared, service_names)
        self._kernel_drops = kernel_drops
        self._attacks = Attacks(shared)
        self.attacks = self._attacks.watch

    async def look(self) -> None:
        """Take a sample for the rates, and look at drops and events."""
        self.meter.sample(time.monotonic(), totals(self._shared))
        self._queue_drops.look()
        self._events.look()
        dropped = await self._kernel_drops.look()
        counts = self._shared.table(0, "queue")
        for place in _OF_THE_GATEWAY:
            counts[place] = dropped.get(QUEUE_COUNTERS[place].name, counts[place])
        self._attacks.look(dropped)


async def watch_counts(counts: Counts) -> None:
    """Look at once and then every SAMPLE_INTERVAL_S."""
    while True:
        await counts.look()
        await asyncio.sleep(SAMPLE_INTERVAL_S)


async def watch_routes(look: Callable[[], Awaitable[None]]) -> None:
    """Look every WATCH_INTERVAL_S."""
    while True:
        await asyncio.sleep(WATCH_INTERVAL_S)
        await look()


async def watch_lane(look: Callable[[], None]) -> None:
    """Look every LANE_INTERVAL_S. `look` blocks."""
    while True:
        await asyncio.sleep(LANE_INTERVAL_S)
        await asyncio.to_thread(look)


async def watch_lane_counts(count: Callable[[], Awaitable[object]]) -> None:
    """Count every COUNT_INTERVAL_S."""
    while True:
        await count()
        await asyncio.sleep(COUNT_INTERVAL_S)


class Notices(Protocol):
    """What tells that somebody has changed the host, see `edge.notices`."""

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """Sockets that become readable with a notice."""

    def concern_us(self) -> bool:
        """Read all notices; whether one of them may concern the appliance."""


async def watch_host(mend: Callable[[], None], notices: Notices) -> None:
    """Call `mend` as soon as the kernel gives a notice, and every WATCH_INTERVAL_S.

    `mend` blocks; when it raises, that is logged and the next one may succeed. Between two calls there are LEAST_PAUSE_S.
    """
    await when_noticed(lambda: _try_to_mend(mend), notices, WATCH_INTERVAL_S)


async def when_noticed(look: Callable[[], Awaitable[None]], notices: Notices, interval_s: float) -> None:
    """Look as soon as there is a notice, and every so many seconds. Between two looks there are LEAST_PAUSE_S."""
    noticed = asyncio.Event()

    def read() -> None:
        if notices.concern_us():
            noticed.set()

    loop = asyncio.get_running_loop()
    for listening in notices.sockets:
        loop.add_reader(listening, read)
    try:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(noticed.wait(), interval_s)
            noticed.clear()
            await look()
            await asyncio.sleep(LEAST_PAUSE_S)
    finally:
        for listening in notices.sockets:
            loop.remove_reader(listening)


async def _try_to_mend(mend: Callable[[], None]) -> None:
    try:
        await asyncio.to_thread(mend)
    except Exception as error:  # an error of ours must not end the appliance: it is tried again
        log.error("cannot look after the host: %s", error, exc_info=not isinstance(error, EdgeError))
