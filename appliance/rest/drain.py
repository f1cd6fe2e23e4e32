"""The handlers of drains: look at one, begin one, take one back."""

from aiohttp import web

from appliance.health.check import Target
from appliance.health.drain import LONGEST_DEADLINE_S
from appliance.ipc.queries import QueryError, number_in
from appliance.ipc.rows import DrainState
from appliance.model.did_you_mean import nearest
from appliance.rest.audit import note_change
from appliance.rest.gateway import Gateway
from appliance.rest.path_name import unknown_name
from appliance.rest.problem import ProblemError
from appliance.rest.query_check import bad_query
from appliance.rest.respond import respond
from appliance.views import drain

_LONGEST_SHOWN = 80
_MOST_COMPARED = 64
"""With how many names a wrong one is compared: that takes 0.15 ms for each, and anybody may ask."""


class DrainHandlers:
    """The handlers. All raise ProblemError (404) for a service or a real server that does not exist."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def show(self, request: web.Request) -> web.Response:
        """Answer how far the drain of a real server has come."""
        return self._answer(request, self._target(request))

    async def begin(self, request: web.Request) -> web.Response:
        """Drain a real server. Raises ProblemError: 400 for a deadline that is not allowed; then nothing changes."""
        target, deadline_s = self._target(request), _deadline_s(request)
        before = self._words(request, target)
        note_change(request, before=before, asked=_asked(deadline_s))
        try:
            await self._gateway.drains.begin(target, deadline_s)
        except KeyError as error:
            raise self._unknown(request) from error
        note_change(request, before=before, asked=_asked(deadline_s), after=self._words(request, target))
        return self._answer(request, target)

    async def take_back(self, request: web.Request) -> web.Response:
        """Take the drain of a real server back."""
        target = self._target(request)
        before = self._words(request, target)
        try:
            await self._gateway.drains.take_back(target)
        except KeyError as error:
            raise self._unknown(request) from error
        note_change(request, before=before, after=self._words(request, target))
        return self._answer(request, target)

    def _target(self, request: web.Request) -> Target:
        """The real server in the path, which is compared with those that there are, and never read."""
        asked = request.match_info["endpoint"]
        for name, address, port in self._servers(request.match_info["name"]):
            if asked == f"{address}:{port}":
                return Target(name, address, port)
        raise self._unknown(request)

    def _servers(self, service: str) -> list[tuple[str, str, int]]:
        found = [plan for plan in self._gateway.services if plan.name == service]
        return [(plan.name, server.address, server.port) for plan in found for server in plan.real_servers]

    def _unknown(self, request: web.Request) -> ProblemError:
        name, asked = request.match_info["name"], request.match_info["endpoint"]
        services = [plan.name for plan in self._gateway.services]
        if name not in services:
            return unknown_name(name, "service", services[:_MOST_COMPARED])
        endpoints = [f"{address}:{port}" for _, address, port in self._servers(name)]
        match = nearest(asked[:_LONGEST_SHOWN], endpoints[:_MOST_COMPARED])
        return unknown_name(asked, f"real server of service {name}", (), f"the nearest is {match}" if match else "")

    def _state(self, request: web.Request, target: Target) -> DrainState:
        try:
            return self._gateway.drains.state(target, self._gateway.health.troubles.get(target.service, ""))
        except KeyError as error:  # a reload has removed it meanwhile
            raise self._unknown(request) from error

    def _words(self, request: web.Request, target: Target) -> str:
        return drain.drain_line(self._state(request, target))

    def _answer(self, request: web.Request, target: Target) -> web.Response:
        return respond(request, drain.drain(self._state(request, target)))


def _asked(deadline_s: int | None) -> str:
    return "drain" if deadline_s is None else f"drain, deadline in {deadline_s} s"


def _deadline_s(request: web.Request) -> int | None:
    """The deadline in the query; None without one. Raises ProblemError (400) for anything but whole seconds in range."""
    text = request.query.get("deadline_s")
    if text is None:
        return None
    try:
        return number_in(text, "deadline_s", 0, LONGEST_DEADLINE_S, ", whole seconds")
    except QueryError as error:
        raise bad_query(error) from error
