"""The part of the API that looks at sessions and at the tables that hold them: list, count, cut.

Sessions are read in pieces: all of them as a stream, or page by page, where a Link header names the next page (RFC 8288).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlencode

from aiohttp import web

from appliance.ipc.queries import (
    QueryError,
    SessionFilter,
    ShardDownError,
    ShardFailedError,
    check_fields,
    read_filter,
    read_group,
    read_number,
)
from appliance.ipc.rows import Page, SessionRow, Slab
from appliance.rest.accept_header import JSON, TEXT
from appliance.rest.problem import ProblemError
from appliance.rest.respond import respond, wants_json
from appliance.views import sessions as session_views
from appliance.views.counters import Document

MOST_PER_PAGE = 10_000
_PER_PAGE = 1000

MOST_ON_TOP = 1000
_ON_TOP = 10

_LONGEST_SHOWN = 80


class Sessions(Protocol):
    """What this part of the API needs of the director. All but `cut` raise ShardDownError when a worker is away."""

    def rows(self, wanted: SessionFilter) -> AsyncIterator[list[SessionRow]]:
        """All sessions of a filter in batches, each read when it is asked for."""

    async def page(self, wanted: SessionFilter, limit: int, after: str) -> Page:
        """Up to `limit` sessions behind a place. Raises QueryError for a place that cannot be."""

    async def tally(self, by: str, wanted: SessionFilter) -> Counter[str]:
        """How many sessions each client, service or real server has."""

    async def cut(self, wanted: SessionFilter) -> int:
        """End all sessions of a filter; how many there were."""

    async def slabs(self) -> list[list[Slab]]:
        """The tables and pools of each shard."""


class SessionHandlers:
    """The handlers. `services` gives the names of those there are."""

    def __init__(self, sessions: Sessions, services: Callable[[], Collection[str]]) -> None:
        self._sessions = sessions
        self._services = services

    async def list_sessions(self, request: web.Request) -> web.StreamResponse:
        """Sessions of a filter: all of them, or a page."""
        with _refusals_as_problems():
            wanted = self._filter(request, "limit", "after")
            if not request.query.keys() & {"limit", "after"}:
                return await self._stream(request, wanted)
            limit = read_number(request.query, "limit", _PER_PAGE, MOST_PER_PAGE)
            page = await self._sessions.page(wanted, limit, request.query.get("after", ""))
        response = respond(request, session_views.page(page.rows))
        if page.after:
            query = urlencode({**request.query, "limit": limit, "after": page.after})
            response.headers["Link"] = f'<{request.path}?{query}>; rel="next"'
        return response

    async def list_all(self, request: web.Request) -> web.StreamResponse:
        """All sessions, at the address that those who know LVS look for them."""
        return await self._stream(request, SessionFilter())

    async def _stream(self, request: web.Request, wanted: SessionFilter) -> web.StreamResponse:
        """Batch by batch: one is asked for when the client has taken the one before."""
        content_type, render = (JSON, session_views.as_json) if wants_json(request) else (TEXT, session_views.as_text)
        response = web.StreamResponse()
        response.content_type, response.charset = content_type, "utf-8"
        await response.prepare(request)
        if request.method == "GET":
            async for piece in render(self._sessions.rows(wanted)):
                try:
                    await response.write(piece.encode())
                except ConnectionError:
                    break  # The client has seen enough, as in `curl … | head`: no error of ours.
                # A write waits only when the client is slow. One that keeps up must not keep the director from its work.
                await asyncio.sleep(0)
        return response

    async def cut_sessions(self, request: web.Request) -> web.Response:
        """End sessions of a filter. One that says nothing would mean all of them, and that has to be said."""
        with _refusals_as_problems():
            wanted = self._filter(request, "all")
            if request.query.get("all", "1") != "1":
                raise QueryError(f"all: {request.query['all'][:_LONGEST_SHOWN]!r} is not 1")
            if not any(wanted) and "all" not in request.query:
                raise QueryError(f"say which sessions ({', '.join(SessionFilter._fields)}), or all=1 for every one")
        ended = await self._sessions.cut(wanted)
        return respond(request, Document(f"{ended}\n", {"cut": ended}))

    async def top(self, request: web.Request) -> web.Response:
        """Who has most sessions."""
        with _refusals_as_problems():
            wanted = self._filter(request, "by", "n")
            by, number = read_group(request.query), read_number(request.query, "n", _ON_TOP, MOST_ON_TOP)
            return respond(request, session_views.top(by, await self._sessions.tally(by, wanted), number))

    async def slabs(self) -> list[list[Slab]]:
        """For views made of them."""
        with _refusals_as_problems():
            return await self._sessions.slabs()

    def _filter(self, request: web.Request, *more: str) -> SessionFilter:
        check_fields(request.query, (*SessionFilter._fields, *more, "format"))
        return read_filter(request.query, self._services())


@contextmanager
def _refusals_as_problems() -> Iterator[None]:
    try:
        yield
    except QueryError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, str(error), kind="bad-query", title="Bad query") from error
    except ShardDownError as error:
        detail = f"{error}; the appliance is starting it again"
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, kind="shard-down", title="Shard down") from error
    except ShardFailedError as error:
        raise ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error), kind="shard-failed", title="Shard failed") from error
