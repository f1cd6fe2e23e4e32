"""The admin API: which URL shows which view, and how a tunable is written. It knows the director only as a `Gateway`.

Every view comes as text or as JSON from the same URL; every refusal is a problem document.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple, NoReturn, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from appliance import views
from appliance.asked_value import AskedValue, read_asked_value
from appliance.control import ServicePlan, SessionRow
from appliance.listen import ListenError, serve
from appliance.nearest import nearest
from appliance.negotiation import JSON, TEXT, prefers_json
from appliance.problem import ProblemError, problem_middleware
from appliance.rates import Rates
from appliance.shared_state import SharedState
from appliance.stats import EXT_COUNTERS
from appliance.tunables import TUNABLES, TunableError
from appliance.views import Document, ShardState

__all__ = ["Gateway", "ListenError", "make_app", "serve"]

_LONGEST_BODY_BYTES = 4096

_EXT_ALIASES = {
    "fullnat_conn_reused_closewait": "fullnat_conn_reused_closetimeout",
    "synproxy_conn_reused_closewait": "synproxy_conn_reused_closetimeout",
    "synproxy_conn_reuse": "synproxy_conn_reused",
    "synproxy_ackstorm": "synproxy_ack_storm",
    "synproxy_synsend_qlen": "synproxy_synsent_qlen",
}
"""What the LVS kernels call some counters, for monitoring written for them. Answers always use the names on the right."""

_EXT_NAMES = {counter.name: counter.name for counter in EXT_COUNTERS} | _EXT_ALIASES


class Gateway(Protocol):
    """What the API needs of the director."""

    shared: SharedState
    services: tuple[ServicePlan, ...]

    async def set_tunable(self, name: str, value: int) -> None:
        """Put a value in force. Raises TunableError, and changes nothing, when it is not allowed."""

    async def kernel_drops(self) -> dict[str, int]:
        """Packets that the kernel has dropped for the defence, by extended counter."""

    def shard_states(self) -> list[ShardState]:
        """How the workers are."""

    def rates(self) -> Rates:
        """Events per second in the order of `views.TRAFFIC_FIELDS`."""

    def sessions(self) -> AsyncIterator[list[SessionRow]]:
        """All sessions in batches, each read when it is asked for."""


class _Route(NamedTuple):
    path: str
    summary: str
    get: Handler
    put: Handler | None = None

    @property
    def methods(self) -> str:
        return "GET, PUT" if self.put else "GET"


def make_app(gateway: Gateway) -> web.Application:
    """The whole API as an application that is not bound to any address yet."""
    api = _Api(gateway)
    routes = api.routes()
    app = web.Application(middlewares=_middlewares(routes), client_max_size=_LONGEST_BODY_BYTES)
    for route in routes:
        app.router.add_get(route.path, route.get)
        if route.put:
            app.router.add_put(route.path, route.put)
    app.on_response_prepare.append(_forbid_caching)
    return app


class _Api:
    """The handlers, each a few words between a request and a view."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[_Route]:
        """Every route there is; the index and the hints of a 404 are made from this list."""
        gateway, shared = self._gateway, self._gateway.shared
        routes = [
            _Route("/", "this list", _show(lambda: views.index([(r.path, r.methods, r.summary) for r in routes]))),
            _Route("/healthz", "200 while every shard is up, else 503", self._health),
            _Route("/sysctl", "all tunables with default, range, unit and meaning", _show(lambda: views.sysctls(shared))),
            _Route("/sysctl/{name}", "one tunable: read it, or write it with PUT", self._sysctl, self._put_sysctl),
            _Route("/stats/ext", "extended counters", self._ext_stats),
            _Route("/stats/ext/{name}", "the total of one extended counter", self._ext_stat),
            _Route("/stats/ip_vs", "services and real servers", _show(lambda: views.services(shared, gateway.services))),
            _Route("/stats/ip_vs_stats", "traffic and its rates", _show(lambda: views.traffic(shared, gateway.rates()))),
            _Route("/stats/ip_vs_conn", "sessions", self._sessions),
            _Route("/stats/drops", "packets not translated, by reason", _show(lambda: views.drops(shared))),
            _Route("/stats/queues", "what befell queues and workers", _show(lambda: views.queues(shared))),
        ]
        return routes

    async def _health(self, request: web.Request) -> web.Response:
        states = self._gateway.shard_states()
        everything_up = all(state.up for state in states)
        return _respond(request, views.health(states), HTTPStatus.OK if everything_up else HTTPStatus.SERVICE_UNAVAILABLE)

    async def _sysctl(self, request: web.Request) -> web.Response:
        return _respond(request, views.sysctl(self._gateway.shared, _known_name(request, "tunable", TUNABLES)))

    async def _put_sysctl(self, request: web.Request) -> web.Response:
        name = _known_name(request, "tunable", TUNABLES)
        asked = await _read_body(request)
        try:
            await self._gateway.set_tunable(name, asked.for_tunable(name))
        except TunableError as error:
            self._refuse(name, asked, error)
        return _respond(request, views.sysctl(self._gateway.shared, name))

    def _refuse(self, name: str, asked: AskedValue, error: TunableError) -> NoReturn:
        tunable, in_force = TUNABLES[name], self._gateway.shared.tunable(name)
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{error}; the value stays {in_force}",
            kind="value-refused",
            title="Value refused",
            name=name,
            value=in_force,
            min=tunable.min,
            max=tunable.max,
            unit=tunable.unit,
            given=asked.shown,
        ) from error

    async def _ext_stats(self, request: web.Request) -> web.Response:
        return _respond(request, views.ext_stats(self._gateway.shared, await self._gateway.kernel_drops()))

    async def _ext_stat(self, request: web.Request) -> web.Response:
        name = _known_name(request, "counter", _EXT_NAMES)
        return _respond(request, views.ext_stat(self._gateway.shared, await self._gateway.kernel_drops(), _EXT_NAMES[name]))

    async def _sessions(self, request: web.Request) -> web.StreamResponse:
        """All sessions, batch by batch: a batch is asked for when the client has taken the one before."""
        content_type, render = (JSON, _sessions_json) if _wants_json(request) else (TEXT, _sessions_text)
        response = web.StreamResponse()
        response.content_type, response.charset = content_type, "utf-8"
        await response.prepare(request)
        if request.method == "GET":
            async for piece in render(self._gateway.sessions()):
                try:
                    await response.write(piece.encode())
                except ConnectionResetError:
                    break  # The client has seen enough, as in `curl … | head`: no error of ours.
                # A write waits only when the client is slow. One that keeps up must not keep the director from its work.
                await asyncio.sleep(0)
        return response


async def _sessions_text(batches: AsyncIterator[list[SessionRow]]) -> AsyncIterator[str]:
    yield views.SESSIONS_TEXT_HEAD
    async for batch in batches:
        yield "".join(map(views.session_text, batch))


async def _sessions_json(batches: AsyncIterator[list[SessionRow]]) -> AsyncIterator[str]:
    """One JSON list, a session a line; it is closed only when every session is in it."""
    before = "[\n"
    async for batch in batches:
        if batch:
            yield before + ",\n".join(json.dumps(views.session_data(row)) for row in batch)
            before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _show(view: Callable[[], Document]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def show(request: web.Request) -> web.Response:
        return _respond(request, view())

    return show


def _respond(request: web.Request, document: Document, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    if _wants_json(request):
        return web.Response(status=status, text=views.to_json(document.data), content_type=JSON)
    return web.Response(status=status, text=document.text, content_type=TEXT)


def _known_name(request: web.Request, kind: str, known: Mapping[str, object]) -> str:
    """The NAME of the path. Raises a 404 with the nearest name when there is no such one."""
    name = request.match_info["name"]
    if name in known:
        return name
    match = nearest(name[:80], known)
    hint = f"; the nearest is {match}" if match else ""
    raise ProblemError(
        HTTPStatus.NOT_FOUND,
        f"there is no {kind} {name[:80]!r}{hint}",
        kind="unknown-name",
        title=f"Unknown {kind}",
        name=name[:80],
        nearest=match,
    )


async def _read_body(request: web.Request) -> AskedValue:
    try:
        return read_asked_value(await request.read(), request.content_type)
    except ValueError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body is no JSON: {error}") from error
    except web.RequestPayloadError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body cannot be read: {error}") from error


def _middlewares(routes: list[_Route]) -> list[Middleware]:
    return [problem_middleware([route.path for route in routes]), _refuse_unknown_format]


@web.middleware
async def _refuse_unknown_format(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Before anything is done, so that a PUT with a wrong ``?format=`` changes nothing."""
    wanted = request.query.get("format", "text")
    if wanted not in ("text", "json"):
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"there is no format {wanted[:80]!r}; there are text and json")
    return await handler(request)


def _wants_json(request: web.Request) -> bool:
    wanted = request.query.get("format")
    return wanted == "json" if wanted else prefers_json(request.headers.get("Accept", "*/*"))


async def _forbid_caching(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Cache-Control"] = "no-store"
