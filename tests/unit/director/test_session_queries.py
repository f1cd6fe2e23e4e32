"""session_queries.py: one answer from many shards. The shards are real, the processes between are not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import IPv4Address
from typing import Any, cast

import pytest

from appliance.director.session_queries import SessionQueries
from appliance.director.supervisor import ShardProcess
from appliance.ipc.messages import Ask, Piece, decode, encode
from appliance.ipc.queries import CUT, Query, QueryError, SessionFilter, ShardDownError, ShardFailedError
from appliance.ipc.rows import SessionRow
from appliance.wire.flow import pack_endpoint
from tests.support.addresses import C0, VIP
from tests.support.segments import tcp
from tests.support.world import World, plan

ASKED: list[int] = []
"""The shards that were asked for a piece, in order."""


class InProcess:
    """What a `ShardProcess` is to `SessionQueries`, with every message written and read as between processes."""

    def __init__(self, shard: int, world: World | None) -> None:
        self.shard = shard
        self.world = world

    async def ask(self, query: Query) -> AsyncIterator[Piece]:
        if self.world is None:
            raise ShardDownError(f"the worker of shard {self.shard} is away")
        question = decode(encode(1, Ask(query))).message
        assert isinstance(question, Ask)
        walk = self.world.shard.walk(question.query)
        while True:
            await asyncio.sleep(0)  # as between processes: others have their turns
            ASKED.append(self.shard)
            answer = decode(encode(1, Piece(1, *walk.step(self.world.now)))).message
            assert isinstance(answer, Piece)
            yield answer
            if answer.is_last:
                return


def shards(*counts: int | None, ended: Callable[[Query], None] = lambda _: None) -> SessionQueries:
    """A shard with so many sessions each, or one that is down."""
    workers: list[InProcess] = []
    for shard, count in enumerate(counts):
        world = None if count is None else World(plan(shard=shard, shards=len(counts)))
        for number in range(count or 0):
            client = pack_endpoint(IPv4Address("198.51.100.0") + number % 3, 20_000 + number)
            assert world is not None
            world.put(tcp(client, VIP, "S", seq=C0))
        workers.append(InProcess(shard, world))
    return SessionQueries(cast("Sequence[ShardProcess]", workers), ended)


EVERYTHING = SessionFilter()


async def all_pages(inquiry: SessionQueries, limit: int) -> list[list[SessionRow]]:
    pages, after = [], ""
    while True:
        page = await inquiry.page(EVERYTHING, limit, after)
        pages.append(page.rows)
        if not page.after:
            return pages
        after = page.after


async def test_each_shard_says_whether_it_is_consistent() -> None:
    found = await shards(3, 0).consistency()
    assert [(one.wrong, sum(counts["in_use"] for counts in one.held.values())) for one in found] == [(0, 3), (0, 0)]


async def test_all_sessions_of_all_shards() -> None:
    rows = [row async for batch in shards(3, 0, 2).rows(EVERYTHING) for row in batch]
    assert len(rows) == 5
    assert all(isinstance(row, SessionRow) for row in rows)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 100])
async def test_pages_go_over_the_borders_of_shards(limit: int) -> None:
    inquiry = shards(3, 0, 4, 0)
    pages = await all_pages(inquiry, limit)
    rows = [row for page in pages for row in page]
    assert sorted(rows) == sorted([row async for batch in inquiry.rows(EVERYTHING) for row in batch])
    assert all(len(page) == limit for page in pages[:-1]), "only the last may be shorter"


@pytest.mark.parametrize(
    ("after", "words"), [("nonsense", "after: 'nonsense' is no place"), ("4-0-0-" + 24 * "0", "there is no shard 4")]
)
async def test_a_place_that_cannot_be_is_refused(after: str, words: str) -> None:
    with pytest.raises(QueryError, match=words):
        await shards(1, 1).page(EVERYTHING, 1, after)


async def test_counts_of_all_shards_add_up() -> None:
    tally = await shards(3, 4).tally("client", EVERYTHING)
    assert tally == {"198.51.100.0": 3, "198.51.100.1": 2, "198.51.100.2": 2}
    assert await shards(3, 4).tally("service", SessionFilter(client="198.51.100.1")) == {"web": 2}


async def test_a_cut_goes_through_all_shards_and_past_those_that_are_down() -> None:
    """A worker that is away has no sessions left to cut."""
    inquiry = shards(3, None, 150)
    assert await inquiry.cut(SessionFilter(client="198.51.100.1")) == 1 + 50
    assert await inquiry.cut(EVERYTHING) == 2 + 100


async def test_somebody_hears_of_sessions_that_were_ended_when_they_are() -> None:
    heard: list[tuple[Query, list[int]]] = []
    ASKED.clear()
    inquiry = shards(3, 2, ended=lambda query: heard.append((query, ASKED.copy())))
    await inquiry.cut(SessionFilter(service="web"), ["198.51.100.1"])
    assert heard == [(Query(CUT, SessionFilter(service="web"), clients=["198.51.100.1"]), ASKED)]


async def test_all_shards_cut_at_the_same_time() -> None:
    inquiry = shards(150, 150)
    ASKED.clear()
    await inquiry.cut(EVERYTHING)
    assert ASKED[:4] == [0, 1, 0, 1]


async def test_a_shard_that_cannot_cut_keeps_no_other_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    inquiry = shards(150, 150)
    stopped, other = cast("list[InProcess]", inquiry._workers)

    def fail(_: Query) -> AsyncIterator[Piece]:
        raise ShardFailedError("the worker does nothing")

    monkeypatch.setattr(stopped, "ask", fail)
    with pytest.raises(ShardFailedError):
        await inquiry.cut(EVERYTHING)
    assert other.world is not None
    assert other.world.rows() == []


async def test_tables_come_shard_by_shard() -> None:
    first, second = await shards(3, 4).slabs()
    assert (first[0].name, first[0].active, second[0].active) == ("tcp_conn", 3, 4)


@pytest.mark.parametrize("ask", ["page", "tally", "slabs"])
async def test_an_answer_without_a_shard_would_look_whole_and_is_none(ask: str) -> None:
    arguments: dict[str, tuple[Any, ...]] = {"page": (EVERYTHING, 10, ""), "tally": ("client", EVERYTHING), "slabs": ()}
    with pytest.raises(ShardDownError):
        await getattr(shards(1, None), ask)(*arguments[ask])
