"""health.py: what a change of state does, in which order, and what is said of it."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from appliance.config.loading import Config, parse
from appliance.director.checker import Checker
from appliance.director.health import Health
from appliance.edge.errors import EdgeError
from appliance.health.answer import Answer, failed, passed, undecided
from appliance.health.check import Check, Target

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
[service.health_check]
type = "{kind}"
rise = 2
fall = 3
[[service.real_server]]
address = "192.0.2.101"
port = 8080
[[service.real_server]]
address = "192.0.2.102"
port = 8080
{server}
[[service]]
name = "dns"
vip = "203.0.113.10"
port = 53
protocol = "udp"
[[service.real_server]]
address = "192.0.2.101"
port = 53
"""
A, B, DNS = Target("web", "192.0.2.101", 8080), Target("web", "192.0.2.102", 8080), Target("dns", "192.0.2.101", 53)
SLOTS: dict[tuple[str, str, int], int] = {A: 0, B: 1, DNS: 2}
FAST = 'tcp"\nfast_interval_s = 0.05  # "'
"""The kind of a check that is asked often."""

GOOD, BAD = passed("fine"), failed("refused")


def config(service: str = "", server: str = "", kind: str = "tcp") -> Config:
    return parse(TEXT.format(service=service, server=server, kind=kind), "lvs.toml")


@dataclass
class World:
    """Health whose checks the test answers, and all that it tells others, in order."""

    wanted: Config = field(default_factory=config)
    was_down: frozenset[Target] = frozenset()
    told: list[object] = field(default_factory=list)
    kept: list[list[Target]] = field(default_factory=list)
    keep_fails: bool = False
    now: float = 100.0

    def __post_init__(self) -> None:
        self.health = Health(
            self.wanted, lambda: dict(SLOTS), self.put, self.was_down, self.keep, self.ask, lambda: self.now, lambda: 0.0
        )

    async def put(self, down: tuple[int, ...]) -> None:
        self.told.append((down, sorted(self.health.left)))

    def keep(self, down: Iterable[Target]) -> None:
        self.kept.append(sorted(down))
        if self.keep_fails:
            raise EdgeError("no space")

    async def ask(self, *_: object) -> Answer:
        raise AssertionError("the test answers")

    async def answers(self, target: Target, *answers: Answer) -> None:
        for answer in answers:
            self.health._take(target, answer)
        await self.health.tell_once()

    def state(self, target: Target) -> str:
        rows = {row.service: row for row in self.health.rows()}
        (found,) = [server for server in rows[target.service].real_servers if server.address == target.address]
        return found.state


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "appliance.health"]


@pytest.fixture(autouse=True)
def every_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def test_a_change_is_in_force_before_anybody_hears_of_it(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    seen: list[tuple[list[str], int]] = []
    inner = world.put

    async def put(down: tuple[int, ...]) -> None:
        await inner(down)
        seen.append((lines(caplog), world.health.recent.total))

    world.health._put_in_force = put
    await world.answers(B, BAD, BAD)
    assert world.told == []
    await world.answers(B, BAD)
    assert world.told == [((1,), [])]
    assert seen == [([], 0)]
    assert lines(caplog) == [
        "service web: real server 192.0.2.102:8080 is down: 3 tcp checks failed in a row; last answer: refused"
    ]
    assert [change.target for change in world.health.recent] == [B]
    assert world.kept == [[B]]
    assert (world.state(A), world.state(B), world.state(DNS)) == ("up", "down", "up")


async def test_it_is_taken_back(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    await world.answers(B, BAD, BAD, BAD)
    await world.answers(B, GOOD, GOOD)
    assert world.told == [((1,), []), ((), [])]
    assert lines(caplog)[-1] == "service web: real server 192.0.2.102:8080 is up: 2 tcp checks passed in a row; last answer: fine"
    assert world.kept[-1] == []


async def test_changes_are_logged_in_their_order_and_told_together(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    for _ in range(3):
        world.health._take(B, BAD)
    for _ in range(3):
        world.health._take(A, BAD)
    await world.health.tell_once()
    assert world.told == [((0, 1), [])]
    assert [line.split()[4] for line in lines(caplog)[:2]] == ["192.0.2.102:8080", "192.0.2.101:8080"]


@pytest.mark.parametrize(
    ("service", "server", "words"),
    [
        ("", "", "no real server is up: new sessions are refused"),
        ('when_none_healthy = "drop"', "", "no real server is up: new sessions are dropped"),
        ('when_none_healthy = "all"', "", "no real server is up: new sessions go to all real servers, as if they were up"),
    ],
)
async def test_a_service_that_is_down_says_what_becomes_of_its_clients(
    service: str, server: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(config(service, server))
    await world.answers(A, BAD, BAD, BAD)
    assert world.health.troubles == {}
    await world.answers(B, BAD, BAD, BAD)
    assert world.health.troubles == {"web": words}
    assert lines(caplog)[-1] == f"service web: {words}"
    await world.answers(A, GOOD, GOOD)
    assert world.health.troubles == {}
    assert lines(caplog)[-1] == "service web: enough real servers are up again"


async def test_a_backup_takes_over_and_that_is_said() -> None:
    world = World(config(server="backup = true"))
    await world.answers(A, BAD, BAD, BAD)
    assert world.health.troubles == {"web": "no real server is up: new sessions go to backups"}


async def test_below_the_quorum_a_service_is_down() -> None:
    world = World(config("quorum = 2"))
    await world.answers(A, BAD, BAD, BAD)
    assert world.health.troubles == {"web": "fewer than 2 real servers are up: new sessions are refused"}


@pytest.mark.parametrize("on_down", ["expire", "reset"])
async def test_whose_sessions_leave_is_known_before_shards_are_told(on_down: str) -> None:
    world = World(config(f'on_down = "{on_down}"'))
    await world.answers(B, BAD, BAD, BAD)
    assert world.told == [((1,), [1])]


async def test_nobody_leaves_when_all_count_as_up_because_none_is() -> None:
    world = World(config('on_down = "reset"\nwhen_none_healthy = "all"'))
    await world.answers(A, BAD, BAD, BAD)
    await world.answers(B, BAD, BAD, BAD)
    assert world.told == [((0,), [0]), ((0, 1), [])]


async def test_what_could_not_be_asked_is_said_once_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    await world.answers(A, *[undecided("no socket")] * 10)
    assert world.told == []
    assert lines(caplog) == ["service web: real server 192.0.2.101:8080 cannot be checked: no socket"]


async def test_the_run_before_is_remembered() -> None:
    world = World(was_down=frozenset({B, DNS}))
    assert world.health.down == {1}, "the other has no check, so nobody would ever take it back"
    assert world.state(B) == "down"
    await world.answers(B, GOOD, GOOD)
    assert world.told == [((), [])]


async def test_a_file_that_cannot_be_written_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    world = World(keep_fails=True)
    await world.answers(B, BAD, BAD, BAD)
    assert world.health.down == {1}
    assert lines(caplog)[-1] == "the next run will not know who is down: no space"


async def test_a_reload_keeps_the_state_and_the_count_of_one_whose_check_is_the_same() -> None:
    world = World()
    await world.answers(B, BAD, BAD, BAD)
    await world.answers(A, BAD, BAD)
    world.health.put(config('when_none_healthy = "all"'))
    await world.health.tell_once()
    assert (world.state(A), world.state(B)) == ("up", "down")
    await world.answers(A, BAD)
    assert world.state(A) == "down", "the third one in a row"


async def test_with_another_check_it_keeps_its_state_and_begins_to_count_anew() -> None:
    world = World()
    await world.answers(B, BAD, BAD, BAD)
    await world.answers(A, BAD, BAD)
    world.health.put(config(kind="icmp"))
    await world.answers(A, BAD)
    assert (world.state(A), world.state(B)) == ("up", "down")


async def test_without_a_check_it_is_up(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    await world.answers(B, BAD, BAD, BAD)
    text = TEXT.replace('[service.health_check]\ntype = "{kind}"\nrise = 2\nfall = 3\n', "").format(service="", server="")
    world.health.put(parse(text, "lvs.toml"))
    await world.health.tell_once()
    assert world.told[-1] == ((), [])
    assert lines(caplog)[-1] == "service web: real server 192.0.2.102:8080 is up: it is not checked any more"


async def test_one_that_was_removed_while_it_was_down_is_forgotten() -> None:
    world = World()
    await world.answers(B, BAD, BAD, BAD)
    text = TEXT.replace('[[service.real_server]]\naddress = "192.0.2.102"\nport = 8080\n', "")
    world.health.put(parse(text.format(service="", server="", kind="tcp"), "lvs.toml"))
    await world.health.tell_once()
    assert world.told[-1] == ((), [])
    world.health.put(config())
    await world.health.tell_once()
    assert world.state(B) == "up", "as one that is new"


async def test_checks_go_out_and_their_answers_come_in() -> None:
    world = World()

    async def ask(_: Check, target: Target) -> Answer:
        return BAD if target == B else GOOD

    is_told, inner = asyncio.Event(), world.put

    async def put(down: tuple[int, ...]) -> None:
        await inner(down)
        is_told.set()

    health = Health(config(kind=FAST), lambda: dict(SLOTS), put, ask=ask, chance=lambda: 0.0)
    world.health = health
    tasks = [asyncio.ensure_future(part()) for part in (health.watch_sockets, health.watch_commands, health.tell)]
    await is_told.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert world.told == [((1,), [])]


async def test_that_checks_are_late_is_shown_and_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    health, late_s = World().health, 1.9
    monkeypatch.setattr(Checker, "late_s", property(lambda _: late_s))
    health.say_if_late()
    assert (health.notes, lines(caplog)) == ([], [])
    late_s = 7.4
    for _ in range(2):
        health.say_if_late()
    (note,) = health.notes
    assert "late by 7 s" in note
    late_s = 0.0
    for _ in range(2):
        health.say_if_late()
    assert lines(caplog) == [note, "health checks are made in time again"]


async def test_to_tell_of_very_many_takes_a_tenth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world, pauses = World(), list[float]()

    async def put(_: tuple[int, ...]) -> None:
        world.now += 0.4

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        raise asyncio.CancelledError

    health = Health(config(), lambda: dict(SLOTS), put, now=lambda: world.now)
    monkeypatch.setattr(asyncio, "sleep", pause)
    for _ in range(3):
        health._take(A, BAD)
    with pytest.raises(asyncio.CancelledError):
        await health.tell()
    assert pauses == [pytest.approx(4.0)]
