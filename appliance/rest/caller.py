"""Who may ask what: the checks of a request that look at its sender, and not at what it says.

They keep out web pages that use the browser of somebody who may ask, and those who may only read. Who asks is found out in
`rest.identity`.
"""

import socket
from http import HTTPStatus
from ipaddress import ip_address

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from appliance.rest.gateway import Gateway
from appliance.rest.identity import caller_of, has_token
from appliance.rest.operation import Operation
from appliance.rest.problem import ProblemError
from appliance.rest.query_check import operation_of

_LONGEST_SHOWN = 80
_NO_SCOPE = 'Bearer realm="appliance", error="insufficient_scope"'
_OWN_SITE = ("same-origin", "none")
"""Values of Sec-Fetch-Site for a page of the API itself, and for a URL that a person typed."""


def check_host(gateway: Gateway) -> Middleware:
    """A middleware that refuses a request for another host: a web page can give its own name the address of this one (DNS
    rebinding)."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        hosts = request.headers.getall("Host", [])
        names = gateway.access.tls.names if request.secure and gateway.access.tls else frozenset[str]()
        # HTTP/1.0 has no Host, and no browser speaks it.
        if not (len(hosts) == 1 and _is_ours(request, hosts[0], names)) and not (not hosts and request.version < (1, 1)):
            shown = hosts[0][:_LONGEST_SHOWN] if hosts else ""
            raise ProblemError(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"Host: {shown!r} is not an address or a name of this listener",
                kind="wrong-host",
                title="Wrong host",
            )
        return await handler(request)

    return check


def _is_ours(request: web.Request, host: str, names: frozenset[str]) -> bool:
    """Whether `host` is the listener's address, a name of it, or one of `names`, which its certificate has."""
    name = _without_port(host)
    try:
        address = ip_address(name)
    except ValueError:
        address = None
    if (name if address is None else str(address)) in names or f"*.{name.partition('.')[2]}" in names:
        return True
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
    """Refuses requests that a web page of another site makes, when they change anything, cost much or may wait."""
    asked = operation_of(request)
    if asked is not None and (changes(asked) or asked.is_costly or asked.may_wait):
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "none")
        if (
            origin is not None and origin.lower() != f"{request.scheme}://{request.host.lower()}"
        ) or site.lower() not in _OWN_SITE:
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
    """A middleware that refuses what changes anything from those who may only read."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked = operation_of(request)
        if asked is not None and changes(asked):
            caller = await caller_of(gateway, request)
            if not caller.may_write:
                raise ProblemError(
                    HTTPStatus.FORBIDDEN,
                    f"{caller.name} may read and not change anything; root, members of the service's group, and tokens with the "
                    "right to write may",
                    kind="read-only",
                    title="Read only",
                    headers={"WWW-Authenticate": _NO_SCOPE} if has_token(request) else None,
                )
        return await handler(request)

    return check
