"""Who may ask what: the checks of a request that look at its sender, and not at what it says.

The API has no passwords yet, so these checks keep out whom they can: web pages that use the browser of somebody on this host, and
local users who have no business with the gateway.
"""

import socket
from http import HTTPStatus
from ipaddress import ip_address

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from appliance.rest.connections import Connection
from appliance.rest.gateway import Gateway
from appliance.rest.operation import Operation
from appliance.rest.problem import ProblemError
from appliance.rest.query_check import operation_of

_LONGEST_SHOWN = 80
_OWN_SITE = ("same-origin", "none")
"""Values of Sec-Fetch-Site for a page of the API itself, and for a URL that a person typed."""


@web.middleware
async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses a request for another host: a web page can give its own name the address of this one (DNS rebinding)."""
    hosts = request.headers.getall("Host", [])
    # HTTP/1.0 has no Host, and no browser speaks it.
    if not (len(hosts) == 1 and _is_ours(request, hosts[0])) and not (not hosts and request.version < (1, 1)):
        shown = hosts[0][:_LONGEST_SHOWN] if hosts else ""
        raise ProblemError(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"Host: {shown!r} is not an address or a name of this listener",
            kind="wrong-host",
            title="Wrong host",
        )
    return await handler(request)


def _is_ours(request: web.Request, host: str) -> bool:
    name = _without_port(host)
    try:
        address = ip_address(name)
    except ValueError:
        address = None
    own = request.transport.get_extra_info("sockname") if request.transport else None
    if not isinstance(own, tuple):  # a Unix socket, where HTTP still wants a name; a name in the DNS has a dot
        return address is not None or "." not in name
    listener = ip_address(own[0].partition("%")[0])
    listener = getattr(listener, "ipv4_mapped", None) or listener
    if address is not None:
        return address == listener
    return name == "localhost" if listener.is_loopback else name == socket.gethostname().lower()


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


@web.middleware
async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses requests that a web page of another site makes, when they change anything or cost much."""
    asked = operation_of(request)
    if asked is not None and (changes(asked) or asked.is_costly):
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "none")
        if (origin is not None and origin.lower() != f"http://{request.host.lower()}") or site.lower() not in _OWN_SITE:
            raise ProblemError(
                HTTPStatus.FORBIDDEN,
                "this request comes from a web page of another site (Origin, Sec-Fetch-Site)",
                kind="other-site",
                title="Other site",
            )
    return await handler(request)


def changes(asked: Operation) -> bool:
    """Whether an operation changes anything."""
    return asked.method != "GET"


def check_writer(gateway: Gateway) -> Middleware:
    """A middleware that refuses what changes anything from local users who are neither root nor of the service."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked = operation_of(request)
        if asked is not None and changes(asked) and not await may_write(gateway, request):
            raise ProblemError(
                HTTPStatus.FORBIDDEN,
                "only root and members of the service's group may change anything; this user may read",
                kind="read-only",
                title="Read only",
            )
        return await handler(request)

    return check


async def may_write(gateway: Gateway, request: web.Request) -> bool:
    """Whether the sender of a request may change anything. The gateway is asked once for each connection."""
    transport = request.transport
    if transport is None or transport.is_closing():
        return False
    connection = transport.get_protocol()
    if not isinstance(connection, Connection):
        return await gateway.may_write(transport.get_extra_info("socket"))
    if connection.may_write is None:
        connection.may_write = await gateway.may_write(transport.get_extra_info("socket"))
    return connection.may_write
