"""Who asks: the user behind a connection, or the token that a request has (RFC 6750)."""

import asyncio
import socket
from http import HTTPStatus
from ipaddress import ip_address
from typing import NoReturn

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from appliance.ipc.rows import Caller
from appliance.model.token import Token, Tokens
from appliance.rest.connections import Connection
from appliance.rest.gateway import Gateway
from appliance.rest.problem import ProblemError
from appliance.rest.query_check import operation_of
from appliance.rest.rare_log import RareLog

DELAY_S = 1.0
"""How long the answer to a wrong token takes."""

DELAYED_MAX = 16
"""Answers to wrong tokens that are delayed at a time. Those above it get 429 at once, and their connections end."""

_NOBODY = Caller("a connection that has ended", may_write=False)
_CALLER = web.RequestKey("caller", Caller)
_TOKEN = web.RequestKey("token", Token)


def check_token(gateway: Gateway) -> Middleware:
    """A middleware that finds out whose token a request has, and refuses it without one where a token is needed."""
    wrong = _WrongTokens()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.getall("Authorization", [])
        if given:
            token = gateway.access.tokens.find(_bearer(given)) if gateway.access.tokens else None
            if token is None:
                await wrong.refuse(request, gateway.access.tokens)
            request[_TOKEN] = token
            request[_CALLER] = Caller(f"token {token.name}", token.may_write)
        elif _needs_token(gateway, request):
            raise _unauthorized("this address answers nobody without a token (Authorization: Bearer TOKEN)", kind="no-token")
        return await handler(request)

    return check


def _bearer(given: list[str]) -> str:
    """The token in the header; empty, which is never a token, when it has another form or stands there twice."""
    scheme, _, token = given[0].partition(" ")
    return token.strip() if len(given) == 1 and scheme.lower() == "bearer" else ""


def _needs_token(gateway: Gateway, request: web.Request) -> bool:
    asked = operation_of(request)
    if not gateway.access.remote_needs_token or (asked is not None and not asked.needs_token):
        return False
    transport = request.transport
    connection = transport.get_protocol() if transport else None
    if isinstance(connection, Connection):
        return connection.is_remote
    own = transport.get_extra_info("sockname") if transport else None
    return isinstance(own, tuple) and not ip_address(own[0].partition("%")[0]).is_loopback


class _WrongTokens:
    """What wrong tokens cost: a delay for the client, a line now and then for the log."""

    def __init__(self) -> None:
        self._delayed = 0
        self._lines = RareLog()

    async def refuse(self, request: web.Request, tokens: Tokens) -> NoReturn:
        """Raises ProblemError: 401 after a delay, or 429 when many are waiting for theirs."""
        self._lines.say("wrong token refused", f"from {address_of(request)}")
        if self._delayed >= DELAYED_MAX:
            raise ProblemError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "this is not a token of this appliance, and too many wrong ones have been sent; try again later",
                kind="wrong-token",
                title="Wrong token",
                headers={"Retry-After": str(int(DELAY_S)), "Connection": "close"},
            )
        self._delayed += 1
        try:
            await asyncio.sleep(DELAY_S)
        finally:
            self._delayed -= 1
        detail = "this is not a token of this appliance" if tokens else "this appliance has no tokens (api.tokens_file)"
        raise _unauthorized(detail, kind="wrong-token", error=', error="invalid_token"')


def _unauthorized(detail: str, *, kind: str, error: str = "") -> ProblemError:
    title = kind.replace("-", " ").capitalize()
    headers = {"WWW-Authenticate": f'Bearer realm="appliance"{error}'}
    return ProblemError(HTTPStatus.UNAUTHORIZED, detail, kind=kind, title=title, headers=headers)


async def caller_of(gateway: Gateway, request: web.Request) -> Caller:
    """Who asks. Without a token it is the user of the connection; the gateway is asked once for each."""
    if (caller := known_caller(request)) is not None:
        return caller
    transport = request.transport
    if transport is None or transport.is_closing():
        return _NOBODY
    caller = await gateway.access.who(transport.get_extra_info("socket"))
    connection = transport.get_protocol()
    if isinstance(connection, Connection):
        connection.caller = caller
    request[_CALLER] = caller
    return caller


def known_caller(request: web.Request) -> Caller | None:
    """Who asks, as far as that was found out already."""
    caller = request.get(_CALLER)
    connection = request.transport.get_protocol() if request.transport else None
    return connection.caller if caller is None and isinstance(connection, Connection) else caller


def has_token(request: web.Request) -> bool:
    """Whether the request has a token of this appliance."""
    return request.get(_TOKEN) is not None


def address_of(request: web.Request) -> str:
    """From where a request comes: an address and a port, or the Unix socket that it came through."""
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport else None
    if isinstance(peer, tuple):
        return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
    sock: socket.socket | None = transport.get_extra_info("socket") if transport else None
    return f"unix:{sock.getsockname()}" if sock is not None else "a connection that has ended"
