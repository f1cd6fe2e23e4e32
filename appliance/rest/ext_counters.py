"""The handlers of ``/stats/ext``: the extended counters, all of them or one by its name."""

from aiohttp import web

from appliance.model.counters import EXT_ALIASES, EXT_COUNTERS
from appliance.rest.gateway import Gateway
from appliance.rest.path_name import known_name
from appliance.rest.respond import respond
from appliance.views.counters import ext_stat, ext_stats

EXT_NAMES = {counter.name: counter.name for counter in EXT_COUNTERS} | dict(EXT_ALIASES)
"""Each name that a counter is understood under -> its name here."""


class ExtCounterHandlers:
    """The handlers. The numbers come from the shared memory, and from the kernel for what it drops itself."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def list_all(self, request: web.Request) -> web.Response:
        """Answer all extended counters."""
        return respond(request, ext_stats(self._gateway.shared, await self._gateway.kernel_drops()))

    async def read(self, request: web.Request) -> web.Response:
        """Answer one extended counter. Raises ProblemError: 404 for an unknown name."""
        name = EXT_NAMES[known_name(request, "counter", EXT_NAMES)]
        return respond(request, ext_stat(self._gateway.shared, await self._gateway.kernel_drops(), name))
