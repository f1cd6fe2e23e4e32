"""A check by an HTTP or HTTPS request. Redirections are not followed, no cookie is kept, and no proxy is asked."""

import socket
import ssl
from functools import cache, partial
from typing import Any

import aiohttp
from yarl import URL

from appliance.health.answer import Answer, failed, passed
from appliance.health.check import Check, Target
from appliance.health.status import matches
from appliance.probes.sockets import Source

MOST_BODY_BYTES = 1 << 16
"""How much of a body is read to look for the expected text."""

_MOST_LINE_BYTES = 8190
_PIECE_BYTES = 1 << 14


async def probe(check: Check, target: Target, source: Source) -> Answer:
    """Passes when status and body are as expected. Raises OSError and aiohttp.ClientError."""
    connector = aiohttp.TCPConnector(
        socket_factory=partial(_socket, source, (target.address, check.port)), limit=1, force_close=True, use_dns_cache=False
    )
    async with (
        aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # the whole probe has one
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_PIECE_BYTES,
            max_line_size=_MOST_LINE_BYTES,
            max_field_size=_MOST_LINE_BYTES,
        ) as session,
        session.request(
            check.method, _url(check, target), headers=_headers(check, target), allow_redirects=False, **_tls(check)
        ) as response,
    ):
        said = f"HTTP status {response.status}"
        if not matches(check.expect_status, response.status):
            return failed(f"{said}, which is not among {check.expect_status}")
        if check.expect_body and not await _has(response, check.expect_body):
            return failed(f"{said}, but the body does not have the expected text")
        return passed(said)


def _socket(source: Source, to: tuple[str, int], _: Any) -> socket.socket:
    return source.opened(socket.SOCK_STREAM, to)


def _url(check: Check, target: Target) -> URL:
    return URL(f"{check.kind}://{target.address}:{check.port}{check.path}", encoded=True)


def _headers(check: Check, target: Target) -> dict[str, str]:
    host = check.host or f"{target.address}:{check.port}"
    return {"Host": host, "User-Agent": "appliance-health-check", "Accept": "*/*", "Connection": "close"}


def _tls(check: Check) -> dict[str, Any]:
    if check.kind != "https":
        return {}
    return {"ssl": _context(check.tls_verify), "server_hostname": check.sni or None}


@cache
def _context(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _has(response: aiohttp.ClientResponse, expected: bytes) -> bool:
    """Whether the first bytes of the body contain the expected ones; no more is read than needed."""
    body = b""
    while len(body) < MOST_BODY_BYTES and (piece := await response.content.read(_PIECE_BYTES)):
        body += piece
        if expected in body[:MOST_BODY_BYTES]:
            return True
    return False
