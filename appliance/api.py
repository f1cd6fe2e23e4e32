"""The admin API: the application that answers every route of `rest.routes`. It knows the director only as a `Gateway`.

Every view is answered as text or as JSON from the same URL; every refusal is a problem document.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from appliance.rest.audit import AuditLog, audit
from appliance.rest.caller import check_host, check_origin, check_writer
from appliance.rest.config import ConfigHandlers
from appliance.rest.docs_page import DocsHandlers
from appliance.rest.drain import DrainHandlers
from appliance.rest.events import EventHandlers
from appliance.rest.ext_counters import ExtCounterHandlers
from appliance.rest.gateway import Gateway
from appliance.rest.host import HostParameterHandlers
from appliance.rest.identity import check_token
from appliance.rest.listen import ListenError, serve
from appliance.rest.long_answer import respond_long
from appliance.rest.metrics import MetricsHandlers
from appliance.rest.persistence import PersistenceHandlers
from appliance.rest.problem import problem_middleware
from appliance.rest.query_check import check_query
from appliance.rest.respond import respond
from appliance.rest.routes import LONGEST_BODY_BYTES, ROUTES
from appliance.rest.samples import SampleHandlers
from appliance.rest.seats import take_seat
from appliance.rest.service_routes import ONE
from appliance.rest.services import ServiceHandlers
from appliance.rest.sessions import SessionHandlers
from appliance.rest.sysctl import SysctlHandlers
from appliance.rest.trace import TraceHandlers
from appliance.rest.ui_page import UiHandlers
from appliance.views import counters, proc
from appliance.views.attack import attacks
from appliance.views.consistency import consistency
from appliance.views.doctor import report
from appliance.views.document import Document
from appliance.views.health import real_server_health
from appliance.views.lane import lane
from appliance.views.routes import index
from appliance.views.services import health, services

__all__ = ["Gateway", "ListenError", "make_app", "serve"]


def make_app(gateway: Gateway) -> web.Application:
    """The whole API, as an application that is not bound to any address yet."""
    middlewares = [
        audit(AuditLog()),
        problem_middleware([route.path for route in ROUTES]),
        check_host(gateway),
        check_origin,
        check_token(gateway),
        check_query,
        check_writer(gateway),
        take_seat(gateway),
    ]
    app = web.Application(middlewares=middlewares, client_max_size=LONGEST_BODY_BYTES)
    handlers = _handlers(gateway)
    # add_get answers HEAD too; add_route("GET", ...) would not.
    add = {"GET": app.router.add_get, "PUT": app.router.add_put, "DELETE": app.router.add_delete}
    add |= {"POST": app.router.add_post, "PATCH": app.router.add_patch}
    for route in ROUTES:
        for method in route.methods:
            add[method](route.path, handlers[method, route.path])
    app.on_response_prepare.append(_forbid_caching)
    return app


def _handlers(gateway: Gateway) -> Mapping[tuple[str, str], Handler]:
    """The handler of each method and path of ROUTES."""
    shared = gateway.shared
    tunables, ext_counters = SysctlHandlers(gateway), ExtCounterHandlers(gateway)
    sessions = SessionHandlers(gateway.sessions, lambda: [service.name for service in gateway.services])
    status, host = _StatusHandlers(gateway, sessions), HostParameterHandlers(gateway)
    remembered = PersistenceHandlers(gateway)
    drains, drain = DrainHandlers(gateway), "/services/{name}/real_servers/{endpoint}/drain"
    return {
        ("GET", "/"): _show(lambda: index([(route.path, ", ".join(route.methods), route.summary) for route in ROUTES])),
        ("GET", "/healthz"): status.health,
        ("GET", "/sysctl"): tunables.list_all,
        ("GET", "/sysctl/{name}"): tunables.read,
        ("PUT", "/sysctl/{name}"): tunables.write,
        ("GET", "/stats/ext"): ext_counters.list_all,
        ("GET", "/stats/ext/{name}"): ext_counters.read,
        ("GET", "/stats/ip_vs"): _show_long(lambda: _look_at_services(gateway)),
        ("GET", "/stats/ip_vs_stats"): _show(lambda: counters.traffic(shared, gateway.rates())),
        ("GET", "/stats/ip_vs_conn"): sessions.list_all,
        ("GET", "/stats/drops"): _show(lambda: counters.drops(shared)),
        ("GET", "/stats/queues"): _show(lambda: counters.queues(shared)),
        ("GET", "/stats/lane"): status.lane,
        ("GET", "/stats/slabinfo"): status.slabinfo,
        ("GET", "/stats/consistency"): status.consistency,
        ("GET", "/stats/sockstat"): status.sockstat,
        ("GET", "/stats/conntrack"): _show(lambda: proc.conntrack(shared, gateway.host_conntrack())),
        ("GET", "/conns"): sessions.list_sessions,
        ("DELETE", "/conns"): sessions.cut_sessions,
        ("GET", "/conns/top"): sessions.top,
        ("GET", "/stats/persistence"): remembered.count,
        ("GET", "/persistence"): remembered.list_clients,
        ("GET", "/metrics"): MetricsHandlers(gateway).show,
        ("GET", "/doctor"): status.doctor,
        ("GET", "/host/sysctl"): host.list_all,
        ("GET", "/host/sysctl/{name}"): host.read,
        ("PUT", "/host/sysctl/{name}"): host.write,
        ("GET", "/stats/ip_vs_ext_stats"): ext_counters.list_all,
        ("GET", "/stats/ip_vs_ext_stats/{name}"): ext_counters.read,
        ("GET", "/stats/attack"): _show(lambda: attacks(gateway.attacks.under_way.values(), gateway.attacks.ended)),
        ("GET", "/health"): _show_long(lambda: _look_at_health(gateway)),
        ("GET", drain): drains.show,
        ("POST", drain): drains.begin,
        ("DELETE", drain): drains.take_back,
        ("GET", "/events"): EventHandlers(gateway).answer,
        ("POST", "/trace"): TraceHandlers(gateway).answer,
        **_change_handlers(gateway),
        **_page_handlers(gateway),
    }


def _page_handlers(gateway: Gateway) -> Mapping[tuple[str, str], Handler]:
    """Those of the page that shows the gateway live."""
    ui, docs = UiHandlers(), DocsHandlers(ROUTES)
    return {
        ("GET", "/openapi.json"): docs.openapi,
        ("GET", "/docs"): docs.page,
        ("GET", "/docs/{name}"): docs.asset,
        ("GET", "/ui"): ui.to_page,
        ("GET", "/ui/"): ui.page,
        ("GET", "/ui/{name}"): ui.asset,
        ("GET", "/samples"): SampleHandlers(gateway).answer,
    }


def _change_handlers(gateway: Gateway) -> Mapping[tuple[str, str], Handler]:
    """Those of the configuration and of what can be changed in it."""
    config, changed = ConfigHandlers(gateway), ServiceHandlers(gateway)
    return {
        ("GET", "/config"): config.show,
        ("POST", "/config/plan"): config.plan,
        ("POST", "/config/apply"): config.apply,
        ("POST", "/config/confirm"): config.confirm,
        ("POST", "/config/save"): config.save,
        ("GET", "/services"): changed.list_services,
        ("POST", "/services"): changed.add_service,
        ("GET", "/services/{name}/real_servers"): changed.list_real_servers,
        ("POST", "/services/{name}/real_servers"): changed.add_real_server,
        ("GET", "/pools"): changed.list_pools,
        **{("GET", path): changed.read for path in ONE},
        **{("DELETE", path): changed.remove for path in ONE},
        **{(method, path): changed.write for method in ("PUT", "PATCH") for path in ONE},
    }


class _StatusHandlers:
    """The handlers of views that need the workers: their health, and the tables in them."""

    def __init__(self, gateway: Gateway, sessions: SessionHandlers) -> None:
        self._gateway = gateway
        self._sessions = sessions

    async def health(self, request: web.Request) -> web.Response:
        gateway = self._gateway
        document = health(
            gateway.shard_states(),
            gateway.duty_states(),
            gateway.host_problems(),
            gateway.missing_addresses(),
            gateway.lane_state(),
            gateway.health.troubles,
            gateway.network_notes(),
        )
        is_well = document.data["status"] == "ok"
        return respond(request, document, HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE)

    async def lane(self, request: web.Request) -> web.Response:
        gateway = self._gateway
        return respond(request, lane(gateway.shared, await gateway.lane_stats(), await gateway.lane_rings()))

    async def doctor(self, request: web.Request) -> web.Response:
        return respond(request, report(await self._gateway.examine()))

    async def slabinfo(self, request: web.Request) -> web.Response:
        return respond(request, proc.slabinfo(await self._sessions.slabs()))

    async def consistency(self, request: web.Request) -> web.Response:
        return respond(request, consistency(await self._sessions.consistency()))

    async def sockstat(self, request: web.Request) -> web.Response:
        gateway, slabs = self._gateway, await self._sessions.slabs()
        workers = sum(state.up for state in gateway.shard_states())
        return respond(request, proc.sockstat(gateway.shared, slabs, workers, gateway.host_sockstat()))


def _show(view: Callable[[], Document]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that answers a view without any parameter."""

    async def show(request: web.Request) -> web.Response:
        return respond(request, view())

    return show


def _show_long(look: Callable[[], Callable[[], Document]]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The same for a view that may be long. What `look` returns makes it, in a thread."""

    async def show(request: web.Request) -> web.StreamResponse:
        return await respond_long(request, look())

    return show


def _look_at_services(gateway: Gateway) -> Callable[[], Document]:
    return partial(services, gateway.shared, gateway.services, gateway.health.down, frozenset(gateway.drains.slots))


def _look_at_health(gateway: Gateway) -> Callable[[], Document]:
    changes = tuple(gateway.health.recent)
    return lambda: real_server_health(gateway.health.rows(), changes)


async def _forbid_caching(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Cache-Control"] = "no-store"
