"""The admin API: which URL shows which view, and how a tunable is written. It knows the director only as a `Gateway`.

Every view comes as text or as JSON from the same URL; every refusal is a problem document.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple, NoReturn, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from appliance.ipc.messages import ServicePlan
from appliance.ipc.queries import SessionFilter
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import EXT_COUNTERS
from appliance.model.did_you_mean import nearest
from appliance.model.rates import Rates
from appliance.model.tunables import TUNABLES, TunableError
from appliance.rest.listen import ListenError, serve
from appliance.rest.problem import ProblemError, problem_middleware
from appliance.rest.put_body import AskedValue, read_asked_value
from appliance.rest.respond import respond
from appliance.rest.sessions import SessionHandlers, Sessions
from appliance.views import counters, proc, services, tunables
from appliance.views.counters import ShardState
from appliance.views.document import Document
from appliance.views.routes import index

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

_FILTER = ", ".join(SessionFilter._fields)

_EXT_NAMES = {counter.name: counter.name for counter in EXT_COUNTERS} | _EXT_ALIASES


class Gateway(Protocol):
    """What the API needs of the director."""

    shared: SharedState
    services: tuple[ServicePlan, ...]

    @property
    def sessions(self) -> Sessions:
        """The sessions."""

    async def set_tunable(self, name: str, value: int) -> None:
        """Put a value in force. Raises TunableError, and changes nothing, when it is not allowed."""

    async def kernel_drops(self) -> dict[str, int]:
        """Packets that the kernel has dropped for the defence, by extended counter."""

    def shard_states(self) -> list[ShardState]:
        """How the workers are."""

    def rates(self) -> Rates:
        """Events per second in the order of `counters.TRAFFIC_FIELDS`."""

    def host_sockstat(self) -> Mapping[str, Mapping[str, int]]:
        """The host's own sockets and fragments, by kind and name."""

    def host_conntrack(self) -> Mapping[str, int] | None:
        """The host's own connection tracking; None while it tracks nothing."""


class _Route(NamedTuple):
    path: str
    summary: str
    get: Handler
    put: Handler | None = None
    delete: Handler | None = None

    @property
    def methods(self) -> str:
        return ", ".join(name for name, handler in (("GET", self.get), ("PUT", self.put), ("DELETE", self.delete)) if handler)


def make_app(gateway: Gateway) -> web.Application:
    """The whole API as an application that is not bound to any address yet."""
    api = _Api(gateway)
    routes = api.routes()
    app = web.Application(middlewares=_middlewares(routes), client_max_size=_LONGEST_BODY_BYTES)
    for route in routes:
        app.router.add_get(route.path, route.get)
        if route.put:
            app.router.add_put(route.path, route.put)
        if route.delete:
            app.router.add_delete(route.path, route.delete)
    app.on_response_prepare.append(_forbid_caching)
    return app


class _Api:
    """The handlers, each a few words between a request and a view."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._sessions = SessionHandlers(gateway.sessions, lambda: [service.name for service in gateway.services])

    def routes(self) -> list[_Route]:
        """Every route there is; the index and the hints of a 404 are made from this list."""
        gateway, shared, sessions = self._gateway, self._gateway.shared, self._sessions
        routes = [
            _Route("/", "this list", _show(lambda: index([(r.path, r.methods, r.summary) for r in routes]))),
            _Route("/healthz", "200 while every shard is up, else 503", self._health),
            _Route("/sysctl", "all tunables with default, range, unit and meaning", _show(lambda: tunables.all_tunables(shared))),
            _Route("/sysctl/{name}", "one tunable: read it, or write it with PUT", self._sysctl, self._put_sysctl),
            _Route("/stats/ext", "extended counters", self._ext_stats),
            _Route("/stats/ext/{name}", "the total of one extended counter", self._ext_stat),
            _Route("/stats/ip_vs", "services and real servers", _show(lambda: services.services(shared, gateway.services))),
            _Route("/stats/ip_vs_stats", "traffic and its rates", _show(lambda: counters.traffic(shared, gateway.rates()))),
            _Route("/stats/ip_vs_conn", "sessions", sessions.list_all),
            _Route("/stats/drops", "packets not translated, by reason", _show(lambda: counters.drops(shared))),
            _Route("/stats/queues", "what befell queues, workers and sessions", _show(lambda: counters.queues(shared))),
            _Route("/stats/slabinfo", "tables and pools: objects, their size, pages", self._slabinfo),
            _Route("/stats/sockstat", "sessions as sockets, beside the host's own", self._sockstat),
            _Route(
                "/stats/conntrack",
                "the table of sessions beside the host's connection tracking",
                _show(lambda: proc.conntrack(shared, gateway.host_conntrack())),
            ),
            _Route(
                "/conns",
                f"sessions; filter: {_FILTER}; limit, after; DELETE cuts them",
                sessions.list_sessions,
                None,
                sessions.cut_sessions,
            ),
            _Route("/conns/top", f"who has most; by=client, service or real_server; n; filter: {_FILTER}", sessions.top),
        ]
        return routes

    async def _health(self, request: web.Request) -> web.Response:
        states = self._gateway.shard_states()
        everything_up = all(state.up for state in states)
        return respond(request, services.health(states), HTTPStatus.OK if everything_up else HTTPStatus.SERVICE_UNAVAILABLE)

    async def _sysctl(self, request: web.Request) -> web.Response:
        return respond(request, tunables.one_tunable(self._gateway.shared, _known_name(request, "tunable", TUNABLES)))

    async def _put_sysctl(self, request: web.Request) -> web.Response:
        name = _known_name(request, "tunable", TUNABLES)
        asked = await _read_body(request)
        try:
            await self._gateway.set_tunable(name, asked.for_tunable(name))
        except TunableError as error:
            self._refuse(name, asked, error)
        return respond(request, tunables.one_tunable(self._gateway.shared, name))

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
        return respond(request, counters.ext_stats(self._gateway.shared, await self._gateway.kernel_drops()))

    async def _ext_stat(self, request: web.Request) -> web.Response:
        name = _known_name(request, "counter", _EXT_NAMES)
        return respond(request, counters.ext_stat(self._gateway.shared, await self._gateway.kernel_drops(), _EXT_NAMES[name]))

    async def _slabinfo(self, request: web.Request) -> web.Response:
        return respond(request, proc.slabinfo(await self._sessions.slabs()))

    async def _sockstat(self, request: web.Request) -> web.Response:
        gateway, slabs = self._gateway, await self._sessions.slabs()
        workers = sum(state.up for state in gateway.shard_states())
        return respond(request, proc.sockstat(gateway.shared, slabs, workers, gateway.host_sockstat()))


def _show(view: Callable[[], Document]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def show(request: web.Request) -> web.Response:
        return respond(request, view())

    return show


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


async def _forbid_caching(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Cache-Control"] = "no-store"
