"""The handler of ``/metrics``: the page for Prometheus.

However many ask, a form of the page is made once in FRESH_S, and all of them get the same bytes. So nobody can keep the director
busy with it, and it needs none of the seats that readers of long lists may hold: monitoring works while they do. All answers
share the bytes in memory too, of which each connection gets a piece after the other, as its client reads.

The page is made in a thread, from numbers that workers write without a lock; no worker, and so no packet, waits for it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import TypeAlias

from aiohttp import web

from appliance.metrics.page import Form, compress, content_type, render
from appliance.metrics.reading import Reading
from appliance.rest.accept_header import JSON, TEXT, preferred, takes_gzip
from appliance.rest.gateway import Gateway
from appliance.rest.long_answer import send_long

FRESH_S = 1.0
"""For how long a page is answered again. Prometheus asks every few seconds at most."""

_Bytes: TypeAlias = tuple[bytes, bytes]
"""A page, plain and compressed."""

_OFFERS = (TEXT, Form.OPENMETRICS.value, JSON)


class MetricsHandlers:
    """The handler, and the page in each of its forms."""

    def __init__(self, gateway: Gateway, now: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._pages = {form: _Page(partial(self._made, form), now) for form in Form}

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Answer the page in the form that the client prefers."""
        form = _form(request)
        plain, zipped = await self._pages[form].bytes()
        headers = {"Content-Type": content_type(form)}
        if takes_gzip(request.headers.get("Accept-Encoding", "")):
            return await send_long(request, zipped, headers | {"Content-Encoding": "gzip"})
        return await send_long(request, plain, headers)

    async def _made(self, form: Form) -> _Bytes:
        """Compressed too, since Prometheus wants that, and it costs a twentieth of the rest."""
        plain = await asyncio.to_thread(render, form, await read(self._gateway))
        return plain, await asyncio.to_thread(compress, plain)


def _form(request: web.Request) -> Form:
    return Form(preferred(_OFFERS, {"json": JSON, "text": TEXT}.get(request.query.get("format", "")) or _accept(request)))


def _accept(request: web.Request) -> str:
    return request.headers.get("Accept", "*/*")


async def read(gateway: Gateway) -> Reading:
    """What the gateway says at this moment. What it cannot read is None or empty, and the page says so."""
    drops, lane = await gateway.kernel_drops(), await gateway.lane_stats()
    return Reading(
        shared=gateway.shared,
        services=gateway.services,
        shards=gateway.shard_states(),
        duties=gateway.duty_states(),
        lane=lane,
        lane_is_read=bool(lane.counts) or lane.lane.state == "off",
        kernel_drops=drops if gateway.kernel_drops_are_known() else None,
        conntrack=gateway.host_conntrack(),
        problems=len(gateway.host_problems()),
        missing_addresses=len(gateway.missing_addresses()),
        down=gateway.health.down,
        troubled=frozenset(gateway.health.troubles),
        drained=frozenset(gateway.drains.slots),
        access_drops=await gateway.access_control.drops(),
        attacks=gateway.attacks,
        session_log=gateway.session_log.counts,
    )


class _Page:
    """One form of the page. There is one making of it at a time, and a new one not before FRESH_S."""

    def __init__(self, make: Callable[[], Awaitable[_Bytes]], now: Callable[[], float]) -> None:
        self._make = make
        self._now = now
        self._last: _Bytes = (b"", b"")
        self._fresh_until = -inf
        self._making: asyncio.Future[None] | None = None

    async def bytes(self) -> _Bytes:
        """The page of FRESH_S ago or later. Raises what the making of it raised; the next one who asks has it made anew."""
        if self._making is None and self._now() >= self._fresh_until:
            self._making = asyncio.ensure_future(self._make_anew())
        if self._making is not None:
            await asyncio.shield(self._making)  # one who does not wait any longer ends it for nobody else
        return self._last

    async def _make_anew(self) -> None:
        began = self._now()
        try:
            self._last = await self._make()
            self._fresh_until = began + FRESH_S
        finally:
            self._making = None
