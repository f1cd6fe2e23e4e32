"""The parent process: it prepares the host, keeps the workers alive, reads what the kernel counts, and serves the API.

It never sees a packet. At the start, queues are bound before packets are steered to them, and packets are steered before the
addresses that attract them are added. A stop ends the API and the workers, and then takes addresses and rules away; packets in
between are dropped.
"""

import asyncio
import contextlib
import logging
import secrets
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from appliance.config.changes import Reload, ReloadRefusedError, compare
from appliance.config.loading import Config, ConfigError
from appliance.director import watches
from appliance.director.duties import Duties
from appliance.director.host import Host
from appliance.director.plans import Slots, worker_plans
from appliance.director.runtime_files import kept_isn_secret, state_file
from appliance.director.session_queries import SessionQueries
from appliance.director.supervisor import ShardProcess
from appliance.director.tuning import Tuning
from appliance.director.watchdog import Watchdog, watch_workers
from appliance.director.worker_process import StartProcess, start_worker
from appliance.edge import conntrack, instance_lock, peer, shared_memory, sockstat
from appliance.edge.errors import EdgeError
from appliance.edge.notices import Notices
from appliance.ipc.plan import ServicePlan
from appliance.ipc.queries import ShardFailedError
from appliance.ipc.rows import DutyState, ShardState
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model.counters import WORKER_STARTS
from appliance.model.rates import Rates
from appliance.model.tunables import TunableError
from appliance.policy.steering import hash_seed

log = logging.getLogger("appliance.director")

ServeApi = Callable[["Director", Sequence[str]], Awaitable[Callable[[], Awaitable[None]]]]
"""Serves the API of a director on the addresses of `api.listen`; what it returns ends that."""


class Director:
    """One run of the appliance. The API knows it as a `Gateway`."""

    def __init__(
        self,
        config: Config,
        isn_secret: str,
        read_config: Callable[[], Config],
        host: Host,
        start: StartProcess = start_worker,
    ) -> None:
        """`read_config` reads the configuration again, for a reload; it may block and raises ConfigError."""
        self._config = config
        self._read_config = read_config
        self._slots = Slots.sized_for(config)
        self.services = self._slots.take(config)
        shards, destinations = config.gateway.shards, self._slots.capacity
        self._shared_fd = shared_memory.create(size_bytes(shards, destinations))
        self.shared = SharedState.create(shared_memory.attach(self._shared_fd), shards, destinations)
        self.shared.set_tunables(config.sysctl)
        self._workers = [
            ShardProcess(plan, self._shared_fd, partial(self.shared.forget_sessions, plan.shard), start)
            for plan in worker_plans(config, self.services, destinations, isn_secret, secrets.token_hex(16))
        ]
        self.sessions = SessionQueries(self._workers)
        self._host = host
        self._tuning = Tuning(self.shared, host.change_defence)
        self._kernel_drops = watches.KernelDrops(host.kernel_drops)
        self._counts = watches.Counts(self.shared, config.gateway.queue_base, self._kernel_drops, self._slots.service_names)
        self._routes = watches.Routes(self.shared)
        self._duties = Duties()
        self._watchdog = Watchdog(self.shared.heartbeats, self._workers)

    async def run(self, serve_api: ServeApi, stop: asyncio.Event, reload_asked: asyncio.Event) -> None:
        """Serve until `stop` is set, and reload the configuration whenever `reload_asked` is.

        Raises EdgeError or WorkerFailedError, or what `serve_api` raises, when the appliance cannot start.
        """
        host = self._host
        for warning in self._config.warnings:
            log.warning("%s", warning)
        async with contextlib.AsyncExitStack() as undo:
            await asyncio.to_thread(host.undo_leftovers)
            undo.push_async_callback(asyncio.to_thread, host.undo)
            await asyncio.to_thread(host.prepare, self._config.gateway)
            await self._look_at_routes()
            tasks = [asyncio.ensure_future(worker.run()) for worker in self._workers]
            tasks.append(asyncio.ensure_future(self._duties.keep("look at workers", lambda: watch_workers(self._watchdog))))
            undo.push_async_callback(_cancel, tasks)
            await self._workers_ready()
            notices = undo.enter_context(contextlib.closing(Notices()))
            await asyncio.to_thread(host.start_steering, self._config, self._tuning.defence({}))
            undo.push_async_callback(await serve_api(self, self._config.api.listen))
            duties: dict[str, Callable[[], Awaitable[None]]] = {
                "look at counters": lambda: watches.watch_counts(self._counts),
                "look after the host": lambda: watches.watch_host(host.mend, notices),
                "look at routes": lambda: watches.watch_routes(self._look_at_routes),
                "reload": lambda: self._reload_when(reload_asked),
            }
            tasks += (asyncio.ensure_future(self._duties.keep(name, duty)) for name, duty in duties.items())
            log.info("ready: %s, API on %s", _shards(len(self._workers)), ", ".join(self._config.api.listen))
            await _until(stop, tasks)
            log.info("stopping")

    async def _workers_ready(self) -> None:
        """Wait for all workers, so that the first failure is raised and the error of no other is lost."""
        for outcome in await asyncio.gather(*(worker.first_start for worker in self._workers), return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def set_tunable(self, name: str, value: int) -> None:
        """Put a value in force in all shards and the kernel. Raises TunableError when it is refused; then nothing changes."""
        await self._tuning.set_tunable(name, value)

    async def may_write(self, sock: peer.Socket) -> bool:
        """Whether the user at the other end of a connection may change anything.

        Those on other hosts may: the configuration lets them in only when it says so in so many words
        (`api.allow_remote_without_token`).
        """
        try:
            return await asyncio.to_thread(peer.may_write, peer.note(sock)) is not False
        except (EdgeError, OSError) as error:
            log.error("a change is refused, because nobody knows who asks for it: %s", error)
            return False

    async def kernel_drops(self) -> dict[str, int]:
        """Packets that the kernel had dropped for the defence a moment ago, or at the last look that did not fail, by extended
        counter."""
        return await self._kernel_drops.look()

    async def reload(self) -> None:
        """Read the configuration again. Either everything that may change while traffic flows is put in force, or nothing is
        and the log says why."""
        try:
            # before the lock: a slow disk must not hold up writes of tunables
            wanted = await asyncio.to_thread(self._read_config)
        except ConfigError as error:
            _log_refusal(error)
            return
        async with self._tuning.changing:
            await self._reload(wanted)

    async def _reload(self, wanted: Config) -> None:
        try:
            changes = compare(self._config, wanted)
            self._tuning.check_port_range(changes.tunables)
            services = self._slots.plan(wanted)
            tunables = self._tuning.without_those_in_force(changes.tunables)
            await asyncio.to_thread(self._host.add_real_servers, wanted)  # before a shard sends to them
            if tunables:
                await self._tuning.put_in_force(tunables)
        except (ReloadRefusedError, TunableError, EdgeError) as error:
            _log_refusal(error)
        else:
            self._slots.take(wanted)
            await self._put_in_force(wanted, changes, services)
            log.info("configuration read again, changes: %d", len(tunables) + len(changes.real_servers))

    async def _put_in_force(self, config: Config, changes: Reload, services: tuple[ServicePlan, ...]) -> None:
        """Put everything but the tunables in force."""
        self._config = config
        if changes.real_servers:
            self.services = services
            await self._look_at_routes()  # first, so that no packet goes to a real server whose MTU is not known yet
            await self._change_services(services)
        for line in changes.real_servers:
            log.info("%s", line)

    async def _change_services(self, services: tuple[ServicePlan, ...]) -> None:
        """Returns when all workers have these services in force. A worker that does not is logged, and the others go on."""
        answers = (worker.change_services(services) for worker in self._workers)
        for outcome in await asyncio.gather(*answers, return_exceptions=True):
            if isinstance(outcome, ShardFailedError):
                log.error("the new services are not in force everywhere: %s", outcome)
            elif outcome is not None:
                raise outcome

    async def _reload_when(self, asked: asyncio.Event) -> None:
        while True:
            await asked.wait()
            asked.clear()
            try:
                await self.reload()
            except Exception:  # an error of ours must not end the appliance: it goes on with the configuration it has
                log.exception("reload failed because of an error of ours; please report this")

    async def _look_at_routes(self) -> None:
        await self._routes.look(self.services)

    def host_sockstat(self) -> dict[str, dict[str, int]]:
        """The host's own sockets and fragments; empty when the kernel cannot be asked."""
        try:
            return sockstat.read()
        except EdgeError as error:
            log.error("%s", error)
            return {}

    def host_conntrack(self) -> dict[str, int] | None:
        """The host's own connection tracking; None while the host tracks nothing."""
        return conntrack.read()

    def shard_states(self) -> list[ShardState]:
        """The state of each worker, in the order of shards."""
        return [
            ShardState(
                worker.shard,
                worker.up and not worker.is_silent,
                worker.pid,
                self.shared.table(worker.shard, "queue")[WORKER_STARTS],
                self._watchdog.silent_s(worker.shard),
            )
            for worker in self._workers
        ]

    def duty_states(self) -> list[DutyState]:
        """How each duty of the director goes."""
        return self._duties.states()

    def host_problems(self) -> list[str]:
        """What is wrong on the host at this moment and keeps traffic from flowing as it should: a sentence each."""
        return list(self._host.problems.values())

    def missing_addresses(self) -> Sequence[str]:
        """VIPs and local addresses that no interface has although another program is to add them."""
        return self._host.missing_addresses

    def rates(self) -> Rates:
        """Events per second, smoothed, in the order of `shared_layout.TRAFFIC_FIELDS`."""
        return self._counts.meter.rates


def _shards(number: int) -> str:
    return "1 shard" if number == 1 else f"{number} shards"


def _log_refusal(error: Exception) -> None:
    for line in str(error).splitlines():
        log.error("%s", line)
    log.error("reload refused, nothing has changed")


async def _until(stop: asyncio.Event, tasks: Sequence[asyncio.Future[None]]) -> None:
    """Wait for `stop`. No task ends by itself unless it has failed; then its error is raised here."""
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


async def run(read_config: Callable[[], Config], serve_api: ServeApi) -> None:
    """Run the appliance until SIGTERM or SIGINT. At a SIGHUP it reads its configuration again.

    Raises ConfigError, EdgeError or WorkerFailedError, or what `serve_api` raises, when it cannot start.
    """
    config = read_config()
    stop, reload_asked = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload_asked.set)
    with instance_lock.held(state_file("lock")):
        secret = kept_isn_secret()
        await Director(config, secret, read_config, Host(hash_seed(secret))).run(serve_api, stop, reload_asked)
