"""supervisor.py with workers that are no processes: starts, deaths, questions, and what happens when one does not answer well."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from unittest.mock import AsyncMock

import pytest

from appliance.director import known_services, supervisor
from appliance.director.supervisor import ShardProcess, WorkerFailedError
from appliance.director.worker_process import start_worker
from appliance.ipc.messages import VERSION, Ask, AwaitSettled, ChangeServices, Done, EndWalk, Forget, More, Piece, Refused, Start
from appliance.ipc.queries import ROWS, Query, ShardDownError, ShardFailedError
from tests.support.fake_worker import FakeWorker, FakeWorkers
from tests.support.world import plan

DRAINED = plan(weights=(0,)).services


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.0)


@asynccontextmanager
async def running(on_death: Callable[[], None] = lambda: None) -> AsyncIterator[tuple[ShardProcess, FakeWorkers]]:
    """A shard whose workers the test plays."""
    workers = FakeWorkers()
    process = ShardProcess(plan(), -1, on_death, workers.start)
    task = asyncio.ensure_future(process.run())
    try:
        yield process, workers
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def ready() -> AsyncIterator[tuple[ShardProcess, FakeWorker]]:
    async with running() as (process, workers):
        worker = await workers.started.get()
        await worker.becomes_ready()
        await process.first_start
        yield process, worker


async def until(is_so: Callable[[], bool]) -> None:
    """Let the other tasks go on until something is so, which it has to be after a few of their steps."""
    for _ in range(100):
        if is_so():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to be so")


async def all_items(process: ShardProcess) -> list[object]:
    return [item async for piece in process.ask(Query(ROWS)) for item in piece.items]


async def test_a_worker_is_started_by_the_name_of_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has to stay where it is."""
    run = AsyncMock()
    monkeypatch.setattr("asyncio.create_subprocess_exec", run)
    await start_worker(5, 6, (7, 8))
    command = (sys.executable, "-m", "appliance.queue_worker", "--shared-fd=5", "--control-fd=6", "--lane-fds=7,8")
    assert run.call_args.args == command
    assert run.call_args.kwargs["pass_fds"] == (5, 6, 7, 8)
    from appliance.queue_worker import main

    with pytest.raises(SystemExit):
        main(["--help"])


async def test_a_worker_gets_its_plan_and_is_up_when_it_says_so() -> None:
    async with running() as (process, workers):
        worker = await workers.started.get()
        start = await worker.hears()
        assert start.message == Start(plan())
        assert (process.up, process.pid) == (False, worker.pid)
        worker.says(Done(start.number))
        await process.first_start
        assert process.up


async def test_a_worker_that_cannot_start_ends_the_first_start_with_its_own_words() -> None:
    async with running() as (process, workers):
        worker = await workers.started.get()
        worker.says(Refused((await worker.hears()).number, "cannot bind packet queue 0"))
        with pytest.raises(WorkerFailedError, match="shard 0: cannot bind packet queue 0"):
            await process.first_start


async def test_a_worker_of_another_version_is_a_clear_error() -> None:
    async with running() as (process, workers):
        worker = await workers.started.get()
        await worker.hears()
        worker.says_bytes(b'{"version":99,"kind":"refused","number":1,"of":1,"why":"?"}\n')
        words = f"version 99, while this process has version {VERSION}: .* has to be restarted"
        with pytest.raises(WorkerFailedError, match=words):
            await process.first_start


async def test_a_worker_that_dies_is_started_again_with_the_plan_in_force(caplog: pytest.LogCaptureFixture) -> None:
    deaths = 0

    def on_death() -> None:
        nonlocal deaths
        deaths += 1

    async with running(on_death) as (process, workers):
        first = await workers.started.get()
        await first.becomes_ready()
        await process.first_start
        first.dies()
        second = await workers.started.get()
        assert deaths == 1
        assert (await second.becomes_ready()).message == Start(plan(has_predecessor=True))
        assert caplog.messages == ["shard 0: worker (pid 4711) was killed by SIGKILL; starting it again in 0.0 s"]


async def test_sessions_of_a_worker_that_is_not_ready_are_refused_at_once() -> None:
    with pytest.raises(ShardDownError, match="shard 0"):
        await anext(ShardProcess(plan(), shared_fd=-1).ask(Query(ROWS)))
    async with running() as (process, workers):
        worker = await workers.started.get()
        await worker.hears()
        with pytest.raises(ShardDownError, match="shard 0"):
            await anext(process.ask(Query(ROWS)))


async def test_an_answer_comes_in_pieces_each_asked_for() -> None:
    async with ready() as (process, worker):
        listing = asyncio.ensure_future(all_items(process))
        ask = await worker.hears()
        assert ask.message == Ask(Query(ROWS))
        worker.says(Piece(ask.number, [1, 2], False, ""))
        more = await worker.hears()
        assert more.message == More(ask.number)
        worker.says(Piece(more.number, [3], True, ""))
        assert await listing == [1, 2, 3]


async def test_the_rest_of_a_walk_that_nobody_wants_is_ended() -> None:
    async with ready() as (process, worker):
        pieces = process.ask(Query(ROWS))
        first = asyncio.ensure_future(anext(pieces))
        ask = await worker.hears()
        worker.says(Piece(ask.number, [1], False, ""))
        await first
        await pieces.aclose()
        assert (await worker.hears()).message == EndWalk(ask.number)


async def test_a_death_between_two_pieces_is_an_error_also_when_the_next_worker_is_up() -> None:
    async with running() as (process, workers):
        worker = await workers.started.get()
        await worker.becomes_ready()
        await process.first_start
        pieces = process.ask(Query(ROWS))
        first = asyncio.ensure_future(anext(pieces))
        worker.says(Piece((await worker.hears()).number, [1], False, ""))
        await first
        worker.dies()
        await (await workers.started.get()).becomes_ready()
        await until(lambda: process.up)
        with pytest.raises(ShardDownError, match="died"):
            await anext(pieces)


async def test_a_death_while_an_answer_is_waited_for_is_an_error() -> None:
    async with ready() as (process, worker):
        listing = asyncio.ensure_future(all_items(process))
        await worker.hears()
        worker.dies()
        with pytest.raises(ShardDownError, match="died"):
            await listing


async def test_a_worker_that_is_killed_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    ShardProcess(plan(), shared_fd=-1).kill()  # there is none yet, and that is no error
    async with running() as (process, workers):
        worker = await workers.started.get()
        monkeypatch.setattr(worker, "kill", worker.dies)
        await worker.becomes_ready()
        await process.first_start
        process.kill()
        await (await workers.started.get()).becomes_ready()


async def test_a_piece_that_does_not_come_in_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "ANSWER_TIMEOUT_S", 0.0)
    async with ready() as (process, worker):
        with pytest.raises(ShardFailedError, match="shard 0: no answer within"):
            await all_items(process)
        ask = await worker.hears()
        assert (await worker.hears()).message == EndWalk(ask.number)
        assert process.up


async def test_a_worker_that_does_nothing_is_not_asked() -> None:
    """Nobody waits for the whole time then. It is not the error of a worker that is away, because this one has its sessions."""
    async with ready() as (process, _):
        process.is_silent = True
        with pytest.raises(ShardFailedError, match="shard 0: the worker does nothing"):
            await all_items(process)


async def test_a_walk_that_fails_is_an_error_for_whoever_asked_and_for_nobody_else() -> None:
    async with ready() as (process, worker):
        fails, goes_on = (asyncio.ensure_future(all_items(process)) for _ in range(2))
        first, second = (await worker.hears()).number, (await worker.hears()).number
        worker.says(Refused(first, "KeyError()"))
        with pytest.raises(ShardFailedError, match=r"shard 0: KeyError\(\)"):
            await fails
        worker.says(Piece(second, [1], True, ""))
        assert await goes_on == [1]


async def test_a_query_is_not_answered_by_an_acknowledgement() -> None:
    async with ready() as (process, worker):
        listing = asyncio.ensure_future(all_items(process))
        worker.says(Done((await worker.hears()).number))
        with pytest.raises(ShardFailedError, match="answered a query with Done"):
            await listing


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b"[1]\n", b"{}\n", b"x" * (2 << 20) + b"\n"], ids=["no JSON", "no object", "no kind", "too long"]
)
async def test_a_line_that_cannot_be_read_fails_what_is_waited_for_and_ends_nothing(
    line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with ready() as (process, worker):
        listing = asyncio.ensure_future(all_items(process))
        await worker.hears()
        worker.socket.setblocking(True)
        await asyncio.to_thread(worker.socket.sendall, line)
        with pytest.raises(ShardFailedError, match="shard 0: "):
            await listing
        assert "cannot take what the worker says" in caplog.text
        heard = {type((await worker.hears()).message), type((await worker.hears()).message)}
        while EndWalk not in heard:  # a line that is too long is refused in several parts
            heard.add(type((await worker.hears()).message))
        assert heard == {Refused, EndWalk}
        assert process.up


async def test_an_unreadable_answer_that_has_its_number_fails_only_its_question() -> None:
    async with ready() as (process, worker):
        fails, goes_on = (asyncio.ensure_future(all_items(process)) for _ in range(2))
        first, second = (await worker.hears()).number, (await worker.hears()).number
        worker.says_bytes(b'{"version":%d,"kind":"piece","number":7,"of":%d}\n' % (VERSION, first))
        with pytest.raises(ShardFailedError, match="damaged"):
            await fails
        worker.says(Piece(second, [1], True, ""))
        assert await goes_on == [1]


async def test_a_kind_that_a_worker_does_not_say_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with ready() as (process, worker):
        worker.says(EndWalk(5))
        assert (await worker.hears()).message == Refused(2, "a worker does not say EndWalk")
        assert process.up
        assert caplog.messages == ["shard 0: cannot take what the worker says: a worker does not say EndWalk"]


async def test_a_refusal_that_nobody_waits_for_is_logged_and_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    async with ready() as (process, worker):
        worker.says(Refused(0, "why"))
        worker.says_bytes(b'{"version":%d,"kind":"refused","number":7,"of":"?"}\n' % VERSION)
        worker.says(EndWalk(5))
        assert isinstance((message := (await worker.hears()).message), Refused)
        assert "EndWalk" in message.reason, "the only one that is answered"
        assert process.up
    assert caplog.messages[0] == "shard 0: the worker refused a message: why"
    assert caplog.messages[1].startswith("shard 0: a damaged message of kind 'refused'")


async def test_a_change_of_services_is_over_when_the_worker_says_so() -> None:
    async with ready() as (process, worker):
        change = asyncio.ensure_future(process.change_services(DRAINED))
        message = await worker.hears()
        assert message.message == ChangeServices(DRAINED)
        assert not change.done()
        worker.says(Done(message.number))
        await change


async def test_a_worker_that_is_still_starting_is_told_of_a_change_behind_its_plan() -> None:
    async with running() as (process, workers):
        worker = await workers.started.get()
        start = await worker.hears()
        change = asyncio.ensure_future(process.change_services(DRAINED))
        message = await worker.hears()
        assert (start.message, message.message) == (Start(plan()), ChangeServices(DRAINED))
        worker.says(Done(start.number))
        worker.says(Done(message.number))
        await change


async def test_a_worker_that_starts_later_starts_with_the_change() -> None:
    workers = FakeWorkers()
    process = ShardProcess(plan(), -1, start=workers.start)
    await process.change_services(DRAINED)
    task = asyncio.ensure_future(process.run())
    assert (await (await workers.started.get()).hears()).message == Start(plan(weights=(0,)))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_worker_that_dies_during_a_change_is_followed_by_one_that_has_it() -> None:
    async with running() as (process, workers):
        worker = await workers.started.get()
        await worker.becomes_ready()
        change = asyncio.ensure_future(process.change_services(DRAINED))
        await worker.hears()
        worker.dies()
        await change
        assert (await (await workers.started.get()).hears()).message == Start(plan(weights=(0,), has_predecessor=True))


async def test_it_is_waited_for_longer_until_all_sessions_know_of_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ready() as (process, worker):
        monkeypatch.setattr(supervisor, "ANSWER_TIMEOUT_S", 0.0)
        settled = asyncio.ensure_future(process.settled(60))
        message = await worker.hears()
        assert message.message == AwaitSettled()
        assert not settled.done()
        worker.says(Done(message.number))
        await settled
        with pytest.raises(ShardFailedError, match="shard 0: no answer within 0 s"):
            await process.settled(0.0)


GONE = [("web", "192.0.2.101", 8080)]


async def test_a_worker_forgets_removed_real_servers_or_says_why_not() -> None:
    async with ready() as (process, worker):
        for answer in (Done, lambda number: Refused(number, "why")):
            forgets = asyncio.ensure_future(process.forget(GONE))
            message = await worker.hears()
            assert message.message == Forget([["web", "192.0.2.101", 8080]])
            worker.says(answer(message.number))
            if answer is Done:
                await forgets
        with pytest.raises(ShardFailedError, match="shard 0: why"):
            await forgets
        process.is_silent = True
        with pytest.raises(ShardFailedError, match="shard 0: its worker is away"):
            await process.forget(GONE)
        process.is_silent = False
        forgets = asyncio.ensure_future(process.forget(GONE))
        await worker.hears()
        worker.dies()
        with pytest.raises(ShardFailedError, match="the worker of shard 0 died"):
            await forgets


async def test_a_worker_that_refuses_a_change_is_an_error() -> None:
    async with ready() as (process, worker):
        change = asyncio.ensure_future(process.change_services(DRAINED))
        worker.says(Refused((await worker.hears()).number, "why"))
        with pytest.raises(ShardFailedError, match="shard 0: why"):
            await change


async def test_a_great_change_is_told_in_parts_each_behind_the_answer_to_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_services, "REAL_SERVERS_AT_ONCE", 3)
    async with ready() as (process, worker):
        (web,) = DRAINED
        other = replace(web, port=81)
        change = asyncio.ensure_future(process.change_services((web, other)))
        for part in ((web,), (other,)):
            message = await worker.hears()
            assert (message.message, change.done()) == (ChangeServices(part), False)
            worker.says(Done(message.number))
        await change
        change = asyncio.ensure_future(process.change_services((replace(web, port=82), other)))
        for expected in (ChangeServices((replace(web, port=82),)), ChangeServices((), (web.key,))):
            message = await worker.hears()
            assert message.message == expected
            worker.says(Done(message.number))
        await change
        await process.change_services((replace(web, port=82), other))  # nothing is new: nobody has to answer


async def test_what_a_worker_refuses_it_is_told_again_and_the_rest_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_services, "REAL_SERVERS_AT_ONCE", 3)
    async with ready() as (process, worker):
        (web,) = DRAINED
        other = replace(web, port=81)
        change = asyncio.ensure_future(process.change_services((web, other)))
        worker.says(Refused((await worker.hears()).number, "why"))
        worker.says(Done((await worker.hears()).number))
        with pytest.raises(ShardFailedError, match="shard 0: why"):
            await change
        change = asyncio.ensure_future(process.change_services((web, other)))
        for part in ((web,), (other,)):
            message = await worker.hears()
            assert message.message == ChangeServices(part), "also the second one: nobody has waited for its answer"
            worker.says(Done(message.number))
        await change


async def test_a_worker_that_does_not_answer_a_change_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ready() as (process, worker):
        monkeypatch.setattr(supervisor, "ANSWER_TIMEOUT_S", 0.0)
        with pytest.raises(ShardFailedError, match="shard 0: no answer within"):
            await process.change_services(DRAINED)
        worker.says(Done((await worker.hears()).number))  # too late, and harmless
        worker.says(EndWalk(5))
        await worker.hears()
        assert process.up


async def test_a_worker_that_cannot_be_started_again_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """For instance when the process has no file descriptor left: the other shards must not end with it."""
    workers, starts = FakeWorkers(), 0

    async def start(shared_fd: int, control_fd: int, lane_fds: Sequence[int]) -> FakeWorker:
        nonlocal starts
        starts += 1
        if starts in (2, 3):
            raise OSError(24, "Too many open files")
        return await workers.start(shared_fd, control_fd, lane_fds)

    process = ShardProcess(plan(), -1, lambda: None, start)
    task = asyncio.ensure_future(process.run())
    first = await workers.started.get()
    await first.becomes_ready()
    await process.first_start
    first.dies()
    second = await workers.started.get()
    await second.becomes_ready()
    await until(lambda: process.up)
    assert starts == 4
    assert sum("Too many open files" in line for line in caplog.messages) == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
