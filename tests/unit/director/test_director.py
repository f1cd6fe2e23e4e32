"""director.py without a kernel: what it tells workers, what it refuses to put in force, and what it keeps over restarts."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from appliance.config import loading
from appliance.config.loading import Config, ConfigError, ConfigProblem, RealServer
from appliance.director.director import Director
from appliance.director.plans import SPARE_SLOTS
from appliance.edge.errors import EdgeError
from appliance.ipc.plan import services_from_json
from appliance.model.counters import QUEUE_FULL_DROPS, SOCKET_DROPS, SYNCOOKIES_ENGAGED, TIME_WAIT_OVERFLOWS
from appliance.model.tunables import TunableError
from appliance.model.verdicts import SYN_BACKLOG_FULL, TABLE_FULL
from appliance.policy.defence import Defence

SHIPPED = loading.load(Path(__file__).parents[3] / "etc/lvs.toml")
SECRET = "5a" * 16


def make_director(*rereadings: Config, running: Config = SHIPPED) -> Director:
    """One that runs the shipped configuration and reads `rereadings`, one after the other, when it is to reload."""
    upcoming = iter(rereadings)
    return Director(running, SECRET, lambda: next(upcoming))


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


async def test_start_values_are_in_force_from_the_beginning() -> None:
    director = make_director()
    assert {name: director.shared.tunable(name) for name in SHIPPED.sysctl} == SHIPPED.sysctl
    assert director.shared.shards == 2
    assert [state.up for state in director.shard_states()] == [False, False]


async def test_every_worker_gets_the_same_services_and_the_same_secret() -> None:
    director = make_director()
    plans = [worker._plan for worker in director._workers]
    assert [(plan.shard, plan.queue_num) for plan in plans] == [(0, 0), (1, 1)]
    assert all(plan.services == director.services and plan.isn_secret == SECRET for plan in plans)
    assert all(plan.destinations == director.shared.destinations for plan in plans)


async def test_cookies_have_a_secret_of_their_own_with_every_start() -> None:
    plans = [worker._plan for director in (make_director(), make_director()) for worker in director._workers]
    first, second = {plan.cookie_secret for plan in plans[:2]}, {plan.cookie_secret for plan in plans[2:]}
    assert len(first) == len(second) == 1
    assert len(first | second | {SECRET}) == 3


async def test_refusals_and_the_edges_of_syn_cookies_are_logged_once_a_look(caplog: pytest.LogCaptureFixture) -> None:
    director = make_director()
    director.shared.table(0, "verdicts")[SYN_BACKLOG_FULL.index] += 3
    director.shared.table(1, "queue")[SYNCOOKIES_ENGAGED] += 1
    director._report_events()
    director._report_events()
    assert caplog.messages == [
        f"3 connections in 2 s {SYN_BACKLOG_FULL.summary}",
        '1 times a service in "auto" began to answer with SYN cookies: its backlog was over the limit',
    ]


async def test_full_tables_are_logged_in_the_words_of_the_kernel_once_a_look(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever greps a log for them finds ours as well."""
    director = make_director()
    for shard in (0, 1):
        director.shared.table(shard, "verdicts")[TABLE_FULL.index] += 2000
        director.shared.table(shard, "queue")[TIME_WAIT_OVERFLOWS] += 1
    director._report_events()
    director._report_events()
    full, overflow = caplog.messages
    assert full == f"table full, dropping packet: 4000 connections in 2 s {TABLE_FULL.summary}"
    assert overflow.startswith("time wait bucket table overflow: 2 sessions in TIME_WAIT that ended early")


async def test_the_sessions_of_a_worker_that_died_count_no_longer() -> None:
    director = make_director()
    director.shared.session_counts[1] = director.shared.time_wait_counts[1] = 7
    director.shared.table(1, "states")[0] = 7
    director._workers[1]._on_death()
    assert not any(director.shared.session_counts)
    assert not any(director.shared.time_wait_counts)
    assert not any(director.shared.table(1, "states"))


async def test_a_host_that_does_not_say_what_it_counts_is_logged_and_harmless(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    director = make_director()
    assert {"TCP", "UDP"} <= set(director.host_sockstat())
    monkeypatch.setattr("appliance.edge.sockstat._PATH", Path("/nonexistent"))
    assert director.host_sockstat() == {}
    assert "cannot read /nonexistent" in caplog.text


@pytest.mark.parametrize(
    ("in_force", "name", "value", "words"),
    [
        ({}, "fullnat_lport_min", 1024, "out of range 1025"),
        ({"fullnat_lport_max": 6000}, "fullnat_lport_min", 6001, "greater than fullnat_lport_max"),
        ({"fullnat_lport_min": 6000}, "fullnat_lport_max", 5999, "greater than fullnat_lport_max"),
        ({"fullnat_lport_min": 6000}, "fullnat_lport_max", 6000, "would leave shard 1 of 2 without any"),
    ],
)
async def test_a_refused_write_changes_nothing(in_force: dict[str, int], name: str, value: int, words: str) -> None:
    director = make_director()
    director.shared.set_tunables(in_force)
    before, generation = director.shared.tunables.tolist(), director.shared.generation[0]
    with pytest.raises(TunableError, match=words):
        await director.set_tunable(name, value)
    assert director.shared.tunables.tolist() == before
    assert director.shared.generation[0] == generation


async def test_a_write_is_in_force_and_announced() -> None:
    director = make_director()
    generation = director.shared.generation[0]
    await director.set_tunable("tcp_timeout_established", 600_000)
    assert director.shared.tunable("tcp_timeout_established") == 600_000
    assert director.shared.generation[0] == generation + 1


class FakeHost:
    """Notes what is asked of the kernel, and refuses it if the test wants that."""

    def __init__(self, director: Director) -> None:
        self.asked: list[Defence] = []
        self.refuses = False
        self.error: Exception = EdgeError("why")
        self.drops = {"defence_udp_drop": 3}
        self._director = director
        self.values_meanwhile: list[int] = []
        director._host = self  # type: ignore[assignment]

    def change_defence(self, defence: Defence) -> None:
        self.values_meanwhile.append(self._director.shared.tunable("defence_udp_drop"))
        self.asked.append(defence)
        if self.refuses:
            raise EdgeError("nft -f - failed: why")

    def kernel_drops(self) -> dict[str, int]:
        if self.refuses:
            raise self.error
        return dict(self.drops)


async def test_a_tunable_of_the_defence_is_in_force_in_the_kernel_before_it_is_in_shards() -> None:
    director = make_director()
    host = FakeHost(director)
    await director.set_tunable("defence_udp_drop", 0)
    await director.set_tunable("defence_frag_drop", 0)
    await director.set_tunable("udp_timeout", 2000)
    assert host.asked == [Defence(True, True, False), Defence(False, True, False)]
    assert host.values_meanwhile == [1, 0]
    assert director.shared.tunable("defence_udp_drop") == 0


async def test_writes_at_once_leave_kernel_and_shards_with_the_same_values() -> None:
    director = make_director()
    host = FakeHost(director)
    names = ("defence_tcp_drop", "defence_udp_drop", "defence_frag_drop")
    await asyncio.gather(*(director.set_tunable(name, value) for value in (0, 1, 0) for name in names))
    in_force = Defence.of({name: director.shared.tunable(name) for name in names})
    assert host.asked[-1] == in_force == Defence(False, False, False)


async def test_rules_that_the_kernel_refuses_leave_the_value_as_it_was() -> None:
    director = make_director()
    FakeHost(director).refuses = True
    generation = director.shared.generation[0]
    with pytest.raises(TunableError, match="defence_frag_drop: the kernel refuses the rules: nft -f - failed: why"):
        await director.set_tunable("defence_frag_drop", 0)
    assert director.shared.tunable("defence_frag_drop") == 1
    assert director.shared.generation[0] == generation


async def test_a_reload_changes_the_rules_or_nothing(caplog: pytest.LogCaptureFixture) -> None:
    wanted = with_sysctl(with_weight(0), defence_tcp_drop=0, udp_timeout=2000)
    director = make_director(wanted, wanted)
    host = FakeHost(director)
    host.refuses = True
    before = (director.services, director._config, director.shared.tunables.tolist())
    await director.reload()
    assert (director.services, director._config, director.shared.tunables.tolist()) == before
    assert caplog.messages[-1] == "reload refused, nothing has changed"
    host.refuses = False
    await director.reload()
    assert host.asked[-1] == Defence(True, False, True)
    assert director.shared.tunable("defence_tcp_drop") == 0


@pytest.mark.parametrize("error", [EdgeError("why"), OSError("why")], ids=["the tool's", "a mistake"])
async def test_kernel_drops_are_those_of_the_last_look_that_did_not_fail(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    director = make_director()
    host = FakeHost(director)
    host.error = error
    assert await director.kernel_drops() == {"defence_udp_drop": 3}
    host.drops["defence_udp_drop"], host.refuses = 4, True
    assert await director.kernel_drops() == {"defence_udp_drop": 3}
    assert caplog.messages == ["cannot read what the kernel has dropped: why"]
    host.refuses = False
    assert await director.kernel_drops() == {"defence_udp_drop": 4}


async def test_queue_drops_add_up_over_the_lives_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own totals start anew with each worker that binds the queue."""
    from appliance.edge.queue_stats import QueueStats

    director = make_director()
    looks = iter([{0: QueueStats(0, 5, 1)}, {0: QueueStats(0, 7, 1)}, {}, {0: QueueStats(0, 2, 0)}, {0: QueueStats(0, 1, 0)}])
    monkeypatch.setattr("appliance.director.director.queue_stats.read", lambda: next(looks))
    for _ in range(5):
        director._count_queue_drops()
    counts = director.shared.table(0, "queue")
    assert (counts[QUEUE_FULL_DROPS], counts[SOCKET_DROPS]) == (7 + 2 + 1, 1)


MtuOf = dict[str, int]


@pytest.fixture
def route_mtus(monkeypatch: pytest.MonkeyPatch) -> MtuOf:
    """The routes of the host, for the test to change. An address that is not in it has no route."""
    found = {str(server.address): 1500 for service in SHIPPED.services for server in service.real_servers}
    monkeypatch.setattr("appliance.edge.routes.mtus", lambda addresses: {name: found.get(name, 0) for name in addresses})
    return found


async def test_a_reload_tells_every_worker_after_the_mtus_are_known(route_mtus: MtuOf, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    director = make_director(with_weight(0))
    address, port = director.services[0].real_servers[0].address, director.services[0].real_servers[0].port
    route_mtus[address] = 1280
    told: list[tuple[bytes, list[int]]] = []
    for worker in director._workers:
        worker._writer = Mock()
        worker._writer.write.side_effect = lambda data: told.append((data, director.shared.mtus.tolist()))
    await director.reload()
    assert [server.weight for server in director.services[0].real_servers] == [0, 100]
    (message,) = {data for data, _ in told}
    assert len(told) == 2
    assert services_from_json(json.loads(message)["services"]) == director.services
    assert [mtus[:2] for _, mtus in told] == [[1280, 1500]] * 2
    assert f"service web: real server {address}:{port} weight 100 -> 0" in caplog.messages
    assert caplog.messages[-1] == "configuration read again, changes: 1"


async def test_a_reload_that_leaves_services_alone_tells_workers_nothing() -> None:
    director = make_director(with_sysctl(tcp_timeout_close=5000))
    for worker in director._workers:
        worker._writer = Mock()
    await director.reload()
    assert director.shared.tunable("tcp_timeout_close") == 5000
    for worker in director._workers:
        assert isinstance(worker._writer, Mock)
        worker._writer.write.assert_not_called()


async def test_what_an_operator_set_stays_until_the_file_says_otherwise() -> None:
    director = make_director(SHIPPED, with_sysctl(udp_timeout=2000), with_sysctl(udp_timeout=2000, tcp_timeout_close=5000))

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
    director = make_director(with_sysctl(udp_timeout=2000))
    await director.set_tunable("udp_timeout", 2000)
    generation = director.shared.generation[0]
    await director.reload()
    assert director.shared.generation[0] == generation
    assert caplog.messages[-1] == "configuration read again, changes: 0"


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
    director = Director(SHIPPED, SECRET, read_again)
    await director.set_tunable("fullnat_lport_max", 6000)
    before = (director.services, director._config, director.shared.tunables.tolist(), director.shared.generation[0])
    await director.reload()
    assert (director.services, director._config, director.shared.tunables.tolist(), director.shared.generation[0]) == before
    assert all(worker._plan.services == director.services for worker in director._workers)
    assert caplog.messages == [*words, "reload refused, nothing has changed"]


async def test_a_refused_reload_uses_up_no_slots() -> None:
    real_servers = tuple(
        RealServer.model_validate({"address": "192.0.2.200", "port": port}) for port in range(1, SPARE_SLOTS + 2)
    )
    too_many = with_real_servers(real_servers)
    director = make_director(too_many, with_real_servers(real_servers[1:]))
    await director.reload()
    assert director.services == make_director().services
    await director.reload()
    assert len(director.services[0].real_servers) == SPARE_SLOTS


async def test_each_signal_is_a_reload_and_one_that_fails_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    director, asked, done, attempts = make_director(), asyncio.Event(), asyncio.Event(), 0

    async def reload() -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0)
        if attempts == 1:
            asked.set()
            raise RuntimeError("a mistake of ours")
        done.set()

    monkeypatch.setattr(director, "reload", reload)
    watching = asyncio.ensure_future(director._reload_when(asked))
    asked.set()
    over = asyncio.ensure_future(done.wait())
    await asyncio.wait((over, watching), return_when=asyncio.FIRST_COMPLETED)
    assert over.done(), "the second signal was heard"
    for _ in range(10):
        await asyncio.sleep(0)
    assert attempts == 2, "one reload for each signal"
    watching.cancel()
    assert "reload failed because of an error of ours; please report this" in caplog.messages


async def test_route_mtus_are_written_by_slot_and_only_when_they_change(
    route_mtus: MtuOf, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    twice = SHIPPED.services[0].model_copy(update={"name": "again", "port": 81})
    director = make_director(running=SHIPPED.model_copy(update={"services": (SHIPPED.services[0], twice)}))
    first, second = (server.address for server in director.services[0].real_servers)

    async def mtus_after_a_look() -> list[int]:
        await director._look_at_routes()
        return director.shared.mtus.tolist()[:4]

    assert await mtus_after_a_look() == [1500, 1500, 1500, 1500]
    assert caplog.messages == [], "the first look is no news"
    generation = director.shared.generation[0]
    await director._look_at_routes()
    assert director.shared.generation[0] == generation
    route_mtus[first] = 1280
    assert await mtus_after_a_look() == [1280, 1500, 1280, 1500]
    assert director.shared.generation[0] == generation + 1
    del route_mtus[second]
    assert await mtus_after_a_look() == [1280, 0, 1280, 0]
    route_mtus[second] = 9000
    assert await mtus_after_a_look() == [1280, 9000, 1280, 9000]
    assert caplog.messages == [
        f"route MTU to {first}: 1500 -> 1280",
        f"there is no route to real server {second}",
        f"route MTU to {second}: no route -> 9000",
    ]


@pytest.mark.parametrize("error", [EdgeError("why"), IndexError("why")], ids=["the kernel's", "a mistake"])
async def test_routes_that_cannot_be_read_end_nothing_and_change_nothing(
    error: Exception, route_mtus: MtuOf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    director = make_director()
    await director._look_at_routes()
    monkeypatch.setattr("appliance.edge.routes.mtus", Mock(side_effect=error))
    await director._look_at_routes()
    assert set(director.shared.mtus.tolist()[: len(route_mtus)]) == {1500}
    assert caplog.messages == ["cannot look after the MTUs of routes: why"]
