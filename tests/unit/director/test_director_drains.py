"""director.py: a drain is in force in every worker, and in the ones that start later, when it is said to be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from appliance.director import supervisor
from appliance.health.check import Target
from appliance.health.drain import Drain
from appliance.ipc.messages import Ask, ChangeDrained, ChangeServices, Done, Numbered, Piece, Start
from appliance.ipc.queries import TALLY, Query, SessionFilter
from tests.support.fake_worker import FakeWorker
from tests.unit.director.test_director import SHIPPED, Parts, make, route_mtus, running, runtime_directory, with_real_servers

__all__ = ["route_mtus", "runtime_directory"]

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
