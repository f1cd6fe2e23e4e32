"""tests/support/fake_worker.py: it hears what a director writes, in order, and says what a test wants, until it ends."""

import asyncio
import socket

import pytest

from appliance.ipc.messages import Done, EndWalk, LineReader, Numbered, decode, encode
from tests.support.fake_worker import FakeWorkers


async def test_it_hears_and_says_whole_messages_until_it_dies() -> None:
    ours, theirs = socket.socketpair()
    workers = FakeWorkers()
    with ours, theirs:
        worker = await workers.start(-1, theirs.fileno())
        assert workers.started.get_nowait() is worker
        theirs.close()
        first, second = encode(1, EndWalk(7)), encode(2, EndWalk(8))
        ours.send(first + second[:5])
        assert await worker.hears() == Numbered(1, EndWalk(7))
        ours.send(second[5:])
        assert await worker.becomes_ready() == Numbered(2, EndWalk(8))
        (answer,) = LineReader().feed(ours.recv(1 << 16))
        assert decode(answer).message == Done(2)
        worker.dies()
        assert ours.recv(1) == b""
    assert await worker.wait() == -9


async def test_a_director_that_closed_its_end_is_noticed() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        worker = await FakeWorkers().start(-1, theirs.fileno())
        ours.close()
        with pytest.raises(AssertionError, match="closed its end"):
            await worker.hears()
        await worker.wait()
        with pytest.raises(AssertionError, match="ended by itself"):
            worker.kill()
    await asyncio.sleep(0)
