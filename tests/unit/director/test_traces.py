"""traces.py: one trace from many shards and the kernel. The shards are real, the processes between are not."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from appliance.config.loading import load
from appliance.director import traces as traces_module
from appliance.director.in_force import InForce, Run
from appliance.director.supervisor import ShardProcess
from appliance.director.traces import Traces
from appliance.edge.errors import EdgeError
from appliance.edge.nft_trace import KernelDrop
from appliance.ipc.messages import Ask, Piece, decode, encode
from appliance.ipc.queries import CUT, TRACE, Query, SessionFilter, ShardDownError
from appliance.ipc.traced import TraceBatch
from appliance.wire.flow import flow_key
from tests.support.addresses import CLIENT, VIP
from tests.support.gateway import SERVICES, shared_state
from tests.support.segments import tcp
from tests.support.world import World

CONFIG = Path(__file__).parents[3] / "etc" / "lvs.toml"
WANTED = Query(TRACE, SessionFilter("198.51.100.2"), snap_bytes=80)
STRANGER = bytes((198, 51, 100, 9)) + CLIENT[4:]


class InProcess:
    """What a `ShardProcess` is to a trace, with every message written and read as between processes."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.world = World()
        self.is_away = False

    async def ask(self, query: Query) -> AsyncGenerator[Piece, None]:
        if self.is_away:
            raise ShardDownError(f"the worker of shard {self.shard} is away")
        question = decode(encode(1, Ask(query))).message
        assert isinstance(question, Ask)
        trace = self.world.tracer.begin(question.query)
        try:
            while True:
                await asyncio.sleep(0)
                answer = decode(encode(1, Piece(1, *trace.step(self.world.now)))).message
                assert isinstance(answer, Piece)
                yield answer
                if self.is_away:
                    raise ShardDownError(f"the worker of shard {self.shard} died")
        finally:
            self.world.tracer.end(trace)

    def judges(self, at_s: float, packets: int = 1) -> None:
        """Let packets of the client without a session come."""
        self.world.now = at_s
        for _ in range(packets):
            self.world.put(tcp(CLIENT, VIP, "A"))


class FakeKernel:
    """The kernel's drops, as the test sets them; the text of its table."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.drops: list[KernelDrop] = []
        self.counted: int | EdgeError = 0
        self.is_closed = False

    def untold(self) -> int:
        if isinstance(self.counted, EdgeError):
            raise self.counted
        return self.counted

    def take(self) -> list[KernelDrop]:
        drops, self.drops = self.drops, []
        return drops

    def close(self) -> None:
        self.is_closed = True


class Scene:
    """Two shards and a kernel, and the clock of the director."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workers = [InProcess(0), InProcess(1)]
        self.kernels: list[FakeKernel] = []
        run = SimpleNamespace(shared=shared_state(2, 4), health=SimpleNamespace(down=()), drains=SimpleNamespace(slots=()))
        self.in_force = InForce(cast("Run", run), lambda: load(CONFIG), dict)
        self.traces = Traces(cast("Sequence[ShardProcess]", self.workers), lambda: SERVICES, self.in_force, self.open)
        self.now = 1000.0
        monkeypatch.setattr(traces_module, "LOOK_S", 0)
        monkeypatch.setattr("appliance.director.traces.time.monotonic", lambda: self.now)
        monkeypatch.setattr("appliance.director.traces.time.time", lambda: 5000.0)

    def open(self, table: str) -> FakeKernel:
        self.kernels.append(FakeKernel(table))
        return self.kernels[-1]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


async def test_packets_of_all_shards_and_of_the_kernel_come_in_the_order_of_time(scene: Scene) -> None:
    async with aclosing(scene.traces.packets(WANTED)) as batches:
        assert await anext(batches) == TraceBatch([], 0, [])
        scene.workers[1].judges(1000.1)
        scene.workers[0].judges(1000.2)
        scene.kernels[0].drops = [KernelDrop(1000.15, "defence_tcp_drop", tcp(CLIENT, VIP, "A"), 40, flow_key(CLIENT, VIP))]
        scene.now = 1001.0
        rows = (await anext(batches)).rows
    assert [(row.shard, round(row.at_s, 3), row.packet.reason) for row in rows] == [
        (1, 5000.1, "no_session"),
        (None, 5000.15, "defence_tcp_drop"),
        (0, 5000.2, "no_session"),
    ]


async def test_a_packet_waits_while_a_shard_may_still_have_an_earlier_one(scene: Scene) -> None:
    async with aclosing(scene.traces.packets(WANTED)) as batches:
        await anext(batches)
        scene.workers[0].judges(1000.5)
        assert (await anext(batches)).rows == [], "it was judged after the first shard was asked"
        scene.workers[1].judges(1000.4)
        scene.now = 1001.0
        assert [row.shard for row in (await anext(batches)).rows] == [1, 0]


async def test_a_worker_that_dies_is_said_once_and_its_next_one_is_asked(scene: Scene) -> None:
    async with aclosing(scene.traces.packets(WANTED)) as batches:
        await anext(batches)
        scene.workers[1].is_away = True
        assert (await anext(batches)).notes == ["packets of shard 1 are missing: the worker of shard 1 died"]
        assert (await anext(batches)).notes == []
        scene.workers[1].is_away, scene.now = False, 1002.0
        await anext(batches)
        scene.workers[1].judges(1001.0)
        assert [row.shard for row in (await anext(batches)).rows] == [1]


async def test_the_end_of_a_trace_reaches_workers_and_kernel(scene: Scene) -> None:
    async with aclosing(scene.traces.packets(WANTED)) as batches:
        await anext(batches)
        assert [len(worker.world.tracer.traces) for worker in scene.workers] == [1, 1]
    assert [len(worker.world.tracer.traces) for worker in scene.workers] == [0, 0]
    assert scene.kernels[0].is_closed


async def test_each_trace_has_a_table_of_its_own_whose_number_is_used_again(scene: Scene) -> None:
    async with aclosing(scene.traces.packets(WANTED)) as first:
        await anext(first)
        for _ in range(2):
            wanted = WANTED._replace(filter=SessionFilter("198.51.100.9", "names"))
            async with aclosing(scene.traces.packets(wanted)) as second:
                await anext(second)
    assert [kernel.table.split()[2] for kernel in scene.kernels] == ["appliance_trace0", "appliance_trace1", "appliance_trace1"]
    assert "ip saddr 198.51.100.9/32 ip daddr 203.0.113.10 meta l4proto udp th dport 80 limit" in scene.kernels[1].table


async def test_a_table_has_its_number_until_it_is_gone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = scene.traces._numbers
    seen: list[set[int]] = []
    monkeypatch.setattr(FakeKernel, "close", lambda _: seen.append(set(numbers)))
    async with aclosing(scene.traces.packets(WANTED)) as batches:
        await anext(batches)
    assert (seen, numbers) == ([{0}], set())


async def test_a_trace_shows_no_drop_that_another_one_has_asked_for(scene: Scene) -> None:
    async with aclosing(scene.traces.packets(WANTED)) as batches:
        await anext(batches)
        for key in (flow_key(STRANGER, VIP), flow_key(CLIENT, VIP), b""):
            scene.kernels[0].drops.append(KernelDrop(1000.0, "rule", b"", 0, key))
        scene.now = 1001.0
        assert len((await anext(batches)).rows) == 2, "one of which nobody knows whose it is may be the one"


async def test_counters_of_access_lists_have_their_name_without_that_of_the_service(scene: Scene) -> None:
    async with aclosing(scene.traces.packets(WANTED)) as batches:
        await anext(batches)
        scene.kernels[0].drops = [KernelDrop(1000.0, "denied_drops_tcp_x", b"", 0, b"")]
        scene.now = 1001.0
        [row] = (await anext(batches)).rows
        assert row.packet.reason == "denied_drops"


async def test_a_kernel_that_refuses_is_a_note_and_shards_are_traced_all_the_same(scene: Scene) -> None:
    def refuse(_: str) -> FakeKernel:
        raise EdgeError("no such flag")

    scene.traces._open_kernel = refuse
    async with aclosing(scene.traces.packets(WANTED)) as batches:
        assert (await anext(batches)).notes == ["what the kernel's own rules drop is missing: no such flag"]
        scene.workers[0].judges(1000.1)
        scene.now = 1001.0
        assert len((await anext(batches)).rows) == 1


async def test_packets_that_the_kernel_does_not_tell_of_are_counted_and_said_once_a_second(scene: Scene) -> None:
    async with aclosing(scene.traces.packets(WANTED)) as batches:
        await anext(batches)
        said = []
        for scene.now, counted in (
            (1000.9, 30), (1001.0, 37), (1001.9, 90), (1002.0, 90), (1003.0, EdgeError("no")), (1004.0, 90), (1005.0, 91),
        ):  # fmt: skip
            scene.kernels[0].counted = counted
            said.append([note.split()[0] for note in (await anext(batches)).notes])
    assert said == [[], ["37"], [], ["53"], [], [], ["1"]]


async def test_what_is_left_out_is_counted_by_shard_and_by_batch(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces_module, "_BATCH_MAX", 260)
    async with aclosing(scene.traces.packets(WANTED)) as batches:
        await anext(batches)
        for worker in scene.workers:
            worker.judges(1000.1, packets=253)
        scene.now = 1001.0
        batch = await anext(batches)
    assert (len(batch.rows), batch.left_out) == (260, 3 + 3 + 240)


async def test_what_changes_comes_with_the_time_of_the_packets_and_only_when_it_is_wanted(scene: Scene) -> None:
    async with (
        aclosing(scene.traces.packets(WANTED, with_changes=True)) as batches,
        aclosing(scene.traces.packets(WANTED)) as bare,
    ):
        await anext(batches)
        scene.now = 1000.5
        [first] = (await anext(batches)).changes
        await anext(bare)
        scene.now = 1001.0
        scene.in_force.ended(Query(CUT))
        scene.now = 1002.0
        [ended] = (await anext(batches)).changes
        assert (await anext(bare)).changes == ()
    assert (round(first.at_s, 3), round(ended.at_s, 3)) == (5000.0, 5001.0)
    assert "service" in first.what
    assert "ended" in ended.what


def traces_of(scene: Scene) -> list[int]:
    return [len(worker.world.tracer.traces) for worker in scene.workers]


@pytest.mark.parametrize("is_slow", [False, True])
async def test_an_error_while_packets_are_asked_for_leaves_no_trace_open(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    """Also in a shard whose answer was still to come when another one failed."""
    loop, has_failed, ask = asyncio.get_running_loop(), asyncio.Event(), InProcess.ask

    def fail(_: FakeKernel) -> list[KernelDrop]:
        loop.call_soon_threadsafe(has_failed.set)
        raise ZeroDivisionError

    async def slow(worker: InProcess, query: Query) -> AsyncGenerator[Piece, None]:
        async with aclosing(ask(worker, query)) as pieces:
            async for piece in pieces:
                await has_failed.wait()
                for _ in range(100):
                    await asyncio.sleep(0)
                yield piece

    monkeypatch.setattr(FakeKernel, "take", fail)
    if is_slow:
        monkeypatch.setattr(InProcess, "ask", slow)
    with pytest.raises(ZeroDivisionError):
        await anext(scene.traces.packets(WANTED))
    assert traces_of(scene) == [0, 0]
    assert (scene.kernels[0].is_closed, scene.traces._numbers) == (True, set())


async def test_an_error_before_a_trace_begins_leaves_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.in_force, "listen", lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        await anext(scene.traces.packets(WANTED, with_changes=True))
    assert (scene.kernels, scene.traces._numbers) == ([], set())


async def test_a_feed_that_cannot_be_closed_keeps_no_other_open(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeKernel, "close", lambda _: 1 // 0)
    batches = scene.traces.packets(WANTED, with_changes=True)
    await anext(batches)
    with pytest.raises(ZeroDivisionError):
        await batches.aclose()
    assert traces_of(scene) == [0, 0]
    assert (scene.in_force._listeners, scene.traces._numbers) == ([], set())
