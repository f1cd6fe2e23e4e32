"""fake_worker.py: it says and hears what a worker would, by a real socket."""

import asyncio
import socket

import pytest

from appliance.ipc.messages import Done, EndWalk, Numbered, Refused, decode, encode
from tests.support.fake_worker import FakeWorker, FakeWorkers


async def test_messages_go_both_ways_and_are_numbered() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        workers = FakeWorkers()
        await workers.start(-1, theirs.fileno(), ())
        theirs.close()
        worker = workers.started.get_nowait()
        ours.sendall(encode(7, EndWalk(1)) + encode(8, EndWalk(2)))
        assert [await worker.becomes_ready(), await worker.hears()] == [Numbered(7, EndWalk(1)), Numbered(8, EndWalk(2))]
        worker.says(Refused(8, "why"))
        said = [decode(line) for line in ours.recv(1 << 16).splitlines()]
        assert said == [Numbered(1, Done(7)), Numbered(2, Refused(8, "why"))]
        assert await worker.wait() == 0
        assert ours.recv(1) == b""


async def test_a_dead_one_has_closed_its_end_and_keeps_its_exit_code() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = FakeWorker(theirs.fileno())
        theirs.close()
        worker.dies(3)
        assert ours.recv(1) == b""
        assert await worker.wait() == 3
        with pytest.raises(AssertionError):
            worker.kill()


async def test_a_director_that_closes_its_end_fails_the_test_that_still_listens() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = FakeWorker(theirs.fileno())
        listening = asyncio.ensure_future(worker.hears())
        await asyncio.sleep(0)
        ours.close()
        with pytest.raises(AssertionError, match="closed its end"):
            await listening
        await worker.wait()
