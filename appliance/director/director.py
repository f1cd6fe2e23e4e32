"""The parent process: it prepares the host, keeps the workers alive, reads what the kernel counts, and serves the API.

It never sees a packet. The order of a start is the order of promises: queues are bound before packets are steered to them,
and packets are steered before the addresses exist that draw them; a stop goes the other way round.
"""

import asyncio
import contextlib
import logging
import secrets
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from appliance import api
from appliance.config.changes import Reload, ReloadRefusedError, compare
from appliance.config.loading import Config, ConfigError
from appliance.director.host import Host
from appliance.director.plans import Slots
from appliance.director.runtime_files import kept_isn_secret
from appliance.director.session_queries import SessionQueries
from appliance.director.supervisor import ShardProcess
from appliance.edge import conntrack, instance_lock, queue_stats, routes, shared_memory, sockstat
from appliance.edge.errors import EdgeError
from appliance.ipc.plan import Plan, ServicePlan
from appliance.ipc.rows import ShardState
from appliance.ipc.shared_layout import SharedState, size_bytes, totals
from appliance.model.counters import (
    HALF_OPEN_DROPPED,
    QUEUE_COUNTERS,
    QUEUE_FULL_DROPS,
    SOCKET_DROPS,
    SYNCOOKIES_DISENGAGED,
    SYNCOOKIES_ENGAGED,
    TIME_WAIT_OVERFLOWS,
    WORKER_STARTS,
)
from appliance.model.rates import RateMeter, Rates
from appliance.model.tunables import TunableError, check_value
from appliance.model.verdicts import REFUSALS, TABLE_FULL
from appliance.policy import steering
from appliance.policy.defence import TUNABLE_NAMES, Defence

log = logging.getLogger("appliance.director")

SAMPLE_INTERVAL_S = 2.0
WATCH_INTERVAL_S = 5.0


class Director:
    """One run of the appliance; implements `api.Gateway`."""

    def __init__(self, config: Config, isn_secret: str, read_config: Callable[[], Config]) -> None:
        """`read_config` reads the configuration again, for a reload; it may block and raises ConfigError."""
        self._config = config
        self._read_config = read_config
        self._slots = Slots.sized_for(config)
        self.services = self._slots.plan(config)
        shards, destinations = config.gateway.shards, self._slots.capacity
        self._shared_fd = shared_memory.create(size_bytes(shards, destinations))
        self.shared = SharedState(shared_memory.attach(self._shared_fd), shards, destinations)
        self.shared.set_tunables(config.sysctl)
        cookie_secret = secrets.token_hex(16)
        self._workers = [
            ShardProcess(
                Plan(shard, shards, config.gateway.queue_base + shard, destinations, self.services, isn_secret, cookie_secret),
                self._shared_fd,
                partial(self.shared.forget_sessions, shard),
            )
            for shard in range(shards)
        ]
        self.sessions = SessionQueries(self._workers)
        self._host = Host()
        self._kernel_drops: dict[str, int] = {}
        self._changing = asyncio.Lock()
        """Held while tunables are changed: what the kernel does with them has to be what shards do, whoever asks at once."""
        self._meter = RateMeter()
        self._queue_totals: dict[int, queue_stats.QueueStats] = {}
        self._reported: dict[tuple[str, int], int] = {}
        self._route_mtus: dict[str, int] = {}

    async def run(self, stop: asyncio.Event, reload_asked: asyncio.Event) -> None:
        """Serve until `stop` is set, and `reload` whenever `reload_asked` is.

        Raises EdgeError or WorkerFailedError when the appliance cannot start.
        """
        host = self._host
        async with contextlib.AsyncExitStack() as undo:
            await asyncio.to_thread(host.undo_leftovers)
            undo.push_async_callback(asyncio.to_thread, host.undo)
            await asyncio.to_thread(host.prepare, self._config.gateway)
            await self._look_at_routes()
            tasks = [asyncio.ensure_future(worker.run()) for worker in self._workers]
            undo.push_async_callback(_cancel, tasks)
            await self._workers_ready()
            await asyncio.to_thread(host.start_steering, self._config, self._defence({}))
            runner = await api.serve(api.make_app(self), self._config.api.listen)
            undo.push_async_callback(runner.cleanup)
            duties = (self._sample(), _watch_steering(host), self._watch_routes(), self._reload_when(reload_asked))
            tasks += map(asyncio.ensure_future, duties)
            log.info("ready: %d shards, API on %s", len(self._workers), ", ".join(self._config.api.listen))
            await _until(stop, tasks)
            log.info("stopping")

    async def _workers_ready(self) -> None:
        """Wait for all of them, so that the first failure is reported and no other is lost without a trace."""
        for outcome in await asyncio.gather(*(worker.first_start for worker in self._workers), return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def set_tunable(self, name: str, value: int) -> None:
        """Put a value in force in all shards and the kernel. Raises TunableError, and changes nothing, when it is not allowed."""
        check_value(name, value)
        async with self._changing:
            self._check_port_range({name: value})
            await self._set_tunables({name: value})

    async def _set_tunables(self, values: dict[str, int]) -> None:
        """The kernel comes first: it is the one that may refuse. Raises TunableError then, with nothing changed."""
        if ours := sorted(values.keys() & TUNABLE_NAMES):
            try:
                await asyncio.to_thread(self._host.change_defence, self._defence(values))
            except EdgeError as error:
                raise TunableError(f"{', '.join(ours)}: the kernel refuses the rules: {error}") from error
        for name, value in values.items():
            log.info("%s: %d -> %d", name, self.shared.tunable(name), value)
        self.shared.set_tunables(values)

    def _defence(self, changes: dict[str, int]) -> Defence:
        """What is in force, after these changes of tunables."""
        return Defence.of({name: changes.get(name, self.shared.tunable(name)) for name in TUNABLE_NAMES})

    async def kernel_drops(self) -> dict[str, int]:
        """Packets that the kernel has dropped for the defence, by extended counter, as of now; or as of the last look that
        did not fail."""
        try:
            self._kernel_drops = await asyncio.to_thread(self._host.kernel_drops)
        except Exception as error:  # packets are dropped all the same, so not even a mistake of ours may end the appliance
            log.error("cannot read what the kernel has dropped: %s", error, exc_info=not isinstance(error, EdgeError))
        return self._kernel_drops

    def _check_port_range(self, changes: dict[str, int]) -> None:
        """Raises TunableError when these changes would leave a shard without local ports."""
        low, high = (changes.get(name, self.shared.tunable(name)) for name in ("fullnat_lport_min", "fullnat_lport_max"))
        if low > high:
            raise TunableError(f"fullnat_lport_min ({low}) would be greater than fullnat_lport_max ({high})")
        shards = self.shared.shards
        if without := steering.shards_without_ports(steering.shard_table(shards), low, high):
            raise TunableError(f"local ports {low}..{high} would leave shard {without[0]} of {shards} without any")

    async def reload(self) -> None:
        """Read the configuration again, and put all that may change while traffic flows in force; or say why nothing was."""
        async with self._changing:
            await self._reload()

    async def _reload(self) -> None:
        try:
            wanted = await asyncio.to_thread(self._read_config)
            changes = compare(self._config, wanted)
            self._check_port_range(changes.tunables)
            services = self._slots.plan(wanted)
            tunables = {name: value for name, value in changes.tunables.items() if value != self.shared.tunable(name)}
            if tunables:
                await self._set_tunables(tunables)
        except (ConfigError, ReloadRefusedError, TunableError) as error:
            for line in str(error).splitlines():
                log.error("%s", line)
            log.error("reload refused, nothing has changed")
        else:
            await self._put_in_force(wanted, changes, services)
            log.info("configuration read again, changes: %d", len(tunables) + len(changes.real_servers))

    async def _put_in_force(self, config: Config, changes: Reload, services: tuple[ServicePlan, ...]) -> None:
        """All but the tunables."""
        self._config = config
        if changes.real_servers:
            self.services = services
            await self._look_at_routes()  # first, so that no packet goes to a real server whose MTU is not known yet
            for worker in self._workers:
                worker.change_services(services)
        for line in changes.real_servers:
            log.info("%s", line)

    async def _reload_when(self, asked: asyncio.Event) -> None:
        while True:
            await asked.wait()
            asked.clear()
            try:
                await self.reload()
            except Exception:  # the worst that may come of a reload is that it does not happen
                log.exception("reload failed because of an error of ours; please report this")

    def host_sockstat(self) -> dict[str, dict[str, int]]:
        """The host's own sockets and fragments; nothing while the kernel does not say."""
        try:
            return sockstat.read()
        except EdgeError as error:
            log.error("%s", error)
            return {}

    def host_conntrack(self) -> dict[str, int] | None:
        """The host's own connection tracking; None while it tracks nothing."""
        return conntrack.read()

    def shard_states(self) -> list[ShardState]:
        """How the workers are."""
        return [
            ShardState(worker.shard, worker.up, worker.pid, self.shared.table(worker.shard, "queue")[WORKER_STARTS])
            for worker in self._workers
        ]

    def rates(self) -> Rates:
        """Events per second, smoothed."""
        return self._meter.rates

    async def _sample(self) -> None:
        while True:
            self._meter.sample(time.monotonic(), totals(self.shared))
            self._count_queue_drops()
            self._report_events()
            await self.kernel_drops()
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    async def _watch_routes(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            await self._look_at_routes()

    async def _look_at_routes(self) -> None:
        """Tell the shards of each route MTU that is another one than at the last look. What cannot be read stays as it is."""
        slots_of: dict[str, list[int]] = {}
        for service in self.services:
            for real_server in service.real_servers:
                slots_of.setdefault(real_server.address, []).append(real_server.slot)
        try:
            found = await asyncio.to_thread(routes.mtus, tuple(slots_of))
        except Exception as error:  # traffic flows without, so not even a mistake of ours or of the library may end it
            log.error("cannot look after the MTUs of routes: %s", error, exc_info=not isinstance(error, EdgeError))
            return
        stale = {slot: mtu for address, mtu in found.items() for slot in slots_of[address] if self.shared.mtus[slot] != mtu}
        if stale:
            self.shared.set_mtus(stale)
        for address, mtu in found.items():
            _report_route(address, self._route_mtus.get(address), mtu)
        self._route_mtus |= found

    def _report_events(self) -> None:
        """One line per kind of event and look, however many there were: a log must not be what a flood breaks."""
        for verdict in REFUSALS:
            what = f"connections in {SAMPLE_INTERVAL_S:.0f} s {verdict.summary}"
            self._report("verdicts", verdict.index, what, "table full, dropping packet: " if verdict is TABLE_FULL else "")
        self._report(
            "queue", TIME_WAIT_OVERFLOWS, QUEUE_COUNTERS[TIME_WAIT_OVERFLOWS].summary, "time wait bucket table overflow: "
        )
        for place in (HALF_OPEN_DROPPED, SYNCOOKIES_ENGAGED, SYNCOOKIES_DISENGAGED):
            self._report("queue", place, QUEUE_COUNTERS[place].summary)

    def _report(self, table: str, place: int, what: str, in_kernel_words: str = "") -> None:
        """`in_kernel_words` is what those who watch a log for it know from the kernel's."""
        total = sum(self.shared.table(shard, table)[place] for shard in range(self.shared.shards))
        before = self._reported.get((table, place), 0)
        if total > before:
            log.warning("%s%d %s", in_kernel_words, total - before, what)
        self._reported[table, place] = total

    def _count_queue_drops(self) -> None:
        """Add what the kernel dropped since the last look; its own totals start anew with each worker."""
        now = queue_stats.read()
        for shard in range(self.shared.shards):
            number = self._config.gateway.queue_base + shard
            stats = now.get(number)
            if stats is None:
                self._queue_totals.pop(number, None)
                continue
            before = self._queue_totals.get(number)
            if before is None or stats.queue_full_drops < before.queue_full_drops or stats.socket_drops < before.socket_drops:
                before = queue_stats.QueueStats(0, 0, 0)
            counts = self.shared.table(shard, "queue")
            counts[QUEUE_FULL_DROPS] += stats.queue_full_drops - before.queue_full_drops
            counts[SOCKET_DROPS] += stats.socket_drops - before.socket_drops
            self._queue_totals[number] = stats


def _report_route(address: str, before: int | None, now: int) -> None:
    """`before` is None at the first look, which is no news unless there is no route (0)."""
    if now == before:
        return
    if not now:
        log.warning("there is no route to real server %s", address)
    elif before is not None:
        log.info("route MTU to %s: %s -> %d", address, before or "no route", now)


async def _watch_steering(host: Host) -> None:
    """Keep the steering in place. A tool that fails now and then must not end the appliance: traffic may still flow."""
    while True:
        await asyncio.sleep(WATCH_INTERVAL_S)
        try:
            await asyncio.to_thread(host.mend_steering)
        except EdgeError as error:
            log.error("cannot look after the ruleset: %s", error)


async def _until(stop: asyncio.Event, tasks: Sequence[asyncio.Future[None]]) -> None:
    """Wait for `stop`. None of the tasks ends by itself; one that does has failed, and its error is raised here."""
    stopping: asyncio.Future[bool] = asyncio.ensure_future(stop.wait())
    waited_for: list[asyncio.Future[Any]] = [stopping, *tasks]
    done, _ = await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    for task in done:
        task.result()


async def _cancel(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def run(read_config: Callable[[], Config]) -> None:
    """Run the appliance until SIGTERM or SIGINT; a SIGHUP lets it read its configuration again.

    Raises ConfigError, EdgeError or WorkerFailedError when it cannot start.
    """
    config = read_config()
    stop, reload_asked = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload_asked.set)
    with instance_lock.acquire():
        await Director(config, kept_isn_secret(), read_config).run(stop, reload_asked)
