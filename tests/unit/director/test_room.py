"""room.py: real servers that were removed give up their places for new ones, and nothing that was counted is lost or mixed."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from appliance.config import loading
from appliance.config.changes import ReloadRefusedError
from appliance.config.loading import Config, RealServer
from appliance.director.lane import Lane
from appliance.director.lane_counts import LaneCounts
from appliance.director.plans import Key, Slots
from appliance.director.room import make_room
from appliance.director.supervisor import ShardProcess
from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.queries import ShardFailedError
from appliance.ipc.shared_layout import SharedState, size_bytes, totals
from appliance.model.counters import ACTIVE_CONNS, CONNS, REFUSED_CONNS
from appliance.model.lane_counters import LANE_COUNTERS

SHIPPED = loading.load(Path(__file__).parents[3] / "etc/lvs.toml")


def having(*numbers: int) -> Config:
    """A service with these real servers."""
    servers = tuple(RealServer.model_validate({"address": f"192.0.2.{number}", "port": 80}) for number in numbers)
    return SHIPPED.model_copy(update={"services": (SHIPPED.services[0].model_copy(update={"real_servers": servers}),)})


class FakeKernel:
    """What the kernel counts by slot: packets, of which none is from a real server."""

    def __init__(self) -> None:
        self.carried: dict[int, int] = {}

    def counts(self) -> list[int]:
        return [0] * len(LANE_COUNTERS)

    def traffic(self, slots: Sequence[int]) -> dict[int, tuple[int, int, int, int]]:
        return {slot: (self.carried.get(slot, 0), 0, 0, 0) for slot in slots}

    def forget_traffic(self, slot: int) -> None:
        self.carried[slot] = 0


class Scene:
    """Three places, two shards and a lane."""

    def __init__(self, *, with_lane: bool = True) -> None:
        self.slots = Slots(4)
        self.shared = SharedState.create(memoryview(bytearray(size_bytes(2, 4))), 2, 4)
        self.kernel = FakeKernel()
        self.counts = LaneCounts(cast("LaneKernel", self.kernel), self.shared) if with_lane else None
        self.asked: list[Sequence[Key]] = []
        self.refuses = ""
        self.config = having()

    @contextlib.contextmanager
    def counting(self, _: SharedState) -> Iterator[LaneCounts | None]:
        yield self.counts

    async def forget(self, real_servers: Sequence[Key]) -> None:
        self.asked.append(real_servers)
        if self.refuses and len(self.asked) == 2:
            raise ShardFailedError(self.refuses)

    async def change(self, *numbers: int) -> list[int]:
        """Have these real servers; returns their slots."""
        self.asked.clear()
        wanted = having(*numbers)
        shards = [cast("ShardProcess", self)] * 2
        await make_room(self.slots, (self.config, wanted), shards, cast("Lane", self), self.shared)
        (service,) = self.slots.take(wanted)
        self.config = wanted
        return [server.slot for server in service.real_servers]

    def counted(self, slot: int) -> int:
        return sum(self.shared.destination(row, slot)[CONNS] for row in range(3))


def key(number: int) -> Key:
    return "web", f"192.0.2.{number}", 80


async def test_nobody_is_asked_while_there_is_room() -> None:
    scene = Scene()
    assert await scene.change(1, 2) == [0, 1]
    assert await scene.change(3) == [2]
    assert scene.asked == []
    assert await scene.change(1, 2, 3) == [0, 1, 2], "each has its own again"


@pytest.mark.parametrize("with_lane", [True, False])
async def test_the_longest_removed_gives_up_its_place_and_what_it_has_counted_stays_in_the_totals(with_lane: bool) -> None:
    scene = Scene(with_lane=with_lane)
    await scene.change(1, 2)
    await scene.change(2, 3)
    await scene.change(3)
    scene.shared.destination(0, 0)[CONNS], scene.shared.destination(1, 0)[CONNS] = 5, 7
    scene.shared.destination(0, 1)[CONNS] = 100
    scene.shared.destination(0, 0)[REFUSED_CONNS] = 9
    scene.shared.cookie_edges(1, 0)[:] = memoryview(bytes([1] + [0] * 15)).cast("Q")
    scene.kernel.carried[0] = 40
    before = [sum(row) for row in totals(scene.shared)]
    assert await scene.change(3, 4) == [2, 0]
    assert scene.asked == [[key(1)]] * 2
    assert [scene.counted(slot) for slot in range(4)] == [0, 100, 0, 12]
    assert [sum(row) for row in totals(scene.shared)][:2] == before[:2]
    assert [scene.shared.destination(0, slot)[REFUSED_CONNS] for slot in (0, 3)] == [0, 9]
    assert list(scene.shared.cookie_edges(1, 0)) == [0, 0]
    if scene.counts is not None:
        assert scene.shared.destination(scene.shared.lane, 3)[CONNS + 0] == 0
        assert totals(scene.shared)[2][1] == 40, "what the kernel had counted and nobody had asked for yet"
        scene.kernel.carried[0] = 3
        scene.counts.look([0])
        assert totals(scene.shared)[2][1] == 43
        later = LaneCounts(cast("LaneKernel", scene.kernel), scene.shared)
        later.look([0])
        assert totals(scene.shared)[2][1] == 43, "also for the next run"


async def test_places_are_used_again_without_end() -> None:
    scene = Scene()
    slots = [(await scene.change(number))[0] for number in range(1, 200)]
    assert set(slots) == {0, 1, 2}


async def test_one_with_sessions_keeps_its_place() -> None:
    scene = Scene()
    await scene.change(1, 2)
    await scene.change(3)
    scene.shared.destination(1, 0)[ACTIVE_CONNS] = 1
    assert await scene.change(3, 4) == [2, 1]
    assert scene.asked == [[key(2)]] * 2
    with pytest.raises(ReloadRefusedError, match="no place for 1 of 1 new real servers"):
        await scene.change(3, 4, 5)
    assert scene.asked == [], "it would not suffice"
    scene.shared.forget_sessions(1)
    assert await scene.change(3, 4, 5) == [2, 1, 0]


async def test_what_a_shard_does_not_forget_stays() -> None:
    scene = Scene()
    await scene.change(1, 2, 3)
    await scene.change(2, 3)
    scene.shared.destination(0, 0)[CONNS] = 5
    scene.refuses = "shard 1: a real server of service web has sessions"
    with pytest.raises(ReloadRefusedError, match="no room for new real servers at this moment: shard 1: "):
        await scene.change(2, 3, 4)
    assert scene.counted(0) == 5
    assert await scene.change(1, 2, 3) == [0, 1, 2]
