"""Traces: the packets of some clients in all shards, and those that the kernel's own rules dropped, in the order of time.

Nothing is asked of workers or kernel while there is no trace. The table that marks packets for the kernel's own account goes with
the director, and the traces of workers with the channel to them.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from math import inf
from typing import Protocol

from appliance.director.in_force import InForce, Listener
from appliance.director.supervisor import ShardProcess
from appliance.edge.errors import EdgeError
from appliance.edge.nft_trace import KernelDrop, KernelTrace
from appliance.ipc.messages import Piece
from appliance.ipc.plan import ServicePlan
from appliance.ipc.queries import FlowMatch, Query, ShardDownError, ShardFailedError
from appliance.ipc.traced import CLIENT, Snap, TraceBatch, Traced, TraceRow, read_piece
from appliance.policy.access_rules import COUNTERS
from appliance.policy.trace_rules import PACKETS_PER_S, render_trace

LOOK_S = 0.1
"""How often workers and kernel are asked for their packets."""

_SAY_UNTOLD_S = 1.0
"""How often it is said how many packets the kernel did not tell of, at most."""

_BATCH_MAX = 2000
"""Packets of one batch; those above are left out."""


class Feed(Protocol):
    """Some of the packets."""

    async def take(self) -> TraceBatch:
        """Those since the last call."""

    async def close(self) -> None:
        """Want no more of them."""


class Kernel(Protocol):
    """What tells of the kernel's own drops."""

    def take(self) -> list[KernelDrop]:
        """The drops since the last call."""

    def untold(self) -> int:
        """How many packets there were of which it does not tell. Raises EdgeError."""

    def close(self) -> None:
        """Have no more of them told."""


class Traces:
    """All traces of this run. The API bounds how many there are at a time."""

    def __init__(
        self,
        workers: Sequence[ShardProcess],
        services: Callable[[], tuple[ServicePlan, ...]],
        in_force: InForce,
        open_kernel: Callable[[str], Kernel] = KernelTrace,
    ) -> None:
        """`open_kernel` makes the kernel tell of its drops, by the nft text of a table; it raises EdgeError."""
        self._workers = workers
        self._services = services
        self._in_force = in_force
        self._open_kernel = open_kernel
        self._numbers: set[int] = set()

    async def packets(self, wanted: Query, *, with_changes: bool = False) -> AsyncGenerator[TraceBatch, None]:
        """The packets that a query of the kind TRACE wants, a batch about every LOOK_S, until this is closed. The first batch,
        which may be empty, comes when all shards look. With `with_changes`, it has what is in force then, and later ones have
        what changes."""
        clock_s = time.time() - time.monotonic()  # noqa: TID251  # for people
        waiting = list[TraceRow]()
        async with contextlib.AsyncExitStack() as to_close:
            feeds, listener = await self._begin(wanted, to_close, with_changes=with_changes)
            while True:
                began = time.monotonic()
                found = await _taken(feeds)
                waiting = sorted((*waiting, *(row for feed in found for row in feed.rows)), key=lambda row: row.at_s)
                # What was judged after the first shard was asked may come before something that it judges only now.
                ready = [row for row in waiting if row.at_s < began]
                waiting, shown = waiting[len(ready) :], ready[:_BATCH_MAX]
                changes = await listener.take(began) if listener else ()
                yield TraceBatch(
                    [row._replace(at_s=row.at_s + clock_s) for row in shown],
                    len(ready) - len(shown) + sum(feed.left_out for feed in found),
                    [note for feed in found for note in feed.notes],
                    tuple(change._replace(at_s=change.at_s + clock_s) for change in changes),
                )
                await asyncio.sleep(LOOK_S)

    async def _begin(
        self, wanted: Query, to_close: contextlib.AsyncExitStack, *, with_changes: bool
    ) -> tuple[list[Feed], Listener | None]:
        """What gives packets and changes. Each is in `to_close` before anything of it begins, and one that cannot be closed keeps
        no other from it."""
        number = next(number for number in range(len(self._numbers) + 1) if number not in self._numbers)
        self._numbers.add(number)
        # The last one of all: the kernel refuses a second table of this name while there is one.
        to_close.callback(self._numbers.discard, number)
        kernel = _KernelFeed(wanted)
        feeds: list[Feed] = [kernel, *(_ShardFeed(worker, wanted) for worker in self._workers)]
        for feed in feeds:
            to_close.push_async_callback(feed.close)
        listener = self._in_force.listen(wanted.filter.client) if with_changes else None
        to_close.callback(self._in_force.leave, listener)
        await kernel.open(self._open_kernel, self._table(number, wanted))
        return feeds, listener

    def _table(self, number: int, wanted: Query) -> str:
        service = next((service for service in self._services() if service.name == wanted.filter.service), None)
        if service is None:
            return render_trace(number, wanted.filter.client, port=wanted.port)
        port = wanted.port or service.port
        return render_trace(number, wanted.filter.client, service.vip, service.protocol, port)


async def _taken(feeds: Sequence[Feed]) -> list[TraceBatch]:
    """What each feed has. An error of one is raised when all have answered: none can be closed before."""
    found = await asyncio.gather(*(feed.take() for feed in feeds), return_exceptions=True)
    for batch in found:
        if isinstance(batch, BaseException):
            raise batch
    return [batch for batch in found if not isinstance(batch, BaseException)]


class _ShardFeed:
    """The packets of one shard, whichever worker it has."""

    def __init__(self, worker: ShardProcess, wanted: Query) -> None:
        self._worker = worker
        self._wanted = wanted
        self._pieces: AsyncGenerator[Piece, None] | None = None
        self._was_away = False

    async def take(self) -> TraceBatch:
        """What has come since the last call; nothing while the worker is away. Its next one is asked anew."""
        if self._pieces is None:
            self._pieces = self._worker.ask(self._wanted)
        try:
            piece = await anext(self._pieces)
            left_out, packets = read_piece(piece.items)
        except (ShardDownError, ShardFailedError, StopAsyncIteration, TypeError, ValueError) as error:
            await self.close()
            notes = [] if self._was_away else [f"packets of shard {self._worker.shard} are missing: {error}"]
            self._was_away = True
            return TraceBatch([], 0, notes)
        self._was_away = False
        return TraceBatch([TraceRow(self._worker.shard, packet.at_s, packet) for packet in packets], left_out, [])

    async def close(self) -> None:
        """Have the worker end the trace."""
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            await pieces.aclose()


class _KernelFeed:
    """The packets that the kernel's rules drop."""

    def __init__(self, wanted: Query) -> None:
        self._is_wanted = FlowMatch(wanted)
        self._kernel: Kernel | None = None
        self._notes: list[str] = []
        self._untold, self._asked_s = 0, -inf
        """Packets that the kernel did not tell of, as far as that was said, and when it was asked for them."""

    async def open(self, open_kernel: Callable[[str], Kernel], table: str) -> None:
        """Begin. When the kernel refuses, a note says so, and there are no packets."""
        opening = asyncio.ensure_future(asyncio.to_thread(open_kernel, table))
        try:
            self._kernel = await asyncio.shield(opening)
        except EdgeError as error:
            self._notes.append(f"what the kernel's own rules drop is missing: {error}")
        except asyncio.CancelledError:
            with contextlib.suppress(EdgeError):
                self._kernel = await opening  # it is there all the same, and is closed by `close`
            raise

    async def take(self) -> TraceBatch:
        """What has come since the last call."""
        drops = await asyncio.to_thread(self._look, self._kernel) if self._kernel else []
        notes, self._notes = self._notes, []
        return TraceBatch([TraceRow(None, drop.at_s, _traced(drop)) for drop in drops if self._wants(drop)], 0, notes)

    def _look(self, kernel: Kernel) -> list[KernelDrop]:
        drops, now = kernel.take(), time.monotonic()
        if now - self._asked_s >= _SAY_UNTOLD_S:
            self._asked_s = now
            with contextlib.suppress(EdgeError):  # it is asked again
                before, self._untold = self._untold, kernel.untold()
                if self._untold > before:
                    self._notes.append(
                        f"{self._untold - before} packets came beyond {PACKETS_PER_S} a second, and what the kernel's own rules "
                        "did with these is not shown"
                    )
        return drops

    def _wants(self, drop: KernelDrop) -> bool:
        """Whether this trace wants it: the kernel tells each trace of the packets that any of them has marked."""
        return not drop.key or self._is_wanted.is_of(drop.key)

    async def close(self) -> None:
        """Have the kernel tell no more."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            await asyncio.to_thread(kernel.close)


def _traced(drop: KernelDrop) -> Traced:
    reason = next((counter for counter in COUNTERS if drop.rule.startswith(f"{counter}_")), drop.rule)
    return Traced(drop.at_s, CLIENT, reason, Snap(drop.headers, drop.packet_bytes), None, ())
