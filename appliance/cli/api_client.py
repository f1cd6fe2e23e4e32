"""Asks the admin API of a running appliance one question. Knows HTTP, and nothing of what the answers mean.

An answer is read in pieces, each when it is asked for, so that a million sessions need no more memory than one.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlencode

import aiohttp
from yarl import URL

UNIX = "unix:"

_ANY_HOST = "http://appliance"
"""HTTP wants a host, also where the socket says it all."""

_PROBLEM = "application/problem+json"

_CONNECT_S = 10.0
"""For the connection alone. An answer may take its time, and somebody who pages through it as long as they like."""


class ApiError(Exception):
    """There is no answer, or not all of it; the message is for the person who asked."""


class Question(NamedTuple):
    """One request. `path` is percent-encoded, the fields of `query` are not."""

    method: str
    path: str
    query: Mapping[str, str] = {}
    body: bytes | None = None


class Answer:
    """A view, not read yet."""

    def __init__(self, runner: asyncio.Runner, response: aiohttp.ClientResponse) -> None:
        self._runner = runner
        self._response = response

    @property
    def next_place(self) -> str:
        """Where the next page begins, as the field `after` wants it; empty when there is none."""
        link = self._response.links.get("next")
        return URL(link["url"]).query.get("after", "") if link else ""

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes. Raises ApiError when it breaks off: what was read until then is not all."""
        try:
            while piece := self._runner.run(self._response.content.readany()):
                yield piece
        except (aiohttp.ClientError, OSError) as error:
            raise ApiError(f"the answer broke off, so it is not complete: {_reason(error)}") from error

    def text(self) -> str:
        """The whole body. Raises ApiError as `pieces` does."""
        return b"".join(self.pieces()).decode()


@contextmanager
def asked(address: str, question: Question, *, as_json: bool) -> Iterator[Answer]:
    """Put a question to the appliance at `address`: ``http://HOST:PORT`` or ``unix:/path``.

    Raises ApiError when nobody answers there within 10 s, and when the appliance refuses; then the message is the detail
    of its problem document. The event loop runs only while something is waited for, so that Ctrl-C ends everything else,
    a write to a pager included, as it ends any program.
    """
    with asyncio.Runner() as runner:
        session = runner.run(_session(address))
        try:
            response = runner.run(_response(session, address, question, as_json=as_json))
            with closing(response):
                yield Answer(runner, response)
        finally:
            runner.run(session.close())


async def _session(address: str) -> aiohttp.ClientSession:
    connector = aiohttp.UnixConnector(address.removeprefix(UNIX)) if address.startswith(UNIX) else None
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S))


async def _response(session: aiohttp.ClientSession, address: str, question: Question, *, as_json: bool) -> aiohttp.ClientResponse:
    headers = {"Accept": "application/json" if as_json else "text/plain", "Content-Type": "text/plain"}
    try:
        response = await session.request(
            question.method, _url(address, question), data=question.body, headers=headers, allow_redirects=False
        )
        if response.status != HTTPStatus.OK:
            async with response:
                raise ApiError(await _refusal(address, response))
    except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: a host name or an answer that is none
        hint = "is the appliance running, and does its API listen there? --api says where to look"
        raise ApiError(f"no answer from {address}: {_reason(error)}; {hint}") from error
    return response


def _url(address: str, question: Question) -> URL:
    """Encoded here, so that words which are no UTF-8, or ``..``, reach the API as they were typed, to be refused there."""
    base = _ANY_HOST if address.startswith(UNIX) else address.rstrip("/")
    query = urlencode(question.query, errors="surrogateescape")
    return URL(f"{base}{question.path}{'?' if query else ''}{query}", encoded=True)


async def _refusal(address: str, response: aiohttp.ClientResponse) -> str:
    problem = await response.json(content_type=_PROBLEM) if response.content_type == _PROBLEM else {}
    otherwise = f"{address} answered {response.status} {response.reason}, which is not how an appliance refuses"
    return str(problem.get("detail", otherwise))


def _reason(error: Exception) -> str:
    """Why, without what asyncio and aiohttp put around it: the address is named already."""
    if isinstance(error, TimeoutError):
        return f"no connection within {_CONNECT_S:.0f} s"
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)  # below 0: of a name not resolved
    return str(error) or type(error).__name__
