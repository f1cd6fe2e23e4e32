"""checker.py: checks are made when they are due, a bounded number at once, and nothing that one does ends another."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from appliance.director import checker
from appliance.director.checker import Checker
from appliance.health.answer import Answer, failed, passed
from appliance.health.check import Check, Target
from tests.unit.health.conftest import CHECK

A, B, C = (Target("web", f"192.0.2.{number}", 80) for number in (101, 102, 103))
GOOD = passed("fine")


class Servers:
    """Real servers: each check of one waits until the test answers it."""

    def __init__(self, most_at_once: int = 10) -> None:
        self.now = 0.0
        self.asked: asyncio.Queue[tuple[Target, asyncio.Future[Answer]]] = asyncio.Queue()
        self.took: list[tuple[Target, Answer]] = []
        self.wait_s = 2.0
        self.under_way = 0
        self.checker = Checker(most_at_once, self.ask, self.take, lambda: self.now)

    async def ask(self, _: Check, target: Target) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.under_way += 1
        self.asked.put_nowait((target, answer))
        try:
            return await answer
        finally:
            self.under_way -= 1

    def take(self, target: Target, answer: Answer) -> float:
        self.took.append((target, answer))
        return self.wait_s

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker, "_LEAST_WAIT_S", 0.0)


@asynccontextmanager
async def running(servers: Servers) -> AsyncIterator[None]:
    task = asyncio.ensure_future(servers.checker.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_each_is_asked_again_when_its_time_has_come() -> None:
    servers = Servers()
    servers.checker.put(A, CHECK, 0.0)
    async with running(servers):
        target, answer = await servers.asked.get()
        assert target == A
        answer.set_result(GOOD)
        await servers.settle()
        assert servers.took == [(A, GOOD)]
        assert servers.asked.empty(), "not before its time"
        servers.now = 2.0
        assert (await servers.asked.get())[0] == A


async def test_one_that_hangs_holds_up_nobody() -> None:
    servers = Servers()
    servers.checker.put(A, CHECK, 0.0)
    servers.checker.put(B, CHECK, 0.0)
    async with running(servers):
        hangs, other = await servers.asked.get(), await servers.asked.get()
        for _ in range(5):
            other[1].set_result(GOOD)
            servers.now += 2.0
            other = await servers.asked.get()
            assert other[0] != hangs[0]


async def test_no_more_than_so_many_are_asked_at_once() -> None:
    servers = Servers(most_at_once=2)
    for target in (A, B, C):
        servers.checker.put(target, CHECK, 0.0)
    async with running(servers):
        first, _ = await servers.asked.get(), await servers.asked.get()
        await servers.settle()
        assert servers.under_way == 2
        assert servers.asked.empty()
        first[1].set_result(GOOD)
        assert (await servers.asked.get())[0] == C


async def test_with_more_checks_than_can_be_made_they_begin_by_and_by_and_it_is_seen_that_they_are_late() -> None:
    servers = Servers(most_at_once=1000)
    servers.checker = Checker(1000, servers.ask, servers.take, lambda: servers.now, most_per_s=100.0)
    targets = [Target("web", f"10.0.0.{number}", 80) for number in range(200)]
    for target in targets:
        servers.checker.put(target, CHECK, 0.0)
    async with running(servers):
        await servers.settle()
        assert servers.asked.qsize() == 5
        assert servers.checker.late_s == 0.0
        for step in range(1, 51):
            servers.now = step * 0.02
            await servers.settle()
        assert 50 <= servers.asked.qsize() <= 106
        assert servers.checker.late_s == pytest.approx(1.0)
        while servers.asked.qsize() < len(targets):
            servers.now += 0.02
            await servers.settle()
        assert servers.now >= 1.9
        assert servers.checker.late_s == 0.0
    assert [servers.asked.get_nowait()[0] for _ in targets] == targets, "those that are due first come first"


async def test_an_error_of_ours_ends_no_check_for_good(caplog: pytest.LogCaptureFixture) -> None:
    servers = Servers()
    servers.checker.put(A, CHECK, 0.0)
    async with running(servers):
        (await servers.asked.get())[1].set_exception(RuntimeError("ours"))
        await servers.settle()
        assert "failed because of an error of ours" in caplog.text
        servers.now = CHECK.interval_s
        assert (await servers.asked.get())[0] == A


async def test_a_check_that_is_not_wanted_any_more_is_cancelled_and_counts_no_more() -> None:
    servers = Servers()
    servers.checker.put(A, CHECK, 0.0)
    async with running(servers):
        await servers.asked.get()
        servers.checker.drop(A)
        await servers.settle()
        assert servers.under_way == 0
        servers.now = 100.0
        servers.checker.put(B, CHECK, 0.0)
        assert (await servers.asked.get())[0] == B
        assert not servers.took


async def test_another_check_takes_the_place_of_the_one_that_is_under_way() -> None:
    servers = Servers()
    servers.checker.put(A, CHECK, 0.0)
    async with running(servers):
        await servers.asked.get()
        servers.checker.put(A, replace(CHECK, port=81), 0.0)
        _, answer = await servers.asked.get()
        await servers.settle()
        assert servers.under_way == 1
        answer.set_result(failed("no"))
        await servers.settle()
        assert servers.took == [(A, failed("no"))]


async def test_one_can_be_hastened() -> None:
    servers = Servers()
    servers.checker.put(A, CHECK, 50.0)
    async with running(servers):
        await servers.settle()
        assert servers.asked.empty()
        servers.checker.hasten(A, servers.checker._now())
        assert (await servers.asked.get())[0] == A


async def test_when_it_ends_nothing_is_under_way_and_it_can_begin_again() -> None:
    servers = Servers()
    servers.checker.put(A, CHECK, 0.0)
    async with running(servers):
        await servers.asked.get()
    assert servers.under_way == 0
    async with running(servers):
        assert (await servers.asked.get())[0] == A
