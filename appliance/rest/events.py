"""The handler of ``/events``: the latest events as a list, which may wait for the next one, or as a stream without end."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import suppress

from aiohttp import web

from appliance.ipc.queries import QueryError, number_in, read_number
from appliance.rest.drain_routes import EVENTS, EVENTS_MAX, LISTENERS, NUMBER_MAX, WAIT_MAX_S
from appliance.rest.gateway import Gateway
from appliance.rest.identity import caller_of
from appliance.rest.places import ALIVE, Places, has_gone, send_stream, wants_stream
from appliance.rest.query_check import bad_query
from appliance.rest.respond import respond
from appliance.views import drain

ALIVE_S = 15.0
"""How often a stream says that it is still there, so that both ends notice when the other one is not."""

_LOOK_S = 1.0
"""How often a request that waits is looked at: whoever has gone gives his place back."""


class EventHandlers:
    """The handler, and who listens."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.places = Places(LISTENERS, "others wait for events already; try again later, or ask without wait_s")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer events. Raises ProblemError: 400 for a field that is not allowed, 503 when too many listen already."""
        try:
            since, limit = _since(request), read_number(request.query, "limit", EVENTS, EVENTS_MAX)
            wait_s = number_in(request.query.get("wait_s", "0"), "wait_s", 0, WAIT_MAX_S)
        except QueryError as error:
            raise bad_query(error) from error
        is_head = request.method == "HEAD"
        if wants_stream(request):
            with self.places.one(is_writer=(await caller_of(self._gateway, request)).may_write):
                return await send_stream(request, self._pieces(request, self._gateway.events.last if since is None else since))
        found = self._gateway.events.since(since or 0, limit)
        if wait_s and not (found.events or found.are_missing or is_head):
            with self.places.one(is_writer=(await caller_of(self._gateway, request)).may_write):
                await self._wait(request, since or 0, wait_s)
            found = self._gateway.events.since(since or 0, limit)
        return respond(request, drain.events(found))

    async def _wait(self, request: web.Request, after: int, wait_s: float) -> bool:
        """Wait until there are events behind a number, for some seconds at most; False when the client has gone meanwhile."""
        events, until = self._gateway.events, time.monotonic() + wait_s
        while not has_gone(request):
            left_s = until - time.monotonic()
            if left_s <= 0 or (found := events.since(after, 1)).events or found.are_missing:
                return True
            with suppress(TimeoutError):
                await asyncio.wait_for(events.news(), min(left_s, _LOOK_S))
        return False

    async def _pieces(self, request: web.Request, after: int) -> AsyncGenerator[bytes]:
        """What is sent of the events behind a number, until the client goes."""
        while await self._wait(request, after, ALIVE_S):
            found = self._gateway.events.since(after, EVENTS)
            after = found.last
            yield drain.as_stream(found) or ALIVE


def _since(request: web.Request) -> int | None:
    """The number that a client goes on behind: that of its last event, which a browser sends by itself, or that of the query."""
    text = request.headers.get("Last-Event-ID") or request.query.get("since")
    return None if text is None else number_in(text, "since", 0, NUMBER_MAX)
