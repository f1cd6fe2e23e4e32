"""The handlers of ``/conns`` and ``/stats/ip_vs_conn``: list sessions, count them, end them.

Sessions are read in pieces: all of them as a stream, or page by page, where a Link header names the next page (RFC 8288).
"""

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from urllib.parse import urlencode

from aiohttp import web

from appliance.ipc.queries import (
    QueryError,
    SessionFilter,
    ShardDownError,
    ShardFailedError,
    read_filter,
    read_group,
    read_number,
)
from appliance.ipc.rows import Consistency, Slab
from appliance.rest.accept_header import JSON, TEXT
from appliance.rest.audit import note_change
from appliance.rest.gateway import Sessions
from appliance.rest.problem import ProblemError
from appliance.rest.query_check import bad_query
from appliance.rest.respond import respond, wants_json
from appliance.rest.session_routes import PAGE_SESSIONS, PAGE_SESSIONS_MAX, TOP_LINES, TOP_LINES_MAX
from appliance.views import sessions
from appliance.views.document import Document

_LONGEST_SHOWN = 80


class SessionHandlers:
    """The handlers. `services` returns the names of all services."""

    def __init__(self, sessions: Sessions, services: Callable[[], Collection[str]]) -> None:
        self._sessions = sessions
        self._services = services

    async def list_sessions(self, request: web.Request) -> web.StreamResponse:
        """Answer the sessions that match a filter: all of them, or one page. Raises ProblemError: 400, 503."""
        with _refusals_as_problems():
            wanted = self._filter(request)
            if not request.query.keys() & {"limit", "after"}:
                return await self._stream(request, wanted)
            limit = read_number(request.query, "limit", PAGE_SESSIONS, PAGE_SESSIONS_MAX)
            page = await self._sessions.page(wanted, limit, request.query.get("after", ""))
        response = respond(request, sessions.page(page.rows))
        if page.after:
            query = urlencode({**request.query, "limit": limit, "after": page.after})
            response.headers["Link"] = f'<{request.path}?{query}>; rel="next"'
        return response

    async def list_all(self, request: web.Request) -> web.StreamResponse:
        """Answer all sessions, under the name that they have in LVS (`/proc/net/ip_vs_conn`)."""
        return await self._stream(request, SessionFilter())

    async def _stream(self, request: web.Request, wanted: SessionFilter) -> web.StreamResponse:
        """Answer sessions batch by batch; a batch is read from its shard only when the client has taken the one before."""
        content_type, render = (JSON, sessions.as_json) if wants_json(request) else (TEXT, sessions.as_text)
        response = web.StreamResponse()
        response.content_type, response.charset = content_type, "utf-8"
        await response.prepare(request)
        if request.method == "GET":
            async for piece in render(self._sessions.rows(wanted)):
                try:
                    await response.write(piece.encode())
                except ConnectionError:
                    break  # The client closed the connection, as in `curl … | head`. That is not an error.
                # A write waits only for a slow client. Without this, a fast client would keep the director from all other work.
                await asyncio.sleep(0)
        return response

    async def cut_sessions(self, request: web.Request) -> web.Response:
        """End the sessions that match a filter, and answer their number. Raises ProblemError: 400.

        A request without a filter could be a mistake, so it ends all sessions only with `all=1`.
        """
        with _refusals_as_problems():
            wanted = self._filter(request)
            if request.query.get("all", "1") != "1":
                raise QueryError(f"all: {request.query['all'][:_LONGEST_SHOWN]!r} is not 1")
            if not any(wanted) and "all" not in request.query:
                raise QueryError(f"say which sessions ({', '.join(SessionFilter._fields)}), or all=1 for all sessions")
        ended = await self._sessions.cut(wanted)
        note_change(request, after=f"{ended} sessions ended")
        return respond(request, Document(f"{ended}\n", {"cut": ended}))

    async def top(self, request: web.Request) -> web.Response:
        """Answer which clients, services or real servers have most sessions. Raises ProblemError: 400, 503."""
        with _refusals_as_problems():
            wanted = self._filter(request)
            by, number = read_group(request.query), read_number(request.query, "n", TOP_LINES, TOP_LINES_MAX)
            return respond(request, sessions.top(by, await self._sessions.tally(by, wanted), number))

    async def slabs(self) -> list[list[Slab]]:
        """The tables and pools of each shard. Raises ProblemError: 503."""
        with _refusals_as_problems():
            return await self._sessions.slabs()

    async def consistency(self) -> list[Consistency]:
        """Whether what each shard has agrees with itself and with the lane. Raises ProblemError: 503."""
        with _refusals_as_problems():
            return await self._sessions.consistency()

    def _filter(self, request: web.Request) -> SessionFilter:
        return read_filter(request.query, self._services())


@contextmanager
def _refusals_as_problems() -> Iterator[None]:
    try:
        yield
    except QueryError as error:
        raise bad_query(error) from error
    except ShardDownError as error:
        detail = f"{error}; the appliance is starting it again"
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, kind="shard-down", title="Shard down") from error
    except ShardFailedError as error:
        raise ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error), kind="shard-failed", title="Shard failed") from error
