"""drains.py: what is told to whom and when, what ends at the deadline, and when the last session counts as gone."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from appliance.config import loading
from appliance.config.loading import Config
from appliance.director.confirmation import Occasion
from appliance.director.drains import Around, Drains, slots_of
from appliance.director.events import Events
from appliance.edge.errors import EdgeError
from appliance.health.check import Target
from appliance.health.drain import ASK_AGAIN_S, SLICE_S, SPREAD_S, Drain
from appliance.ipc.queries import SessionFilter, ShardDownError, ShardFailedError
from appliance.model.counters import ACTIVE_CONNS, INACTIVE_CONNS
from tests.support.gateway import shared_state

SHIPPED = loading.load(Path(__file__).parents[3] / "etc/lvs.toml")
NAME = SHIPPED.services[0].name
A, B = (Target(NAME, str(server.address), server.port) for server in SHIPPED.services[0].real_servers)
SLOTS: dict[tuple[str, str, int], int] = {A: 0, B: 1}


class World:
    """Drains with two shards whose sessions the test sets, and all that they tell others, in order."""

    def __init__(self, drains: Mapping[Target, Drain] | None = None) -> None:
        self.now = 100.0
        self.chance = 0.5
        self.told: list[object] = []
        self.kept: list[dict[Target, bool]] = []
        self.keep_fails = False
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.shared = shared_state(shards=2, destinations=2)
        self.error: Exception | None = None
        self.hidden = 0
        """Sessions that no counter shows."""
        self.events = Events(lambda: 1.0)
        self.drains = Drains(
            SHIPPED,
            lambda: SLOTS,
            drains or {},
            Around(self.shared, self, self.events, self.put_in_force, self.keep),
            lambda: self.now,
            lambda: self.chance,
        )

    def has(self, *by_shard: int, slot: int = 0) -> None:
        """So many sessions, some of them active."""
        for shard, count in enumerate(by_shard):
            counts = self.shared.destination(shard, slot)
            counts[ACTIVE_CONNS], counts[INACTIVE_CONNS] = count - count // 3, count // 3

    def left(self, shard: int) -> int:
        counts = self.shared.destination(shard, 0)
        return counts[ACTIVE_CONNS] + counts[INACTIVE_CONNS]

    async def put_in_force(self, drained: tuple[int, ...]) -> None:
        await self.may_go_on.wait()
        self.told.append(drained)

    def keep(self, drains: Mapping[Target, Drain]) -> None:
        if self.keep_fails:
            raise EdgeError("no space")
        self.kept.append({target: drain.is_gone for target, drain in drains.items()})

    async def tally(self, by: str, wanted: SessionFilter) -> Counter[str]:
        assert (by, wanted) == ("service", SessionFilter(service=NAME, real_server=A.endpoint))
        self.told.append("asked")
        if self.error:
            raise self.error
        return Counter({NAME: self.left(0) + self.left(1) + self.hidden})

    async def cut_some(self, shard: int, wanted: SessionFilter, most: int, after: str) -> str:
        assert wanted.real_server == A.endpoint
        assert 0 < most <= self.left(shard)
        if self.error:
            raise self.error
        self.told.append((shard, most, after))
        self.has(*(self.left(other) - most * (other == shard) for other in range(2)))
        return f"place {self.left(shard)}"

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events.since(0, 1000).events]


async def test_shards_know_it_before_the_log_the_next_run_and_the_caller() -> None:
    world = World()
    world.has(3, 4)
    await world.drains.begin(A, None)
    assert world.told == [(0,)]
    assert world.kept == [{A: False}]
    assert world.drains.slots == (0,)
    state = world.drains.state(A, "note")
    assert (state.draining, state.sessions, state.deadline_s, state.gone, state.note) == (True, 7, None, False, "note")
    assert world.drains.state(B).draining is False
    assert await world.drains.take_back(A)
    assert world.told == [(0,), ()]
    assert world.kept[-1] == {}
    assert not await world.drains.take_back(A)
    assert world.told == [(0,), ()], "and nothing more"
    assert world.kinds() == ["drain", "undrain"]


async def test_an_unknown_real_server_changes_nothing() -> None:
    world = World()
    for forged in (Target(NAME, "192.0.2.101", 1), Target("", "", 0), Target("../..", "192.0.2.101", 8080)):
        with pytest.raises(KeyError):
            await world.drains.begin(forged, 0)
        with pytest.raises(KeyError):
            await world.drains.take_back(forged)
        with pytest.raises(KeyError):
            world.drains.state(forged)
    assert (world.told, world.kept, world.kinds()) == ([], [], [])


async def test_the_last_session_is_gone_when_all_shards_say_so_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World()
    world.has(0, 2)
    await world.drains.begin(A, None)
    assert await world.drains.look()
    assert "asked" not in world.told, "a walk through all sessions only when the counters are zero"
    world.has(0, 0)
    world.hidden = 1
    assert await world.drains.look()
    assert world.kinds() == ["drain"]
    world.hidden = 0
    assert not await world.drains.look()
    assert world.kinds() == ["drain", "drained"]
    assert world.drains.state(A).gone
    assert world.kept[-1] == {A: True}, "the next run does not say it again"
    assert caplog.messages[-1] == f"service {NAME}: real server {A.endpoint}: drained: its last session is gone"
    asked = world.told.count("asked")
    assert not await world.drains.look()
    assert world.told.count("asked") == asked


@pytest.mark.parametrize("error", [ShardDownError("shard 1 is away"), ShardFailedError("shard 1 does nothing")])
async def test_nobody_says_so_while_a_worker_is_away(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Its counts are zero then, and the kernel goes on with its sessions."""
    world = World()
    await world.drains.begin(A, None)
    world.error = error
    for _ in range(3):
        assert await world.drains.look()
    assert world.told.count("asked") == 1, "and it is not asked all the time"
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"service {NAME}: real server {A.endpoint}: its sessions are not known: {error}"
    ]
    world.now += ASK_AGAIN_S
    world.error = None
    assert not await world.drains.look()
    assert world.kinds() == ["drain", "drained"]


async def test_behind_the_deadline_they_end_in_slices_shard_by_shard() -> None:
    world = World()
    world.has(1000, 10)
    await world.drains.begin(A, 5)
    world.now += 4.9
    assert await world.drains.look()
    assert world.left(0) == 1000
    world.now += 0.1
    looks = 0
    while await world.drains.look():
        looks += 1
        world.now += SLICE_S
        assert looks < 2 * SPREAD_S / SLICE_S
    assert looks > 0.8 * SPREAD_S / SLICE_S, "over the whole spread"
    assert world.kinds() == ["drain", "drain-deadline", "drained"]
    cuts = [told for told in world.told if isinstance(told, tuple) and len(told) == 3]
    assert sum(most for shard, most, _ in cuts if shard == 0) == 1000
    assert max(most for _, most, _ in cuts) < 40
    assert [after for shard, _, after in cuts if shard == 0][:3] == ["", "place 980", "place 960"], "each goes on behind the last"


async def test_a_deadline_of_zero_ends_them_from_now_on() -> None:
    world = World()
    world.has(0, 300)
    await world.drains.begin(A, 0)
    assert await world.drains.look()
    assert world.left(1) == 294


async def test_one_that_is_drained_already_gets_another_deadline_or_none() -> None:
    world = World()
    world.has(100, 0)
    await world.drains.begin(A, 1)
    world.now += 2
    await world.drains.look()
    left = world.left(0)
    assert left < 100
    await world.drains.begin(A, None)
    world.now += 100
    assert await world.drains.look()
    assert world.left(0) == left, "none ends any more"
    assert world.told.count((0,)) == 1, "shards know it already"
    assert world.drains.state(A).since_s == 102.0
    await world.drains.begin(A, 3)
    assert world.drains.state(A).deadline_s == 3.0


async def test_none_ends_once_the_drain_is_taken_back() -> None:
    """Another drain is put in force; behind it wait, in this order, somebody who takes the first one back, and a look."""
    world = World()
    world.has(100, 100)
    world.has(1, 1, slot=1)
    await world.drains.begin(A, 0)
    world.may_go_on.clear()
    other = asyncio.ensure_future(world.drains.begin(B, None))
    await asyncio.sleep(0)
    taken_back = asyncio.ensure_future(world.drains.take_back(A))
    await asyncio.sleep(0)
    look = asyncio.ensure_future(world.drains.look())
    await asyncio.sleep(0)
    world.may_go_on.set()
    await asyncio.gather(other, taken_back, look)
    assert world.told == [(0,), (0, 1), (1,)]
    assert (world.left(0), world.left(1)) == (100, 100)


async def test_a_reload_changes_nothing_but_for_those_that_are_removed() -> None:
    world = World()
    await world.drains.begin(A, 60)
    await world.drains.begin(B, None)
    await world.drains.put(with_weight(7), Occasion.FILE)
    assert world.told == [(0,), (0, 1)]
    await world.drains.put(without_a(), Occasion.FILE)
    assert world.told == [(0,), (0, 1), (1,)]
    assert world.kept[-1] == {B: False}
    with pytest.raises(KeyError):
        world.drains.state(A)
    await world.drains.put(SHIPPED, Occasion.FILE)
    assert not world.drains.state(A).draining, "it has come back as a new one"
    assert world.kinds() == ["drain", "drain", "undrain"]


async def test_the_drain_goes_on_when_the_change_that_removed_its_real_server_is_taken_back() -> None:
    world = World()
    await world.drains.begin(A, 60)
    world.now += 10
    await world.drains.put(without_a(), Occasion.ON_TRIAL)
    assert world.told[-1] == (0,), "shards never hear that the one that comes back would get sessions"
    with pytest.raises(KeyError):
        world.drains.state(A)
    await world.drains.put(SHIPPED, Occasion.TAKEN_BACK)
    assert world.told[-1] == (0,)
    assert world.kept[-1] == {A: False}
    state = world.drains.state(A)
    assert (state.draining, state.since_s, state.deadline_s) == (True, 10.0, 50.0)
    assert world.kinds() == ["drain", "undrain", "drain"]
    assert await world.drains.take_back(A)
    assert not world.told[-1]


async def test_but_not_when_another_change_brings_it_back_after_that_one_was_confirmed() -> None:
    world = World()
    await world.drains.begin(A, None)
    await world.drains.put(without_a(), Occasion.ON_TRIAL)
    await world.drains.put(SHIPPED, Occasion.CHANGED)
    assert not world.drains.state(A).draining
    assert not world.told[-1]
    await world.drains.put(without_a(), Occasion.ON_TRIAL)
    await world.drains.put(SHIPPED, Occasion.TAKEN_BACK)
    assert not world.drains.state(A).draining, "it was not drained when it was removed"


async def test_a_drain_that_began_while_the_change_waited_stays() -> None:
    world = World()
    await world.drains.begin(A, None)
    await world.drains.put(without_a(), Occasion.ON_TRIAL)
    await world.drains.begin(B, None)
    await world.drains.put(SHIPPED, Occasion.TAKEN_BACK)
    assert (world.drains.state(A).draining, world.drains.state(B).draining) == (True, True)
    assert world.told[-1] == (0, 1)


def with_weight(weight: int) -> Config:
    service, *others = SHIPPED.services
    first, *servers = service.real_servers
    changed = service.model_copy(update={"real_servers": (first.model_copy(update={"weight": weight}), *servers)})
    return SHIPPED.model_copy(update={"services": (changed, *others)})


def without_a() -> Config:
    service, *others = SHIPPED.services
    return SHIPPED.model_copy(
        update={"services": (service.model_copy(update={"real_servers": service.real_servers[1:]}), *others)}
    )


async def test_a_run_goes_on_with_the_drains_of_the_one_before() -> None:
    gone = Target("gone", "192.0.2.9", 1)
    world = World({A: Drain(40.0, 130.0), B: Drain(10.0, None, is_gone=True), gone: Drain(1.0)})
    assert world.drains.slots == (0, 1)
    assert slots_of({A: Drain(1.0), gone: Drain(1.0)}, SLOTS) == (0,)
    state = world.drains.state(A)
    assert (state.since_s, state.deadline_s, state.gone) == (60.0, 30.0, False)
    assert world.drains.state(B).gone
    assert world.told == [], "workers have it in their plans"


async def test_what_cannot_be_kept_is_in_force_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.keep_fails = True
    await world.drains.begin(A, None)
    assert world.told == [(0,)]
    assert "the next run will not know who is drained: no space" in caplog.messages


async def test_the_duty_looks_while_there_is_somebody_to_look_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.director.drains.SLICE_S", 0)
    world = World()
    watching = asyncio.ensure_future(world.drains.watch())
    world.has(1, 0)
    await world.drains.begin(A, None)
    for words in ("drain", "drained"):
        while words not in world.kinds():
            await world.events.news()
        world.has(0, 0)
    watching.cancel()
