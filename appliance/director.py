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
from collections.abc import AsyncIterator, Sequence
from typing import Any

from appliance import api, steering
from appliance.config import Config
from appliance.control import Plan, RealServerPlan, ServicePlan, SessionRow
from appliance.edge import instance_lock, queue_stats, shared_memory
from appliance.edge.errors import EdgeError
from appliance.host import Host
from appliance.rates import RateMeter, Rates
from appliance.shared_state import SharedState, size_bytes
from appliance.stats import QUEUE_FULL_DROPS, SOCKET_DROPS, WORKER_STARTS
from appliance.supervisor import ShardProcess
from appliance.tunables import TunableError, check_value
from appliance.verdict import REFUSALS
from appliance.views import ShardState, totals

log = logging.getLogger("appliance.director")

SAMPLE_INTERVAL_S = 2.0
WATCH_INTERVAL_S = 5.0


def service_plans(config: Config) -> tuple[ServicePlan, ...]:
    """The services as shards need them; every real server of every service gets its slot in the shared counters."""
    slot = 0
    plans = []
    for service in config.services:
        real_servers = []
        for real_server in service.real_servers:
            real_servers.append(RealServerPlan(str(real_server.address), real_server.port, real_server.weight, slot))
            slot += 1
        pool = tuple(str(address) for address in config.local_addresses[service.local_addresses])
        plans.append(ServicePlan(service.name, str(service.vip), service.port, service.scheduler, pool, tuple(real_servers)))
    return tuple(plans)


class Director:
    """One run of the appliance; implements `api.Gateway`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._isn_secret = secrets.token_hex(16)
        self.services = service_plans(config)
        shards = config.gateway.shards
        destinations = sum(len(service.real_servers) for service in self.services)
        self._shared_fd = shared_memory.create(size_bytes(shards, destinations))
        self.shared = SharedState(shared_memory.attach(self._shared_fd), shards, destinations)
        self.shared.set_tunables(config.sysctl)
        self._workers = [ShardProcess(self._plan(shard, destinations), self._shared_fd) for shard in range(shards)]
        self._meter = RateMeter()
        self._queue_totals: dict[int, queue_stats.QueueStats] = {}
        self._refused: dict[str, int] = {}

    def _plan(self, shard: int, destinations: int) -> Plan:
        gateway = self._config.gateway
        return Plan(shard, gateway.shards, gateway.queue_base + shard, destinations, self.services, self._isn_secret)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises EdgeError or WorkerFailedError when the appliance cannot start."""
        host = Host()
        lock = instance_lock.acquire()
        async with contextlib.AsyncExitStack() as undo:
            undo.callback(lock.close)
            await asyncio.to_thread(host.undo_leftovers)
            undo.push_async_callback(asyncio.to_thread, host.undo)
            await asyncio.to_thread(host.prepare, self._config.gateway)
            tasks = [asyncio.ensure_future(worker.run()) for worker in self._workers]
            undo.push_async_callback(_cancel, tasks)
            await self._workers_ready()
            await asyncio.to_thread(host.start_steering, self._config)
            runner = await api.serve(api.make_app(self), self._config.api.listen)
            undo.push_async_callback(runner.cleanup)
            tasks += [asyncio.ensure_future(self._sample()), asyncio.ensure_future(_watch(host))]
            log.info("ready: %d shards, API on %s", len(self._workers), ", ".join(self._config.api.listen))
            await _until(stop, tasks)
            log.info("stopping")

    async def _workers_ready(self) -> None:
        """Wait for all of them, so that the first failure is reported and no other is lost without a trace."""
        for outcome in await asyncio.gather(*(worker.first_start for worker in self._workers), return_exceptions=True):
            if outcome is not None:
                raise outcome

    def set_tunable(self, name: str, value: int) -> None:
        """Put a value in force in every shard. Raises TunableError, and changes nothing, when it is not allowed."""
        check_value(name, value)
        if name in ("fullnat_lport_min", "fullnat_lport_max"):
            self._check_port_range(**{name.removeprefix("fullnat_"): value})
        before = self.shared.tunable(name)
        self.shared.set_tunables({name: value})
        log.info("%s: %d -> %d", name, before, value)

    def _check_port_range(self, lport_min: int | None = None, lport_max: int | None = None) -> None:
        low = self.shared.tunable("fullnat_lport_min") if lport_min is None else lport_min
        high = self.shared.tunable("fullnat_lport_max") if lport_max is None else lport_max
        if low > high:
            raise TunableError(f"fullnat_lport_min ({low}) would be greater than fullnat_lport_max ({high})")
        shards = self.shared.shards
        one_of_each_class = min(high, low + steering.port_mask(shards))
        for shard in range(shards):
            if not steering.ports_of_shard(shard, shards, low, one_of_each_class):
                raise TunableError(f"local ports {low}..{high} would leave shard {shard} of {shards} without any")

    def shard_states(self) -> list[ShardState]:
        """How the workers are."""
        return [
            ShardState(worker.shard, worker.up, worker.pid, self.shared.table(worker.shard, "queue")[WORKER_STARTS])
            for worker in self._workers
        ]

    def rates(self) -> Rates:
        """Events per second, smoothed."""
        return self._meter.rates

    async def sessions(self) -> AsyncIterator[list[SessionRow]]:
        """All sessions, shard after shard, in batches."""
        for worker in self._workers:
            async for batch in worker.sessions():
                yield batch

    async def _sample(self) -> None:
        while True:
            self._meter.sample(time.monotonic(), totals(self.shared))
            self._count_queue_drops()
            self._report_refusals()
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    def _report_refusals(self) -> None:
        """One line per reason and look, however many clients were refused: a log must not be what a flood breaks."""
        for verdict in REFUSALS:
            total = sum(self.shared.table(shard, "verdicts")[verdict.index] for shard in range(self.shared.shards))
            before = self._refused.get(verdict.name, 0)
            if total > before:
                log.warning("%d connections in %.0f s %s", total - before, SAMPLE_INTERVAL_S, verdict.summary)
            self._refused[verdict.name] = total

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


async def _watch(host: Host) -> None:
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


async def run(config: Config) -> None:
    """Run the appliance until SIGTERM or SIGINT. Raises EdgeError or WorkerFailedError when it cannot start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    await Director(config).run(stop)
