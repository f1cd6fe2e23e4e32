"""director.py without a kernel and without processes: what it tells workers, in which order, and when a reload is done."""

import asyncio
import select
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import ClassVar, cast
from unittest.mock import AsyncMock

import pytest

from appliance.config import loading
from appliance.config.host_table import Host as HostTable
from appliance.config.loading import Config, ConfigError, ConfigProblem, Gateway, RealServer
from appliance.director import supervisor, watchdog
from appliance.director.asked import Asked
from appliance.director.director import Director
from appliance.director.host import Host
from appliance.director.kept import Kept
from appliance.director.lane import Lane
from appliance.director.plans import RemovedServer
from appliance.director.runtime_files import Keys
from appliance.director.watchdog import NOTICED_LOOKS
from appliance.edge.errors import EdgeError
from appliance.edge.queue_stats import QueueStats
from appliance.edge.routes import NO_ROUTE, Route
from appliance.health.check import Target
from appliance.health.drain import Drain
from appliance.ipc.messages import Ask, ChangeDrained, ChangeServices, Done, Numbered, Piece, Refused, Start
from appliance.ipc.plan import Plan
from appliance.ipc.queries import CUT, TALLY, Query, SessionFilter
from appliance.model.host_parameter import HostParameterError, Values
from appliance.model.tunables import TunableError
from appliance.policy.access_rules import AccessService
from appliance.policy.defence import Defence
from tests.support.configuration import FakeFile
from tests.support.fake_lane import FakeLane
from tests.support.fake_worker import FakeWorker, FakeWorkers

SHIPPED = loading.load(Path(__file__).parents[3] / "etc/lvs.toml")
SPARE = SHIPPED.gateway.spare_real_servers
KEYS = Keys("5a" * 16, "c0" * 16)


class FakeSysctls:
    """Has the values that are asked for, and refuses a value of 8."""

    def __init__(self) -> None:
        self.in_force: dict[str, Values | None] = {}

    def change(self, wanted: Mapping[str, Values | None]) -> Callable[[], None]:
        if (8,) in wanted.values():
            raise HostParameterError("the kernel refuses 8")
        before = dict(self.in_force)
        self.in_force.update(wanted)

        def put_back() -> None:
            self.in_force = before

        return put_back


class FakeAccessTable:
    """Notes which services have lists or limits."""

    def __init__(self) -> None:
        self.services: Sequence[AccessService] = ()
        self.refuses = False

    def change(self, services: Sequence[AccessService]) -> None:
        if self.refuses:
            raise EdgeError("nft -f - failed: why")
        self.services = services


class FakeHost:
    """Notes what is asked of the host, and refuses rules if the test wants that."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.asked: list[Defence] = []
        self.refuses = self.refuses_more = self.refuses_less = False
        self.sysctls = FakeSysctls()
        self.access = FakeAccessTable()

    has_leftovers = False

    def adopt_leftovers(self) -> bool:
        self.steps.append("leftovers are adopted")
        return self.has_leftovers

    def prepare(self, _: Gateway, wanted: Mapping[str, Values]) -> None:
        self.steps.append("the host is prepared")
        self.sysctls.in_force.update(wanted)

    def start_steering(self, _: Config, defence: Defence) -> None:
        self.steps.append("packets are steered")
        self.asked.append(defence)

    problems: ClassVar[dict[str, str]] = {}
    missing_addresses = ()

    def mend(self) -> None:
        """There is nothing to mend."""

    def extend(self, config: Config) -> None:
        self.steps.append(f"packets of {_served(config)} are taken as well")
        if self.refuses_more:
            raise EdgeError("nft -f - failed: why")

    def shrink(self, config: Config, removed: Sequence[RemovedServer] = ()) -> None:
        more = f" and {len(removed)} removed real servers" if removed else ""
        self.steps.append(f"packets of {_served(config)}{more} alone are taken")
        if self.refuses_less:
            raise EdgeError("nft -f - failed: why")

    def undo(self) -> None:
        self.steps.append("the host is as it was")

    def leave(self) -> None:
        self.steps.append("the host is left")

    def change_defence(self, defence: Defence) -> None:
        self.asked.append(defence)
        if self.refuses:
            raise EdgeError("nft -f - failed: why")

    def kernel_drops(self) -> dict[str, int]:
        return {"defence_udp_drop": 3}


def _served(config: Config) -> str:
    return ", ".join(f"{service.name}:{service.port} with {len(service.real_servers)}" for service in config.services)


class Parts:
    """A director, and everything around it."""

    def __init__(self, read_config: Callable[[], Config], running: Config, drained: Mapping[Target, Drain] | None = None) -> None:
        self.host = FakeHost()
        self.workers = FakeWorkers()
        self.started: list[FakeWorker] = []
        self.asked, self.is_serving = Asked(), asyncio.Event()
        self.lane = FakeLane(self.host.steps)
        host, lane = cast("Host", self.host), cast("Lane", self.lane)
        kept, file = Kept.anew(running), FakeFile(read_config)
        self.director = Director(running, KEYS, file, host, lane, kept, self.workers.start, drained=drained)

    async def serve_api(self, director: Director, listen: Sequence[str]) -> Callable[[], Awaitable[None]]:
        assert (director, listen) == (self.director, SHIPPED.api.listen)
        self.host.steps.append("the API is served")
        self.is_serving.set()

        async def end() -> None:
            self.host.steps.append("the API is gone")

        return end


def make(*rereadings: Config, running: Config = SHIPPED, drained: Mapping[Target, Drain] | None = None) -> Parts:
    """A director that runs the shipped configuration and reads `rereadings`, one after the other, when it is to reload."""
    upcoming = iter(rereadings)
    return Parts(lambda: next(upcoming), running, drained)


@asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[list[Plan]]:
    """The director runs, and its workers are ready; gives the plans that they got."""
    run = asyncio.ensure_future(parts.director.run(parts.serve_api, parts.asked))
    plans = []
    for _ in range(parts.director.shared.shards):
        worker = await parts.workers.started.get()
        parts.started.append(worker)
        start = await worker.becomes_ready()
        assert isinstance(start.message, Start)
        plans.append(start.message.plan)
    await parts.is_serving.wait()
    try:
        yield plans
    finally:
        parts.asked.stop.set()
        await run


def with_sysctl(running: Config = SHIPPED, **values: int) -> Config:
    return running.model_copy(update={"sysctl": running.sysctl | values})


def with_real_servers(real_servers: tuple[RealServer, ...], running: Config = SHIPPED) -> Config:
    """Others behind the first service."""
    service, *services = running.services
    return running.model_copy(update={"services": (service.model_copy(update={"real_servers": real_servers}), *services)})


def with_weight(weight: int, running: Config = SHIPPED) -> Config:
    """Another weight for the first real server of the first service."""
    first, *others = running.services[0].real_servers
    return with_real_servers((first.model_copy(update={"weight": weight}), *others), running)


MtuOf = dict[str, int]


@pytest.fixture(autouse=True)
def runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where runs leave what outlives them."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))


@pytest.fixture(autouse=True)
def route_mtus(monkeypatch: pytest.MonkeyPatch) -> MtuOf:
    """The routes of the host, for the test to change. An address that is not in it has no route."""
    found = {str(server.address): 1500 for service in SHIPPED.services for server in service.real_servers}
    monkeypatch.setattr(
        "appliance.edge.routes.look",
        lambda asked: {name: Route(found[name], name) if name in found else NO_ROUTE for name in asked},
    )
    return found


@pytest.fixture(autouse=True)
def host_rules(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the host has of rules that see SYNs before the appliance, for the test to change."""
    found: list[str] = []
    monkeypatch.setattr("appliance.edge.early_rules.EarlyRules.look", lambda _: "".join(found))
    return found


async def test_start_values_are_in_force_from_the_beginning() -> None:
    director = make().director
    assert {name: director.shared.tunable(name) for name in SHIPPED.sysctl} == SHIPPED.sysctl
    assert director.shared.shards == 2
    assert [state.up for state in director.shard_states()] == [False, False]


async def test_every_worker_gets_the_same_services_and_the_same_secrets() -> None:
    parts = make()
    async with running(parts) as plans:
        assert [(plan.shard, plan.queue_num) for plan in plans] == [(0, 0), (1, 1)]
        assert all(plan.services == parts.director.services and (plan.isn_secret, plan.cookie_secret) == KEYS for plan in plans)
        assert all(plan.destinations == parts.director.shared.destinations for plan in plans)
        assert [state.up for state in parts.director.shard_states()] == [True, True]


async def test_the_lane_is_told_who_is_down() -> None:
    """Also a service whose sessions stay may have to be silent: see front_doors.py."""
    parts = make()
    parts.director.health.down = frozenset({1})
    async with running(parts):
        assert parts.lane.down == {1}


async def test_the_lane_is_told_of_rules_before_the_appliance(host_rules: list[str]) -> None:
    host_rules.append("the chain early is there")
    parts = make()
    async with running(parts):
        assert parts.lane.early_rules == "the chain early is there"
        assert parts.director.shared.early_rules[0]
    host_rules.clear()
    parts = make()
    async with running(parts):
        assert parts.lane.early_rules == ""
        assert not parts.director.shared.early_rules[0]


async def test_rules_that_come_while_packets_are_steered_for_the_first_time_count(
    host_rules: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of them come first is known when the appliance has its own."""
    parts = make()
    monkeypatch.setattr(parts.host, "start_steering", lambda *_: host_rules.append("the chain early is there"))
    async with running(parts):
        assert parts.lane.early_rules == "the chain early is there"


async def test_a_worker_that_does_nothing_is_shown_as_down() -> None:
    parts = make()
    async with running(parts):
        for _ in range(NOTICED_LOOKS + 1):
            parts.director.shared.heartbeats[0] += 1
            parts.director._watchdog.look()
        working, silent = parts.director.shard_states()
    assert (working.up, working.silent_s) == (True, 0.0)
    assert (silent.up, silent.pid, silent.silent_s) == (False, 4711, 2.0)


async def test_the_state_of_a_worker_has_its_cpu_time_and_what_waits_in_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.edge.queue_stats.read", lambda: {1: QueueStats(17, 0, 0), 9: QueueStats(5, 0, 0)})
    monkeypatch.setattr("appliance.director.workers.cpu_s", lambda pid: {4711: 2.5}[pid])
    parts = make()
    assert [(state.cpu_s, state.waiting) for state in parts.director.shard_states()] == [(None, None), (None, 17)]
    async with running(parts):
        assert [(state.cpu_s, state.waiting) for state in parts.director.shard_states()] == [(2.5, None), (2.5, 17)]


async def test_the_watchdog_looks_while_the_director_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = asyncio.Event()
    monkeypatch.setattr(watchdog, "LOOK_INTERVAL_S", 0.0)
    monkeypatch.setattr(watchdog.Watchdog, "look", lambda _: looked.set())
    async with running(make()):
        await looked.wait()


async def test_packets_are_steered_when_queues_are_bound_and_the_stop_goes_the_other_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    parts = make()
    run = asyncio.ensure_future(parts.director.run(parts.serve_api, parts.asked))
    first, second = [await parts.workers.started.get() for _ in range(2)]
    await first.becomes_ready()
    assert parts.host.steps == [
        "leftovers are adopted",
        "the host is prepared",
        "a lane with 259 new slots is there",
        "the lane forbids what is not allowed with MTUs [1500, 1500]",
        "the lane is attached",
    ]
    await second.becomes_ready()
    parts.asked.stop.set()
    await run
    assert parts.host.steps[5:] == [
        "packets are steered",
        "the lane allows it",
        "the lane is open",
        "the API is served",
        "the API is gone",
        "the lane is closed",
        "the lane is gone",
        "the host is as it was",
    ]
    assert parts.host.asked == [Defence(True, True, True)]
    lines = [record.message for record in caplog.records if record.name == "appliance.director"]
    assert lines == ["ready: 2 shards, API on 127.0.0.1:9380, unix:/run/appliance/api.sock", "stopping"]


async def test_a_run_that_is_to_leave_leaves_everything_to_the_next_one() -> None:
    parts = make()
    run = asyncio.ensure_future(parts.director.run(parts.serve_api, parts.asked))
    for _ in range(2):
        await (await parts.workers.started.get()).becomes_ready()
    await parts.is_serving.wait()
    parts.asked.leave.set()
    await run
    assert parts.host.steps[-3:] == ["the API is gone", "the lane is left", "the host is left"]


async def test_a_run_that_goes_on_steers_before_a_queue_is_bound() -> None:
    """The rules of the earlier run may give a slot to another shard, which would answer its packets with RST."""
    parts = make()
    parts.host.has_leftovers = True
    async with running(parts):
        steps = parts.host.steps
        assert steps.index("the lane is attached") < steps.index("packets are steered") < steps.index("the lane is open")
        assert steps.count("packets are steered") == 1


@pytest.mark.parametrize("has_leftovers", [False, True])
async def test_workers_know_whether_an_earlier_run_has_had_sessions(has_leftovers: bool) -> None:
    parts = make()
    parts.host.has_leftovers = has_leftovers
    async with running(parts) as plans:
        assert [plan.has_predecessor for plan in plans] == [has_leftovers] * 2


@pytest.mark.parametrize("has_leftovers", [False, True])
async def test_a_start_that_fails_undoes_its_own_changes_and_leaves_those_of_an_earlier_run(has_leftovers: bool) -> None:
    parts = make()
    parts.host.has_leftovers, parts.lane.attach_fails = has_leftovers, True
    with pytest.raises(EdgeError, match="tc: no"):
        await parts.director.run(parts.serve_api, parts.asked)
    left, undone = ["the lane is left", "the host is left"], ["the lane is gone", "the host is as it was"]
    assert parts.host.steps[-2:] == (left if has_leftovers else undone)


async def test_workers_get_the_maps_of_the_lane() -> None:
    parts = make()
    async with running(parts):
        assert parts.workers.lane_fds == [(7, 8, 9)] * 2


async def test_a_stop_for_good_cuts_the_sessions_that_there_are() -> None:
    parts = make()
    async with running(parts):
        parts.director.shared.session_counts[1] = 3
        parts.asked.stop.set()
        for worker in parts.started:
            number, message = await worker.hears()
            assert message == Ask(Query(CUT, SessionFilter()))
            worker.says(Piece(number, [3], is_last=True, place=""))
    assert parts.host.steps[-4:] == ["the API is gone", "the lane is closed", "the lane is gone", "the host is as it was"]


@pytest.mark.parametrize(("lane", "asked"), [(False, [SessionFilter(service="web")]), (True, [])])
async def test_a_run_that_leaves_resets_sessions_that_the_lane_does_not_carry(lane: bool, asked: list[SessionFilter]) -> None:
    service = SHIPPED.services[0].model_copy(update={"lane": lane})
    parts = make(running=SHIPPED.model_copy(update={"services": (service,)}))
    await leave_with_sessions(parts, asked)


async def test_a_run_that_leaves_without_a_lane_resets_all_sessions() -> None:
    parts = make()
    parts.lane.worker_fds = ()
    await leave_with_sessions(parts, [SessionFilter()])


async def leave_with_sessions(parts: Parts, asked: list[SessionFilter]) -> None:
    run = asyncio.ensure_future(parts.director.run(parts.serve_api, parts.asked))
    workers = [await parts.workers.started.get() for _ in range(2)]
    for worker in workers:
        await worker.becomes_ready()
    await parts.is_serving.wait()
    parts.director.shared.session_counts[0] = 3
    parts.asked.leave.set()
    for wanted in asked:
        for worker in workers:
            number, message = await worker.hears()
            assert message == Ask(Query(CUT, wanted))
            worker.says(Piece(number, [3], is_last=True, place=""))
    await run
    assert parts.host.steps[-2:] == ["the lane is left", "the host is left"]


async def test_the_lane_forbids_before_the_shards_know_and_allows_afterwards() -> None:
    parts = make(with_real_servers(SHIPPED.services[0].real_servers[:1]))
    async with running(parts):
        before = len(parts.host.steps)
        reload = asyncio.ensure_future(parts.director.reload())
        numbers = [(await worker.hears()).number for worker in parts.started]
        forbids = "the lane forbids what is not allowed with MTUs [1500]"
        assert parts.host.steps[before:] == ["packets of web:80 with 1 are taken as well", forbids]
        for worker, number in zip(parts.started, numbers, strict=True):
            worker.says(Done(number))
        await reload
        assert parts.host.steps[-1] == "the lane allows it"


async def test_a_tunable_reaches_the_lane() -> None:
    parts = make()
    await parts.director.set_tunable("fullnat_toa_kind", 253)
    assert parts.lane.tunables == {"fullnat_toa_kind": 253}


async def test_the_sessions_of_a_worker_that_died_count_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.0)
    parts = make()
    shared = parts.director.shared
    async with running(parts) as plans:
        shared.session_counts[1] = shared.time_wait_counts[1] = 7
        shared.table(1, "states")[0] = 7
        (worker,) = (worker for worker, plan in zip(parts.started, plans, strict=True) if plan.shard == 1)
        worker.dies()
        await (await parts.workers.started.get()).becomes_ready()
        assert not any(shared.session_counts)
        assert not any(shared.time_wait_counts)
        assert not any(shared.table(1, "states"))


async def test_a_host_that_does_not_say_what_it_counts_is_logged_and_harmless(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    director = make().director
    assert {"TCP", "UDP"} <= set(director.host_sockstat())
    monkeypatch.setattr("appliance.edge.sockstat._PATH", Path("/nonexistent"))
    assert director.host_sockstat() == {}
    assert "cannot read /nonexistent" in caplog.text


async def test_what_the_kernel_has_dropped_is_asked_of_the_host() -> None:
    director = make().director
    assert not director.kernel_drops_are_known()
    assert await director.kernel_drops() == {"defence_udp_drop": 3}
    assert director.kernel_drops_are_known()


async def test_a_tunable_is_in_force_or_refused() -> None:
    parts = make()
    await parts.director.set_tunable("defence_udp_drop", 0)
    assert parts.host.asked == [Defence(True, True, False)]
    assert parts.director.shared.tunable("defence_udp_drop") == 0
    with pytest.raises(TunableError, match="out of range"):
        await parts.director.set_tunable("fullnat_lport_min", 1024)


async def changes_of(director: Director, caplog: pytest.LogCaptureFixture) -> str:
    """What a reload says last."""
    await director.reload()
    return caplog.messages[-1]


async def test_a_reload_changes_the_rules_or_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    wanted = with_sysctl(with_weight(0), defence_tcp_drop=0, udp_timeout=2000)
    parts = make(wanted, wanted)
    director, host = parts.director, parts.host
    host.refuses = True
    before = (director.services, director.shared.tunables.tolist())
    assert await changes_of(director, caplog) == "reload refused, nothing has changed"
    assert (director.services, director.shared.tunables.tolist()) == before
    host.refuses = False
    assert await changes_of(director, caplog) == "configuration read again, changes: 3", "the file was not taken before"
    assert host.asked[-1] == Defence(True, False, True)
    assert director.shared.tunable("defence_tcp_drop") == 0


def with_deny(*texts: str, **sysctl: int) -> Config:
    """The shipped configuration with a deny list."""
    (service,) = SHIPPED.services
    denying = service.model_copy(update={"deny": tuple(map(IPv4Network, texts))})
    return with_sysctl(SHIPPED.model_copy(update={"services": (denying,)}), **sysctl)


async def test_a_reload_changes_access_lists_or_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    wanted = with_deny("10.0.0.0/8", defence_tcp_drop=0)
    parts = make(wanted, wanted, wanted)
    director, host = parts.director, parts.host
    host.access.refuses = True
    assert await changes_of(director, caplog) == "reload refused, nothing has changed"
    assert (len(host.access.services), director.shared.tunable("defence_tcp_drop")) == (0, 1)
    host.access.refuses, host.refuses = False, True
    assert await changes_of(director, caplog) == "reload refused, nothing has changed"
    assert not host.access.services, "the lists of before are back"
    host.refuses = False
    assert await changes_of(director, caplog) == "configuration read again, changes: 3"
    assert [service.name for service in host.access.services] == ["web"]
    assert "service web: deny [] -> [10.0.0.0/8]" in caplog.messages


async def test_a_reload_tells_every_worker_after_the_mtus_are_known(
    route_mtus: MtuOf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of the real servers that come with it; the others are known."""
    caplog.set_level("INFO")
    new = SHIPPED.services[0].real_servers[0].model_copy(update={"address": IPv4Address("192.0.2.103")})
    changed = with_weight(0)
    parts = make(with_real_servers((*changed.services[0].real_servers, new), changed))
    director = parts.director
    address, port = director.services[0].real_servers[0].address, director.services[0].real_servers[0].port
    async with running(parts):
        told_before: list[object] = []

        def look(addresses: Sequence[str]) -> dict[str, Route]:
            told_before.extend((addresses, select.select([worker.socket for worker in parts.started], [], [], 0)[0]))
            return {name: Route(route_mtus[name], name) for name in addresses}

        monkeypatch.setattr("appliance.edge.routes.look", look)
        route_mtus["192.0.2.103"] = 1280
        reload = asyncio.ensure_future(director.reload())
        for worker in parts.started:
            number, message = await worker.hears()
            assert message == ChangeServices(director.services)
            assert director.shared.mtus.tolist()[:3] == [1500, 1500, 1280]
            worker.says(Done(number))
        await reload
        assert told_before == [("192.0.2.103",), []]
    assert [server.weight for server in director.services[0].real_servers] == [0, 100, 100]
    assert f"service web: real server {address}:{port} weight 100 -> 0" in caplog.messages
    assert "configuration read again, changes: 2" in caplog.messages


async def test_a_reload_is_done_when_every_worker_has_said_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    parts = make(with_weight(0))
    async with running(parts):
        reload = asyncio.ensure_future(parts.director.reload())
        (first, first_number), (second, second_number) = [(worker, (await worker.hears()).number) for worker in parts.started]
        first.says(Done(first_number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not reload.done()
        assert not any(line.startswith("configuration read again") for line in caplog.messages)
        second.says(Done(second_number))
        await reload
        assert caplog.messages[-1] == "configuration read again, changes: 1"


async def test_a_worker_that_dies_during_a_reload_does_not_hold_it_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    parts = make(with_weight(0))
    async with running(parts):
        reload = asyncio.ensure_future(parts.director.reload())
        first, second = parts.started
        first.says(Done((await first.hears()).number))
        await second.hears()
        second.dies()
        await reload
        assert not [line for line in caplog.messages if "not in force" in line]
        assert "configuration read again, changes: 1" in caplog.messages


async def test_a_reload_that_a_worker_refuses_is_taken_back_in_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    parts = make(with_weight(0), with_weight(50))
    before = parts.director.services
    async with running(parts):
        first, second = parts.started
        reload = asyncio.ensure_future(parts.director.reload())
        first.says(Refused((await first.hears()).number, "why"))
        second.says(Done((await second.hears()).number))
        for worker in parts.started:
            number, message = await worker.hears()
            assert message == ChangeServices(before)
            worker.says(Done(number))
        await reload
        assert caplog.messages[-2:] == ["the services cannot be changed: shard 0: why", "reload refused, nothing has changed"]
        assert parts.director.services == before
        assert parts.host.steps[-1] == "the lane allows it"
        monkeypatch.setattr(supervisor, "ANSWER_TIMEOUT_S", 0.0)
        await parts.director.reload()
        assert caplog.messages[-1] == "reload refused, nothing has changed"
        assert len([line for line in caplog.messages if "a change is not in force everywhere: shard" in line]) == 2, "taking back"
        assert parts.director.services == before


async def test_a_reload_of_a_scheduler_is_in_force_in_every_worker(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    first, *others = SHIPPED.services
    parts = make(SHIPPED.model_copy(update={"services": (first.model_copy(update={"scheduler": "wlc"}), *others)}))
    async with running(parts):
        reload = asyncio.ensure_future(parts.director.reload())
        for worker in parts.started:
            number, message = await worker.hears()
            assert isinstance(message, ChangeServices)
            assert message.services[0].scheduler == "wlc"
            worker.says(Done(number))
        await reload
    assert f"service {first.name}: scheduler rr -> wlc" in caplog.messages
    assert parts.director.services[0].scheduler == "wlc"


async def test_a_reload_that_leaves_services_alone_tells_workers_nothing() -> None:
    parts = make(with_sysctl(tcp_timeout_close=5000))
    async with running(parts):
        await parts.director.reload()
        assert parts.director.shared.tunable("tcp_timeout_close") == 5000
        assert select.select([worker.socket for worker in parts.started], [], [], 0)[0] == []


async def test_what_an_operator_set_stays_until_the_file_says_otherwise() -> None:
    director = make(SHIPPED, with_sysctl(udp_timeout=2000), with_sysctl(udp_timeout=2000, tcp_timeout_close=5000)).director

    async def values_after_a_reload() -> list[int]:
        await director.reload()
        return [director.shared.tunable(name) for name in ("tcp_timeout_close", "udp_timeout")]

    await director.set_tunable("tcp_timeout_close", 3000)
    await director.set_tunable("udp_timeout", 4000)
    assert await values_after_a_reload() == [3000, 4000]
    assert await values_after_a_reload() == [3000, 2000]
    await director.set_tunable("udp_timeout", 6000)
    assert await values_after_a_reload() == [5000, 6000], "the file is compared with what it said at the last reload"


async def test_a_value_that_is_in_force_already_is_no_change(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    director = make(with_sysctl(udp_timeout=2000)).director
    await director.set_tunable("udp_timeout", 2000)
    generation = director.shared.generation[0]
    assert await changes_of(director, caplog) == "configuration read again, changes: 0"
    assert director.shared.generation[0] == generation


def unreadable() -> Config:
    raise ConfigError(
        "lvs.toml", (ConfigProblem((), None, "cannot be read: why"), ConfigProblem(("gateway",), None, "is required"))
    )


@pytest.mark.parametrize(
    ("read_again", "words"),
    [
        (unreadable, ["lvs.toml: cannot be read: why", "lvs.toml: gateway: is required"]),
        (
            lambda: with_sysctl(with_weight(0, SHIPPED.with_shards(4)), udp_timeout=2000),
            ["gateway.shards: 2 -> 4 needs a restart"],
        ),
        (
            lambda: with_sysctl(with_weight(0), fullnat_lport_min=7000, udp_timeout=2000),
            ["fullnat_lport_min (7000) would be greater than fullnat_lport_max (6000)"],
        ),
    ],
    ids=["a file with errors", "a key that needs a restart", "a value that an operator's does not go with"],
)
async def test_a_refused_reload_changes_nothing_and_says_why(
    read_again: Callable[[], Config], words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    readers: Iterator[Callable[[], Config]] = iter([read_again, lambda: SHIPPED])
    parts = Parts(lambda: next(readers)(), SHIPPED)
    director = parts.director
    await director.set_tunable("fullnat_lport_max", 6000)
    before = (director.services, director.shared.tunables.tolist(), director.shared.generation[0])
    await director.reload()
    assert (director.services, director.shared.tunables.tolist(), director.shared.generation[0]) == before
    assert caplog.messages == [*words, "reload refused, nothing has changed"]
    caplog.set_level("INFO")
    assert await changes_of(director, caplog) == "configuration read again, changes: 0", "the one in force is still the first"
    async with running(parts) as plans:
        assert all(plan.services == director.services for plan in plans)


async def test_a_refused_reload_uses_up_no_slots() -> None:
    real_servers = tuple(RealServer.model_validate({"address": "192.0.2.200", "port": port}) for port in range(1, SPARE + 2))
    too_many = with_real_servers(real_servers)
    director = make(too_many, with_real_servers(real_servers[1:])).director
    await director.reload()
    assert director.services == make().director.services
    await director.reload()
    assert len(director.services[0].real_servers) == SPARE


async def test_a_reload_that_the_kernel_refuses_uses_up_no_slots() -> None:
    first, second = (
        tuple(RealServer.model_validate({"address": address, "port": port}) for port in range(1, SPARE + 1))
        for address in ("192.0.2.200", "192.0.2.201")
    )
    parts = make(with_sysctl(with_real_servers(first), defence_tcp_drop=0), with_real_servers(second))
    parts.host.refuses = True
    await parts.director.reload()
    assert parts.director.services == make().director.services
    await parts.director.reload()
    assert {server.address for server in parts.director.services[0].real_servers} == {"192.0.2.201"}


def with_parameters(running: Config = SHIPPED, **values: Values) -> Config:
    return running.model_copy(update={"host": HostTable.model_validate({"sysctl": {n: [*v] for n, v in values.items()}})})


async def test_parameters_of_the_host_are_set_at_the_start_and_follow_the_file() -> None:
    first, second = with_parameters(tcp_fin_timeout=(30,), tcp_retries2=(9,)), with_parameters(tcp_fin_timeout=(31,))
    parts = make(second, SHIPPED, running=first)
    async with running(parts):
        assert parts.host.sysctls.in_force == {"tcp_fin_timeout": (30,), "tcp_retries2": (9,)}
        await parts.director.reload()
        assert parts.host.sysctls.in_force == {"tcp_fin_timeout": (31,), "tcp_retries2": None}
        await parts.director.reload()
        assert parts.host.sysctls.in_force == {"tcp_fin_timeout": None, "tcp_retries2": None}


async def test_a_parameter_that_the_kernel_refuses_refuses_the_whole_reload(caplog: pytest.LogCaptureFixture) -> None:
    wanted = with_parameters(with_sysctl(with_weight(0), udp_timeout=2000), tcp_retries2=(8,))
    director = make(wanted).director
    before = (director.services, director.shared.tunables.tolist())
    assert await changes_of(director, caplog) == "reload refused, nothing has changed"
    assert "the kernel refuses 8" in caplog.messages
    assert (director.services, director.shared.tunables.tolist()) == before


async def test_a_reload_that_fails_behind_the_parameters_takes_them_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    wanted = with_parameters(with_sysctl(defence_tcp_drop=0), tcp_fin_timeout=(30,))
    parts = make(wanted, wanted)
    parts.host.refuses = True
    assert await changes_of(parts.director, caplog) == "reload refused, nothing has changed"
    assert parts.host.sysctls.in_force == {}
    parts.host.refuses = False
    assert await changes_of(parts.director, caplog) == "configuration read again, changes: 2"
    assert parts.host.sysctls.in_force == {"tcp_fin_timeout": (30,)}


async def test_each_signal_is_a_reload_and_one_that_fails_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    attempts, loop, done = 0, asyncio.get_running_loop(), asyncio.Event()

    def read_config() -> Config:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            loop.call_soon_threadsafe(parts.asked.reload.set)
            raise RuntimeError("a mistake of ours")
        loop.call_soon_threadsafe(done.set)
        return SHIPPED

    parts = Parts(read_config, SHIPPED)
    async with running(parts):
        parts.asked.reload.set()
        await done.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert attempts == 2, "one reload for each signal"
    assert "reload failed because of an error of ours; please report this" in caplog.messages


async def test_a_duty_that_fails_does_not_end_the_appliance(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = asyncio.Event()

    async def fails(_: object) -> None:
        failed.set()
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("appliance.director.watches.watch_counts", fails)
    parts = make()
    async with running(parts):
        await failed.wait()
        await asyncio.sleep(0)
        states = {state.name: state for state in parts.director.duty_states()}
        assert states["look at counters"].failures == 1
        assert "Too many open files" in states["look at counters"].last_error
        assert all(state.up for state in parts.director.shard_states())


async def test_the_network_around_the_gateway_is_looked_at_with_the_host_and_with_the_routes(
    route_mtus: MtuOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped configuration has one interface on each side; none of them is up. One real server has no route."""
    silent: set[str] = set()
    monkeypatch.setattr("appliance.edge.links.states", lambda interfaces: dict.fromkeys(interfaces, "down"))
    monkeypatch.setattr("appliance.edge.neighbours.failed", lambda: silent)
    parts = make()
    first, second = parts.director.services[0].real_servers
    silent.add(first.address)
    del route_mtus[second.address]
    await parts.director._look_at_routes()
    parts.director._look_after_host()
    client, server = SHIPPED.gateway.client_interface, SHIPPED.gateway.server_interface
    assert parts.director.host_problems() == [
        f"no interface towards clients is up: {client} is down",
        f"no interface towards real servers is up: {server} is down",
    ]
    assert parts.director.network_notes() == [
        f"interface {client} is down",
        f"interface {server} is down",
        f"real server {first.address} does not answer ARP",
        f"there is no route to real server {second.address}",
    ]


async def test_the_keys_of_the_api_are_read_again_also_when_a_reload_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Config:
        raise ConfigError("lvs.toml", (ConfigProblem((), None, "why"),))

    parts, read = Parts(refuse, SHIPPED), AsyncMock()
    monkeypatch.setattr(parts.director.access, "read_again", read)
    await parts.director.reload()
    read.assert_awaited_once()


SERVERS = SHIPPED.services[0].real_servers
A, B = (Target("web", str(server.address), server.port) for server in SERVERS)


@asynccontextmanager
async def draining(parts: Parts, target: Target = A) -> AsyncIterator[None]:
    """A real server is drained, whatever workers say behind that."""
    beginning = asyncio.ensure_future(parts.director.drains.begin(target, None))
    numbers = [await worker.hears() for worker in parts.started]
    assert [number.message for number in numbers] == [ChangeDrained((0,))] * 2
    parts.started[0].says(Done(numbers[0].number))
    assert not beginning.done(), "not before all of them have it in force"
    parts.started[1].says(Done(numbers[1].number))
    await beginning
    yield


async def test_all_workers_have_it_in_force_before_it_is_said() -> None:
    parts = make()
    async with running(parts), draining(parts):
        assert parts.director.drains.slots == (0,)
        assert parts.director.health.rows()[0].real_servers[0].draining
        assert [event.kind for event in parts.director.events.since(0, 9).events] == ["drain"]


async def test_a_worker_that_starts_later_has_it_in_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.0)
    parts = make()
    async with running(parts) as plans, draining(parts):
        assert [plan.drained for plan in plans] == [(), ()]
        parts.started[0].dies()
        start = (await (await parts.workers.started.get()).becomes_ready()).message
        assert isinstance(start, Start)
        assert start.plan.drained == (0,)


async def test_the_last_one_is_a_trouble_of_its_service_until_it_is_taken_back() -> None:
    parts = make(running=with_real_servers(SERVERS[:1]))
    async with running(parts), draining(parts):
        assert parts.director.health.troubles == {"web": "no real server is up and not drained: new sessions are refused"}
        undoing = asyncio.ensure_future(parts.director.drains.take_back(A))
        changes = await asyncio.gather(*map(next_change, parts.started))
        for worker, (number, message) in zip(parts.started, changes, strict=True):
            assert message == ChangeDrained(())
            worker.says(Done(number))
        assert await undoing
        assert parts.director.health.troubles == {}


async def next_change(worker: FakeWorker) -> Numbered:
    """The next change; a shard that is asked for its sessions meanwhile has one."""
    while True:
        heard = number, message = await worker.hears()
        if not isinstance(message, Ask):
            return heard
        assert message == Ask(Query(TALLY, SessionFilter(service="web", real_server=A.endpoint), "service"))
        worker.says(Piece(number, [["web", 1]], is_last=True, place=""))


async def test_a_reload_that_removes_it_ends_its_drain_in_all_workers() -> None:
    parts = make(with_real_servers(SERVERS[1:]))
    async with running(parts), draining(parts):
        reloading = asyncio.ensure_future(parts.director.reload())
        for wanted in (ChangeServices, ChangeDrained):
            for worker, (number, message) in zip(
                parts.started, await asyncio.gather(*map(next_change, parts.started)), strict=True
            ):
                assert isinstance(message, wanted)
                worker.says(Done(number))
        await reloading
        assert parts.director.drains.slots == ()
        assert [event.kind for event in parts.director.events.since(0, 9).events] == ["drain", "undrain"]


async def test_a_run_goes_on_with_the_drains_of_the_one_before() -> None:
    parts = make(drained={B: Drain(1.0), Target("gone", "192.0.2.9", 1): Drain(1.0)})
    assert parts.director.drains.slots == (1,)
    async with running(parts) as plans:
        assert [plan.drained for plan in plans] == [(1,), (1,)]


async def answered(parts: Parts, change: Awaitable[object]) -> None:
    """A change of which every worker says that it is in force."""
    changing = asyncio.ensure_future(change)
    for worker in parts.started:
        worker.says(Done((await worker.hears()).number))
    await changing


async def test_captures_are_told_of_each_change_when_all_workers_have_it() -> None:
    parts = make(with_weight(7))
    director = parts.director
    async with running(parts):
        listener = director.in_force.listen("198.51.100.2")

        async def news() -> list[set[str]]:
            return [set(change.what) for change in await listener.take(float("inf"))]

        assert await news() == [{"gateway", "sysctl", "local_addresses", "service", "down", "drained"}]
        await director.set_tunable("conn_max", 5000)
        assert await news() == [{"sysctl"}]
        await answered(parts, director.reload())
        assert {"service"} in await news()
        cutting = asyncio.ensure_future(director.sessions.cut(SessionFilter(service="web")))
        for worker in parts.started:
            worker.says(Piece((await next_cut(worker)).number, [0], is_last=True, place=""))
        await cutting
        assert await news() == [{"ended"}]
        changing = asyncio.ensure_future(director._change_health((1,)))
        director.health.down = frozenset({1})
        numbers = [(await worker.hears()).number for worker in parts.started]
        parts.started[0].says(Done(numbers[0]))
        await asyncio.sleep(0)
        assert await news() == [], "not before all of them have it in force"
        parts.started[1].says(Done(numbers[1]))
        await changing
        assert await news() == [{"down"}]
        director.health.down = frozenset()
        async with draining(parts):
            assert [change for change in await news() if "drained" in change]


async def next_cut(worker: FakeWorker) -> Numbered:
    """The next question, which is that."""
    heard = await worker.hears()
    assert heard.message == Ask(Query(CUT, SessionFilter(service="web")))
    return heard
