"""The parent process: it prepares the host, keeps the workers alive, reads what the kernel counts, and serves the API.

It never sees a packet. At the start, queues are bound before packets are steered to them, and packets are steered before the
addresses that attract them are added. A stop ends the API, the sessions and the workers, and then takes addresses and rules away;
packets in between are dropped. Or a run ends and leaves all of that, with the sessions in the lane, to the next one; an end that
nobody has asked for does the same.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial

from appliance.config.changes import Reload, ReloadRefusedError, compare
from appliance.config.loading import Config, ConfigError
from appliance.config.planned import differences
from appliance.director import watches, workers
from appliance.director.access import Access
from appliance.director.access_control import AccessControl
from appliance.director.asked import Asked
from appliance.director.change_plans import ChangePlans
from appliance.director.config_file import ConfigSource
from appliance.director.configuration import Configuration
from appliance.director.confirmation import Occasion
from appliance.director.drains import drains_of, slots_of
from appliance.director.duties import Duties, cancel
from appliance.director.early_rules import EarlyRules
from appliance.director.events import Events
from appliance.director.examination import Doctor
from appliance.director.health import Health
from appliance.director.heap import KEEP_AFTER_S
from appliance.director.host import Host
from appliance.director.host_parameters import HostParameters
from appliance.director.in_force import InForce
from appliance.director.kept import Kept, forget, keep_down, keep_slots
from appliance.director.lane import Lane
from appliance.director.live import Live
from appliance.director.network import Network
from appliance.director.observer import Observer
from appliance.director.plans import worker_plans
from appliance.director.reload_log import say_done
from appliance.director.reported import Reported
from appliance.director.room import make_room
from appliance.director.runtime_files import Keys
from appliance.director.session_counts import session_counts
from appliance.director.session_log import SessionLogWriter
from appliance.director.session_queries import SessionQueries
from appliance.director.steps import do_all
from appliance.director.supervisor import ShardProcess
from appliance.director.traces import Traces
from appliance.director.tuning import Tuning
from appliance.director.watchdog import Watchdog, watch_workers
from appliance.director.worker_process import StartProcess, start_worker
from appliance.edge import links, neighbours
from appliance.edge.errors import EdgeError
from appliance.edge.notices import Notices
from appliance.health.check import Target
from appliance.health.drain import Drain
from appliance.ipc.plan import ServicePlan
from appliance.ipc.queries import SessionFilter, ShardFailedError
from appliance.model.host_parameter import HostParameterError
from appliance.model.tunables import TunableError

log = logging.getLogger("appliance.director")

ServeApi = Callable[["Director", Sequence[str]], Awaitable[Callable[[], Awaitable[None]]]]
"""Serves the API of a director on the addresses of `api.listen`; what it returns ends that."""

CUT_S = 8.0
"""How long a stop waits until both ends of all sessions are told; those that are left then are told nothing."""


class Director(Reported):
    """One run of the appliance. The API knows it as a `Gateway`."""

    def __init__(
        self,
        config: Config,
        keys: Keys,
        file: ConfigSource,
        host: Host,
        lane: Lane,
        kept: Kept,
        start: StartProcess = start_worker,
        was_down: Set[Target] = frozenset(),
        drained: Mapping[Target, Drain] | None = None,
        keep: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`file` is where `config` has come from. `was_down` are the real servers that were down in the run before, and `drained`
        those that were drained. `keep` hears how many real servers are new, see `director.heap`."""
        self._keep, self._config, self.access = keep, config, Access(config.api)
        self._slots, _, self.shared = kept
        self.services = self._slots.take(config)
        self.shared.set_tunables(config.sysctl)
        self.events, self._duties, self.in_force = Events(), Duties(), InForce(self, lambda: self._config, self._taken)
        self.health = Health(config, self._taken, self._change_health, was_down, keep_down, hear=self.events.add_state)
        self._observer = Observer(config, self.shared, self._taken, self.health)
        down, no_new = tuple(sorted(self.health.down)), slots_of(drained or {}, self._slots.taken)
        self._workers = [
            ShardProcess(plan, kept.shared_fd, partial(self._forget_worker, plan.shard), start)
            for plan in worker_plans(config, self.services, self._slots.capacity, keys, down, no_new)
        ]
        self.sessions = SessionQueries(self._workers, self.in_force.ended)
        self.traces = Traces(self._workers, lambda: self.services, self.in_force)
        self.session_log = SessionLogWriter(config.session_log, self._workers)
        self.drains = drains_of(self, config, self._taken, drained or {}, self._workers)
        self._host, self._lane, self._ends_for_good = host, lane, True
        self.host_parameters, self.access_control = HostParameters(host.sysctls), AccessControl(host.access, self.sessions)
        self._early_rules = EarlyRules(self.shared, config.gateway.sides.client_interfaces, self._put_lane_tunables)
        self._live = Live(host, self._workers, self._slots, lambda: self.services, self._know, lane.widen)
        self._tuning = Tuning(self.shared, host.change_defence, self._put_lane_tunables)
        self._kernel_drops = watches.KernelDrops(host.kernel_drops)
        self._counts = watches.Counts(self.shared, config.gateway.queue_base, self._kernel_drops, self._slots.service_names)
        self.attacks = self._counts.attacks
        self.configuration = Configuration(
            file,
            lambda: self._config,
            self.shared.tunable,
            self._change,
            ChangePlans(self.access_control, self.sessions, lambda: session_counts(self.shared, self._taken())).plan,
            self._tuning.changing,
        )
        self._routes, self._network = watches.Routes(self.shared), Network(config.gateway.sides, links.states, neighbours.failed)
        self._doctor = Doctor(self, lambda: self._config)
        self.examine, self._watchdog = self._doctor.report, Watchdog(self.shared.heartbeats, self._workers)

    def _taken(self) -> Mapping[tuple[str, str, int], int]:
        """The slot of each real server that has one."""
        return self._slots.taken

    async def run(self, serve_api: ServeApi, asked: Asked) -> None:
        """Serve until `asked.stop` or `asked.leave` is set, and reload the configuration whenever `asked.reload` is.

        Raises EdgeError or WorkerFailedError, or what `serve_api` raises, when the appliance cannot start. What an earlier run
        has left then stays, for the next attempt.
        """
        for warning in (*self._config.warnings, *self.access.warnings):
            log.warning("%s", warning)
        async with contextlib.AsyncExitStack() as undo:
            goes_on = await self._prepare(undo)
            tasks = [asyncio.ensure_future(worker.run()) for worker in self._workers]
            tasks.append(asyncio.ensure_future(self._duties.keep("look at workers", lambda: watch_workers(self._watchdog))))
            undo.push_async_callback(self.session_log.end)
            undo.push_async_callback(cancel, tasks)
            await workers.ready(self._workers)
            notices = undo.enter_context(contextlib.closing(Notices()))
            if not goes_on:
                await self._steer()
            await self._early_rules.look()
            self._lane.widen()
            self._lane.set_open(True)
            undo.push_async_callback(self._say_farewell)
            undo.push_async_callback(self.configuration.end)
            undo.push_async_callback(await serve_api(self, self._config.api.listen))
            tasks += (asyncio.ensure_future(self._duties.keep(*duty)) for duty in self._all_duties(notices, asked.reload).items())
            self._keep(_number_of(self.services, ()))
            log.info("ready: %s, API on %s", workers.counted(self._workers), ", ".join(self._config.api.listen))
            self._ends_for_good = False  # an error of ours from now on leaves all of it to the next run
            await asked.end(tasks)
            self._ends_for_good = asked.stop.is_set()
            log.info("stopping" if self._ends_for_good else "leaving everything in the kernel for the next run")

    async def _prepare(self, undo: contextlib.AsyncExitStack) -> bool:
        """Have host and lane ready for the workers; returns whether this run goes on with what an earlier one has left."""
        host, lane = self._host, self._lane
        goes_on = await asyncio.to_thread(host.adopt_leftovers)
        self._ends_for_good = not goes_on
        undo.push_async_callback(self._end_or_leave, forget, lambda: None)
        undo.push_async_callback(self._end_or_leave, host.undo, host.leave)
        await asyncio.to_thread(host.prepare, self._config.gateway, self._config.host.sysctl)
        undo.push_async_callback(self._end_or_leave, lane.end, lane.leave)
        await asyncio.to_thread(keep_slots, self._slots)
        await asyncio.to_thread(lane.open, self._slots.capacity, self._slots.are_new)
        await self._look_at_routes()
        await self._early_rules.look()
        self._put_lane_tunables()
        await asyncio.to_thread(lane.attach)
        await asyncio.to_thread(lane.remember, self.shared)
        for worker in self._workers:
            worker.lane_fds, worker.has_predecessor = lane.worker_fds, goes_on
        if goes_on:
            # Before the queues are bound, because the rules of the earlier run may give a slot to another shard. Packets of
            # sessions that are not in the lane are dropped meanwhile.
            await self._steer()
        return goes_on

    async def _steer(self) -> None:
        await asyncio.to_thread(self._host.start_steering, self._config, self._tuning.defence({}))

    def _all_duties(self, notices: Notices, reload_asked: asyncio.Event) -> dict[str, Callable[[], Awaitable[None]]]:
        """By name: what is done again and again for the whole run."""
        return {
            "look at counters": lambda: watches.watch_counts(self._counts),
            "look after the host": lambda: watches.watch_host(self._look_after_host, notices),
            "look at routes": lambda: watches.watch_routes(self._look_at_routes),
            "look after the lane": lambda: watches.watch_lane(self._lane.look),
            "look at rules before the appliance": self._early_rules.watch,
            "sample for the doctor": self._doctor.watch,
            "count the lane": lambda: watches.watch_lane_counts(self._count_lane),
            "reload": lambda: self._reload_when(reload_asked),
            "cut sessions of clients not admitted": self.access_control.watch,
            "check real servers": self.health.watch_sockets,
            "check real servers by commands": self.health.watch_commands,
            "tell who is down": self.health.tell,
            "look at drains": self.drains.watch,
            "observe traffic": self._observer.watch,
            "write the session log": self.session_log.watch,
        }

    async def _end_or_leave(self, end: Callable[[], None], leave: Callable[[], None]) -> None:
        await asyncio.to_thread(end if self._ends_for_good else leave)

    async def _say_farewell(self) -> None:
        """Reset both ends of the sessions that end with this run: of all of them, or of those that the lane does not carry."""
        if self._ends_for_good:
            self._lane.set_open(False)
        if self._ends_for_good or not self._lane.worker_fds:
            ending = [SessionFilter()]
        else:
            ending = [SessionFilter(service=service.name) for service in self.services if not service.lane]
        try:
            async with asyncio.timeout(CUT_S):
                if any(self.shared.session_counts):
                    log.info("sessions ended, both ends reset: %d", sum([await self.sessions.cut(wanted) for wanted in ending]))
        except (ShardFailedError, TimeoutError) as error:
            log.error("not all sessions could be reset: %s", error or f"no answer within {CUT_S:.0f} s")

    async def set_tunable(self, name: str, value: int) -> None:
        """Put a value in force in all shards and the kernel. Raises TunableError when it is refused; then nothing changes."""
        await self._tuning.set_tunable(name, value)

    async def reload(self) -> None:
        """Read the configuration again, and the keys of the API. Either everything that has changed in it is put in force, or
        nothing is and the log says why; the keys are a matter of their own."""
        await self.access.read_again()
        await self.configuration.reload()

    async def _change(self, wanted: Config, occasion: Occasion) -> list[str]:
        """Put a configuration in force, all of it or nothing. Returns a line for each change.

        The lock on tunables is held by the caller. Raises ReloadRefusedError.
        """
        try:
            changes = await asyncio.to_thread(compare, self._config, wanted)
            access = await self.access_control.read(wanted)
            changes = replace(changes, services=(*changes.services, *access.lines))
            self._tuning.check_port_range(changes.tunables)
            await make_room(self._slots, (self._config, wanted), self._workers, self._lane, self.shared)
            services = await asyncio.to_thread(self._slots.plan, wanted)
            new = _number_of(services, self.services)
            if not self._slots.has_all(wanted):
                await asyncio.to_thread(keep_slots, self._slots.after(wanted))
            tunables = self._tuning.without_those_in_force(changes.tunables)
            async with (
                self.access_control.changed(access.services),  # first: who is denied does not get in before
                self._live.prepared(self._config, wanted, services),
                self.host_parameters.changed(changes.host_parameters),
                self.session_log.changed(wanted.session_log),
            ):
                await self._tuning.put_in_force(tunables)
        except (ConfigError, HostParameterError, TunableError, EdgeError) as error:
            raise ReloadRefusedError(str(error)) from error
        before = self._config
        self._slots.take(wanted)
        await self._put_in_force(wanted, changes, services, occasion)
        asyncio.get_running_loop().call_later(KEEP_AFTER_S, self._keep, new)
        self.access_control.cut_soon()
        await asyncio.to_thread(say_done, changes, len(tunables), occasion)
        return [*await asyncio.to_thread(differences, before, wanted), *access.lines]

    async def _put_in_force(self, config: Config, changes: Reload, services: tuple[ServicePlan, ...], occasion: Occasion) -> None:
        """Put everything but the tunables in force, for which all is prepared."""
        self._config = config
        if changes.lines:
            await self._live.put(config, services)
            self.health.put(config, await asyncio.to_thread(self.health.difference, config))
            await self.drains.put(config, occasion)
            self._observer.put(config)
            await self.health.tell_once()
            self._lane.widen()
            self.in_force.changed()

    async def _know(self, services: tuple[ServicePlan, ...]) -> None:
        """Go by these services from now on. It comes before the shards have them, so that no packet goes to a real server whose
        MTU is not known yet, and the lane to none that is removed."""
        self.services = services
        await self._routes.look(services, only_new=True)
        self._lane.narrow(services, self.shared.mtu, self.health.left, self.health.down)

    def _forget_worker(self, shard: int) -> None:
        """The worker of a shard is gone."""
        self._lane.forget_worker(shard)
        self.shared.forget_sessions(shard)

    def _put_lane_tunables(self) -> None:
        self._lane.put_tunables(self.shared.tunable, self.shared.generation[0], self._early_rules.reason)
        self.in_force.changed()

    async def _change_health(self, down: tuple[int, ...]) -> None:
        """The real servers in these slots are down from now on, and all others up."""
        self._lane.narrow(self.services, self.shared.mtu, self.health.left, self.health.down)
        await workers.tell([worker.change_health(down) for worker in self._workers])
        self.in_force.changed()
        self._lane.widen()

    async def _reload_when(self, asked: asyncio.Event) -> None:
        while True:
            await asked.wait()
            asked.clear()
            try:
                await self.reload()
            except Exception:  # an error of ours must not end the appliance: it goes on with the configuration it has
                log.exception("reload failed because of an error of ours; please report this")

    def _look_after_host(self) -> None:
        do_all((self._host.mend, self._network.look_at_links))

    async def _look_at_routes(self) -> None:
        self.health.say_if_late()
        await self._routes.look(self.services)
        await asyncio.to_thread(lambda: self._network.look_at_servers(self._routes.next_hops))
        self._lane.narrow(self.services, self.shared.mtu, self.health.left, self.health.down)


def _number_of(services: Sequence[ServicePlan], known: Sequence[ServicePlan]) -> int:
    """How many real servers these services have, but for those that are known already."""
    there = set(map(id, known))
    return sum(len(service.real_servers) for service in services if id(service) not in there)
