"""observer.py and what health.py makes of its complaints: errors of all shards, over time, and who goes down by them."""

import logging
from collections.abc import Iterable

import pytest

from appliance.config.loading import Config, parse
from appliance.director.health import Health
from appliance.director.observer import Observer
from appliance.health.answer import Answer, failed
from appliance.health.check import Target
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model.counters import CONNS, REFUSED_CONNS, UNANSWERED_CONNS

TEXT = """
[gateway]
client_interface = "client0"
server_interface = "server0"
[local_addresses]
default = ["192.0.2.10"]
[[service]]
name = "web"
vip = "203.0.113.10"
port = 80
{service}
{observe}
{check}
[[service.real_server]]
address = "192.0.2.101"
port = 8080
[[service.real_server]]
address = "192.0.2.102"
port = 8080
{server}
[[service.real_server]]
address = "192.0.2.103"
port = 8080
"""
OBSERVE = "[service.observe]\nerrors = 4\nwithin_s = 10.0\nhold_s = 30.0\n"
CHECK = '[service.health_check]\ntype = "tcp"\ninterval_s = 60.0\nfast_interval_s = 5.0\n'
A, B, C = (Target("web", f"192.0.2.{number}", 8080) for number in (101, 102, 103))
SLOTS: dict[tuple[str, str, int], int] = {A: 0, B: 1, C: 2}


def config(*, service: str = "", observe: str = OBSERVE, check: str = "", server: str = "") -> Config:
    return parse(TEXT.format(service=service, observe=observe, check=check, server=server), "lvs.toml")


class World:
    """Health and its observer, over counters that the test moves on."""

    def __init__(self, wanted: Config | None = None) -> None:
        self.now = 1000.0
        wanted = wanted or config()
        self.shared = SharedState.create(memoryview(bytearray(size_bytes(2, 3))), 2, 3)
        self.health = Health(wanted, lambda: SLOTS, self.put, frozenset(), self.keep, self.ask, lambda: self.now, lambda: 0.5)
        self.observer = Observer(wanted, self.shared, lambda: SLOTS, self.health, lambda: self.now)
        self.observer.look()

    async def put(self, _: tuple[int, ...]) -> None: ...

    def keep(self, _: Iterable[Target]) -> None: ...

    async def ask(self, *_: object) -> Answer:
        raise AssertionError("nobody asks here")

    def counts(self, target: Target, place: int, number: int = 1, shard: int = 0) -> None:
        self.shared.destination(shard, SLOTS[target])[place] += number

    def fails(self, target: Target, number: int = 1, place: int = REFUSED_CONNS, shard: int = 0) -> None:
        """So many sessions of it are opened, and are errors."""
        self.counts(target, CONNS, number, shard)
        self.counts(target, place, number, shard)

    async def look(self, after_s: float = 0.2) -> None:
        self.now += after_s
        self.observer.look()
        await self.health.tell_once()

    def down(self) -> set[Target]:
        return {target for target, slot in SLOTS.items() if slot in self.health.down and isinstance(target, Target)}

    def reload(self, wanted: Config) -> None:
        self.health.put(wanted)
        self.observer.put(wanted)


@pytest.fixture(autouse=True)
def every_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "appliance.health"]


async def test_errors_of_both_kinds_and_of_all_shards_make_it_down_and_time_makes_it_up(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.fails(B, 2)
    world.fails(B, place=UNANSWERED_CONNS, shard=1)
    await world.look()
    assert world.down() == set()
    world.fails(B, shard=1)
    await world.look()
    assert world.down() == {B}
    row = world.health.rows()[0].real_servers[1]
    assert (row.state, row.check, row.tried_again_in_s) == ("down", "traffic", 30.0)
    await world.look(29.9)
    assert world.down() == {B}
    await world.look(0.2)
    assert world.down() == set()
    assert world.health.rows()[0].real_servers[1].tried_again_in_s == 0.0
    assert lines(caplog) == [
        "service web: real server 192.0.2.102:8080 is down: 4 of its sessions failed within 10 s; "
        "last answer: 3 refused, 1 without an answer",
        "service web: real server 192.0.2.102:8080 is up: it is tried again after 30 s; "
        "last answer: 3 refused, 1 without an answer",
    ]
    assert [change.target for change in world.health.recent] == [B, B]


async def test_it_goes_down_again_when_it_fails_again_and_not_by_its_old_errors() -> None:
    world = World()
    world.fails(B, 4)
    await world.look()
    await world.look(31)
    assert world.down() == set()
    world.fails(B, 3)
    await world.look()
    assert world.down() == set()
    world.fails(B, 1)
    await world.look()
    assert world.down() == {B}


async def test_one_stray_error_now_and_then_never_marks_anything() -> None:
    world = World()
    for _ in range(200):
        world.fails(B)
        await world.look(4.0)
        assert world.down() == set()


async def test_one_that_serves_most_of_its_sessions_stays() -> None:
    world = World()
    for _ in range(20):
        world.fails(B, 4)
        world.counts(B, CONNS, 5)
        await world.look()
    assert world.down() == set()


async def test_traffic_never_takes_the_last_one(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever can make all of them fail, a stranger or a broken switch, leaves one to the clients."""
    world = World()
    for _ in range(20):
        for target in (A, B, C):
            world.fails(target, 4)
        await world.look()
        assert len(world.down()) == 2
    stays = [line for line in lines(caplog) if "stays up" in line]
    assert stays == [
        "service web: real server 192.0.2.103:8080 stays up, because too few others are: 4 of its sessions failed within 10 s; "
        "last answer: 4 refused, 0 without an answer"
    ], "and this is said once in a while, and not each time"
    await world.look(31)
    assert world.down() == set()


async def test_nor_those_that_the_quorum_needs() -> None:
    world = World(config(service="quorum = 2"))
    for target in (A, B, C):
        world.fails(target, 4)
    await world.look()
    assert len(world.down()) == 1


async def test_a_backup_is_enough_to_spare_the_last_of_the_others() -> None:
    world = World(config(server="backup = true"))
    for target in (A, C):
        world.fails(target, 4)
    await world.look()
    assert world.down() == {A, C}
    world.fails(B, 4)
    await world.look()
    assert world.down() == {A, C}


async def test_one_with_weight_0_is_nobody_who_is_left() -> None:
    world = World(config(server="weight = 0"))
    for target in (A, C):
        world.fails(target, 4)
    await world.look()
    assert len(world.down()) == 1


async def test_without_the_table_nothing_follows() -> None:
    world = World(config(observe=""))
    world.fails(B, 100)
    await world.look()
    assert world.down() == set()
    assert world.health.rows()[0].real_servers[1].check == "none"


def due_in_s(world: World) -> float:
    """Seconds until the next check of B."""
    return world.health._sockets._agenda._moments[B] - world.now


async def test_with_a_check_the_next_one_is_hastened_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    world = World(config(check=CHECK))
    assert due_in_s(world) > 20
    world.fails(B, 3)
    await world.look()
    assert due_in_s(world) > 20
    world.fails(B, 1)
    await world.look()
    assert due_in_s(world) == 0.0
    assert world.down() == set()
    assert lines(caplog) == []


async def test_many_errors_among_more_sessions_hasten_too() -> None:
    world = World(config(check=CHECK))
    world.fails(B, 4)
    world.counts(B, CONNS, 1000)
    await world.look()
    assert due_in_s(world) == 0.0


async def test_however_many_errors_there_are_checks_come_no_faster_than_fast_interval_s() -> None:
    world = World(config(check=CHECK))
    times = 0
    for _ in range(100):
        world.fails(B, 50)
        await world.look(0.2)
        if due_in_s(world) <= 0.0:
            times += 1
            world.health._sockets._agenda.put(B, world.now + 60)
    assert times in (3, 4), "20 seconds"


async def test_a_reload_that_ends_observing_lets_go(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.fails(B, 4)
    await world.look()
    world.reload(config(observe=""))
    await world.look()
    assert world.down() == set()
    assert "is up: its traffic is not observed any more" in lines(caplog)[-1]


async def test_a_check_that_comes_with_a_reload_decides_from_then_on() -> None:
    world = World()
    world.fails(B, 4)
    await world.look()
    world.reload(config(check=CHECK))
    await world.look(100)
    assert world.down() == {B}, "no time makes it up"
    for _ in range(2):
        world.health._take(B, Answer(failed("").outcome.PASSED, "fine"))
    await world.look()
    assert world.down() == set()


async def test_a_reload_of_something_else_forgets_no_error() -> None:
    world = World()
    world.fails(B, 3)
    await world.look()
    world.reload(config(service="persistence_s = 5"))
    world.fails(B, 1)
    await world.look()
    assert world.down() == {B}


async def test_what_was_counted_before_does_not_count() -> None:
    """Counters go on from the run before, or from the time in which nobody observed."""
    world = World(config(observe=""))
    world.fails(B, 100)
    await world.look()
    world.reload(config())
    await world.look()
    world.fails(B, 3)
    await world.look()
    assert world.down() == set()


async def test_one_that_is_removed_while_it_is_down_is_forgotten() -> None:
    world = World()
    world.fails(C, 4)
    await world.look()
    text = TEXT[: TEXT.rindex("[[service.real_server]]")].format(service="", observe=OBSERVE, check="", server="")
    world.reload(parse(text, "lvs.toml"))
    await world.look(100)
    assert world.down() == set()
    assert not world.health._held


async def test_errors_count_from_the_moment_that_a_service_observes() -> None:
    world = World(config(observe=""))
    world.fails(B, 100)
    await world.look()
    world.reload(config())
    world.fails(B, 5)
    await world.look()
    assert world.down() == {B}
    assert [change.last_answer for change in world.health.recent] == ["5 refused, 0 without an answer"]
