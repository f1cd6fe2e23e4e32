"""Queries about sessions: each is put to all shards, and their answers become one. `sessions.walk` is the part in a shard."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from appliance.director.supervisor import ShardProcess
from appliance.ipc.queries import (
    CONSISTENCY,
    CUT,
    ROWS,
    SLABS,
    TALLY,
    Query,
    QueryError,
    SessionFilter,
    ShardDownError,
    first_place,
    parse_place,
)
from appliance.ipc.rows import Consistency, Page, SessionRow, Slab


class SessionQueries:
    """All methods raise ShardFailedError when a worker cannot answer. All but `cut` raise ShardDownError when a worker is not
    running or dies meanwhile."""

    def __init__(self, workers: Sequence[ShardProcess], ended: Callable[[Query], None] = lambda _: None) -> None:
        """`ended` hears of each query that has ended all the sessions that it selects."""
        self._workers = workers
        self._ended = ended

    async def rows(self, wanted: SessionFilter) -> AsyncIterator[list[SessionRow]]:
        """The sessions that a filter selects, shard after shard, in batches. A batch is read from the worker when it is asked
        for."""
        for worker in self._workers:
            async for piece in worker.ask(Query(ROWS, wanted)):
                yield [SessionRow(*row) for row in piece.items]

    async def page(self, wanted: SessionFilter, limit: int, after: str) -> Page:
        """Up to `limit` sessions behind the place `after`. Raises QueryError for a place that does not exist."""
        first = parse_place(after).shard if after else 0
        if first >= len(self._workers):
            raise QueryError(f"after: there is no shard {first} (there are {len(self._workers)})")
        rows: list[SessionRow] = []
        for worker in self._workers[first:]:
            query = Query(ROWS, wanted, limit=limit - len(rows), after=after if worker.shard == first else "")
            async for piece in worker.ask(query):
                rows += (SessionRow(*row) for row in piece.items)
                if piece.place:
                    return Page(rows, piece.place)
            if len(rows) == limit and worker is not self._workers[-1]:
                return Page(rows, str(first_place(worker.shard + 1)))
        return Page(rows, "")

    async def tally(self, by: str, wanted: SessionFilter) -> Counter[str]:
        """How many of the selected sessions each client, service, real server or local address has; `by` is one of
        `queries.TALLY_GROUPS`."""
        counts = Counter[str]()
        for worker in self._workers:
            async for piece in worker.ask(Query(TALLY, wanted, by)):
                counts.update(dict(piece.items))
        return counts

    async def cut(self, wanted: SessionFilter, clients: Sequence[str] = ()) -> int:
        """End the sessions that a filter selects, or those of them that are of some `clients`, at most CLIENTS_MAX addresses;
        returns how many there were. A worker that is not running has none.

        All shards do so at the same time, and one that fails keeps none of the others from it.
        """
        query = Query(CUT, wanted, clients=clients)
        outcomes = await asyncio.gather(*(_cut_in(worker, query) for worker in self._workers), return_exceptions=True)
        self._ended(query)
        ended = 0
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            ended += outcome
        return ended

    async def cut_some(self, shard: int, wanted: SessionFilter, most: int, after: str) -> str:
        """End up to `most` sessions of one shard behind the place `after`, which may be empty; returns the place behind the last
        of them, empty when there are no more."""
        place = ""
        async for piece in self._workers[shard].ask(Query(CUT, wanted, limit=most, after=after)):
            place = piece.place
        return place

    async def slabs(self) -> list[list[Slab]]:
        """The tables and pools of each shard."""
        return [[Slab(*slab) async for piece in worker.ask(Query(SLABS)) for slab in piece.items] for worker in self._workers]

    async def consistency(self) -> list[Consistency]:
        """Whether what each shard has agrees with itself and with the lane."""
        query = Query(CONSISTENCY)
        return [Consistency(*found) for worker in self._workers async for piece in worker.ask(query) for found in piece.items]


async def _cut_in(worker: ShardProcess, query: Query) -> int:
    ended = 0
    with contextlib.suppress(ShardDownError):
        async for piece in worker.ask(query):
            ended += sum(piece.items)
    return ended
