"""The handler of ``/trace``: a stream of packets, until there are enough of them, its time is over, or the client goes."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

from aiohttp import web

from appliance.ipc.queries import (
    SNAP_MAX,
    SNAP_MIN,
    TRACE,
    Query,
    QueryError,
    SessionFilter,
    check_query,
    read_filter,
    read_number,
)
from appliance.rest.accept_header import JSON, TEXT
from appliance.rest.events import ALIVE_S
from appliance.rest.gateway import Gateway
from appliance.rest.places import ALIVE, STREAM, Places, has_gone, new_stream, one_reader, wants_stream, write_in_time
from appliance.rest.query_check import bad_query
from appliance.rest.respond import wants_json
from appliance.rest.trace_routes import COUNT_MAX, SECONDS, SECONDS_MAX, TRACES
from appliance.views import trace as view


class TraceHandlers:
    """The handler, and how many traces there are."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._places = Places(TRACES, "traces are under way already; end one, or try again later")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Show packets. Raises ProblemError: 400 for a field that is not allowed, 503 when there are too many traces."""
        try:
            wanted = self._query(request)
            count = read_number(request.query, "count", COUNT_MAX, COUNT_MAX) if "count" in request.query else None
            seconds = read_number(request.query, "seconds", SECONDS, SECONDS_MAX)
        except QueryError as error:
            raise bad_query(error) from error
        with self._places.one(is_writer=True):  # nobody else may trace
            return await self._stream(request, wanted, count, seconds)

    def _query(self, request: web.Request) -> Query:
        given = request.query
        if "client" not in given:
            raise QueryError("client: is missing; whose packets are wanted?")
        found = read_filter(given, [service.name for service in self._gateway.services])
        port = read_number(given, "port", 1, 0xFFFF) if "port" in given else 0
        snap_bytes = read_number(given, "snap_bytes", SNAP_MIN, SNAP_MAX)
        query = Query(TRACE, SessionFilter(found.client, found.service), port=port, snap_bytes=snap_bytes)
        check_query(query)
        return query

    async def _stream(self, request: web.Request, wanted: Query, count: int | None, seconds: int) -> web.StreamResponse:
        form = _form(request)
        response = new_stream(form.media)
        ends, alive_at = time.monotonic() + seconds, 0.0
        with_data = "snap_bytes" in request.query
        with one_reader(request):
            async with aclosing(self._gateway.traces.packets(wanted, with_changes=with_data)) as batches:
                async for batch in batches:
                    if not response.prepared:  # when all shards look, and not before: who gets the head may send his packets
                        await response.prepare(request)
                    items, is_last = _first(view.items(batch, with_data=with_data), count)
                    count = None if count is None else count - sum(item["kind"] == view.PACKET for item in items)
                    if items or time.monotonic() >= alive_at:
                        alive_at = time.monotonic() + ALIVE_S
                        await write_in_time(response, form.written(items))
                    if is_last or time.monotonic() >= ends or has_gone(request):
                        break
            if not response.prepared:
                await response.prepare(request)
            await write_in_time(response, form.end())
        return response


def _first(items: Iterator[dict[str, Any]], count: int | None) -> tuple[list[dict[str, Any]], bool]:
    """The items up to the packet with this number, and whether that is among them."""
    found: list[dict[str, Any]] = []
    for item in items:
        found.append(item)
        if count is not None and item["kind"] == view.PACKET:
            count -= 1
            if not count:
                return found, True
    return found, False


class _Form:
    """How items are written."""

    def __init__(self, media: str, write: Callable[[dict[str, Any]], str], alive: str) -> None:
        """`alive` is what says that there is nothing new."""
        self.media = media
        self._write = write
        self._alive = alive

    def written(self, items: list[dict[str, Any]]) -> bytes:
        """Some items."""
        return ("".join(map(self._write, items)) or self._alive).encode()

    def end(self) -> bytes:
        """What follows behind the last item."""
        return b""


class _JsonList(_Form):
    """A list, one item a line."""

    def __init__(self) -> None:
        super().__init__(JSON, self._next, "\n")
        self._before = "[\n"

    def _next(self, item: dict[str, Any]) -> str:
        before, self._before = self._before, ",\n"
        return before + json.dumps(item)

    def end(self) -> bytes:
        return b"[]\n" if self._before == "[\n" else b"\n]\n"


def _form(request: web.Request) -> _Form:
    if wants_stream(request):
        return _Form(STREAM, view.sent, ALIVE.decode())
    return _JsonList() if wants_json(request) else _Form(TEXT, view.text_line, "")
