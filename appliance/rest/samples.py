"""The handler of ``/samples``: what the gateway counts at this moment, once, or every second as a stream.

However many watch, the sample of the gateway is made once in SAMPLE_S, and so is that of each window of services that somebody
watches; all who watch the same get the same bytes. While nobody watches, nothing is made.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

from aiohttp import web

from appliance.ipc.queries import QueryError
from appliance.rest.gateway import Gateway
from appliance.rest.identity import caller_of
from appliance.rest.places import Places, has_gone, send_stream, wants_stream
from appliance.rest.query_check import bad_query
from appliance.rest.respond import respond
from appliance.rest.ui_routes import MATCH_PATTERN, MATCH_RULE, OFFSET_MAX, VIEWERS
from appliance.views.samples import Condition, Window, as_event, gateway_sample, sample, services_sample

SAMPLE_S = 1.0
"""From one sample to the next."""

STREAM_S = 600.0
"""How long a stream goes on. Whoever watches asks again then, and by then a token that was taken away is known no more."""


class SampleHandlers:
    """The handler, who watches, and the sample of this moment."""

    def __init__(self, gateway: Gateway, now: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._now = now
        self._samples = _Samples(gateway, now)
        self.places = Places(VIEWERS, "others watch already; try again later, or ask for single samples")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer samples. Raises ProblemError: 400 for a field that is not allowed, 503 when too many watch already."""
        window = _window(request)
        if wants_stream(request):
            with self.places.one(is_writer=(await caller_of(self._gateway, request)).may_write):
                return await send_stream(request, self._pieces(request, window))
        return respond(request, sample(await self._samples.gateway(), self._samples.services(window)))

    async def _pieces(self, request: web.Request, window: Window) -> AsyncGenerator[bytes]:
        """A sample for each second, until the client goes or its time is over."""
        until = self._now() + STREAM_S
        while not has_gone(request) and self._now() < until:
            yield await self._samples.bytes(window)
            # All who watch wake up together, so that they get the same sample.
            await asyncio.sleep(SAMPLE_S - self._now() % SAMPLE_S)


class _Samples:
    """The samples of this second."""

    def __init__(self, gateway: Gateway, now: Callable[[], float]) -> None:
        self._gateway = gateway
        self._now = now
        self._making = asyncio.Lock()
        self._second = -1
        self._of_gateway = b""
        self._of_window: dict[Window, bytes] = {}

    async def gateway(self) -> dict[str, Any]:
        """That of the gateway, made anew."""
        gateway = self._gateway
        kernel_drops = await gateway.kernel_drops()
        condition = Condition(
            gateway.shard_states(),
            gateway.lane_state(),
            gateway.host_problems(),
            gateway.network_notes(),
            len(gateway.health.troubles),
            gateway.events.last,
        )
        return gateway_sample(gateway.shared, self._now(), condition, gateway.attacks, kernel_drops)

    def services(self, window: Window) -> dict[str, Any]:
        """That of the services of a window, made anew."""
        gateway = self._gateway
        return services_sample(gateway.shared, gateway.services, gateway.health.down, gateway.drains.slots, window)

    async def bytes(self, window: Window) -> bytes:
        """Both as events of a stream, made by the first one who asks for them in this second."""
        second = int(self._now() / SAMPLE_S)  # before the wait: whoever waited for a slow kernel gets what was made meanwhile
        async with self._making:
            if second > self._second:
                made = as_event("gateway", await self.gateway())
                self._second, self._of_gateway, self._of_window = second, made, {}
        if window not in self._of_window:
            self._of_window[window] = as_event("services", self.services(window))
        return self._of_gateway + self._of_window[window]


def _window(request: web.Request) -> Window:
    """The window of a query. Raises ProblemError: 400."""
    match, offset = request.query.get("match"), request.query.get("offset", "0")
    try:
        if match is not None and not re.fullmatch(MATCH_PATTERN, match):
            raise QueryError(f"match: {match[:80]!r} is not {MATCH_RULE}")
        if not (offset.isascii() and offset.isdigit() and len(offset) <= len(str(OFFSET_MAX)) and int(offset) <= OFFSET_MAX):
            raise QueryError(f"offset: {offset[:80]!r} is out of range 0..{OFFSET_MAX}")
    except QueryError as error:
        raise bad_query(error) from error
    return Window(match or "", int(offset))
