"""One request to the admin API of a running appliance, and its answer. What the answers mean is not known here.

An answer is read piece by piece, each when the caller asks for it, so that a list of a million sessions needs little memory.
"""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from appliance.cli.credentials import Credentials

UNIX = "unix:"

_ANY_HOST = "http://localhost"
"""HTTP wants a name, also behind a Unix socket. This one is right too when the socket is a way to a listener on loopback."""

_PROBLEM = "application/problem+json"

_CONNECT_S = 10.0
"""Time limit for the connection alone. The answer has none, since a person may read it page by page for an hour."""


class ApiError(Exception):
    """There is no answer, or only a part of it. The message is for the user."""

    def __init__(self, message: str, status: int = 0) -> None:
        """`status` is that of a refusal; 0 when there was no answer."""
        super().__init__(message)
        self.status = status


class Question(NamedTuple):
    """One request. `path` is percent-encoded, the fields of `query` are not."""

    method: str
    path: str
    query: Mapping[str, str] = {}
    body: bytes | None = None
    accept: str = ""
    """The form of the answer; when it is empty, JSON or text."""


class Answer:
    """An answer whose body has not been read yet."""

    def __init__(self, runner: asyncio.Runner, response: aiohttp.ClientResponse) -> None:
        self._runner = runner
        self._response = response

    @property
    def next_place(self) -> str:
        """The value of the field `after` for the next page; empty when there is no next page."""
        link = self._response.links.get("next")
        return URL(link["url"]).query.get("after", "") if link else ""

    def pieces(self) -> Iterator[bytes]:
        """The body, piece by piece as it arrives. Raises ApiError when it breaks off: the pieces are then not the whole."""
        try:
            while piece := self._runner.run(self._response.content.readany()):
                yield piece
        except (aiohttp.ClientError, OSError) as error:
            raise ApiError(f"the answer broke off, so it is not complete: {_reason(error)}") from error

    def text(self) -> str:
        """The whole body. Raises ApiError as `pieces` does."""
        return b"".join(self.pieces()).decode()


@contextmanager
def asked(
    address: str, question: Question, credentials: Credentials, *, as_json: bool, limit_s: float | None = None
) -> Iterator[Answer]:
    """Send a request to the appliance at `address`: ``http://HOST:PORT``, ``https://HOST:PORT`` or ``unix:/path``.

    Raises ApiError when no connection is made within 10 s, when the answer is not there within `limit_s`, and when the appliance
    refuses; then the message is the detail of its problem document. The event loop runs only while this waits for the appliance,
    so that at all other times, for instance during a write to a pager, Ctrl-C ends this program as it ends any other.
    """
    with asyncio.Runner() as runner:
        session = runner.run(_session(address, credentials, limit_s))
        try:
            response = runner.run(_response(session, address, question, as_json=as_json))
            with closing(response):
                yield Answer(runner, response)
        finally:
            runner.run(session.close())


class Connection:
    """A connection to the API that stays open from one question to the next, for a program with an event loop of its own."""

    def __init__(self, address: str, session: aiohttp.ClientSession) -> None:
        self._address = address
        self._session = session

    async def read_json(self, question: Question, longest_bytes: int) -> tuple[Any, int]:
        """The answer to a question, and its length in bytes; also that of `/healthz` while the gateway is not well.

        Raises ApiError: no answer, a refusal, one that is longer than `longest_bytes`, or one that is not JSON.
        """
        response = await _response(self._session, self._address, question, as_json=True, may_be_503=True)
        async with response:
            try:
                body = bytearray()
                while piece := await response.content.readany():
                    body += piece
                    if len(body) > longest_bytes:
                        raise ApiError(f"the answer to {question.path} is longer than {longest_bytes} bytes")
                return json.loads(body), len(body)
            except (aiohttp.ClientError, OSError) as error:
                raise ApiError(f"the answer to {question.path} broke off: {_reason(error)}") from error
            except (ValueError, RecursionError) as error:
                raise ApiError("the answer is not JSON, so it is not one of an appliance") from error


@asynccontextmanager
async def connected(address: str, credentials: Credentials) -> AsyncIterator[Connection]:
    """A connection to the appliance at `address`, which is made at the first question, and again after it was lost."""
    session = await _session(address, credentials, None)
    async with session:
        yield Connection(address, session)


async def _session(address: str, credentials: Credentials, limit_s: float | None) -> aiohttp.ClientSession:
    connector: aiohttp.BaseConnector | None = None
    if address.startswith(UNIX):
        connector = aiohttp.UnixConnector(address.removeprefix(UNIX))
    elif credentials.tls:
        connector = aiohttp.TCPConnector(ssl=credentials.tls)
    headers = {"Authorization": f"Bearer {credentials.token}"} if credentials.token else {}
    timeout = aiohttp.ClientTimeout(total=limit_s, sock_connect=_CONNECT_S)
    return aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout)


async def _response(
    session: aiohttp.ClientSession, address: str, question: Question, *, as_json: bool, may_be_503: bool = False
) -> aiohttp.ClientResponse:
    accept = question.accept or ("application/json" if as_json else "text/plain")
    headers = {"Accept": f"{accept}, {_PROBLEM}", "Content-Type": "text/plain"}
    try:
        response = await session.request(
            question.method, _url(address, question), data=question.body, headers=headers, allow_redirects=False
        )
        if response.status != HTTPStatus.OK and not (may_be_503 and _is_condition(response)):
            async with response:
                raise ApiError(await _refusal(address, response), response.status)
    except (
        aiohttp.ClientError,
        OSError,
        ValueError,
    ) as error:  # ValueError: an impossible host name, or an answer that is not HTTP
        hint = "is the appliance running, and does its API listen there? --api sets the address"
        raise ApiError(f"no answer from {address}: {_reason(error)}; {hint}") from error
    return response


def _is_condition(response: aiohttp.ClientResponse) -> bool:
    """Whether an answer is that of `/healthz` of a gateway that is not well, which is no refusal."""
    return response.status == HTTPStatus.SERVICE_UNAVAILABLE and response.content_type == "application/json"


def _url(address: str, question: Question) -> URL:
    """The URL. It is encoded here, so that the API receives ``..`` and words that are not UTF-8 as they were typed."""
    base = _ANY_HOST if address.startswith(UNIX) else address.rstrip("/")
    query = urlencode(question.query, errors="surrogateescape")
    return URL(f"{base}{question.path}{'?' if query else ''}{query}", encoded=True)


async def _refusal(address: str, response: aiohttp.ClientResponse) -> str:
    problem = await response.json(content_type=_PROBLEM) if response.content_type == _PROBLEM else {}
    otherwise = f"{address} answered {response.status} {response.reason}, which is not an answer of an appliance"
    return "\n".join([str(problem.get("detail", otherwise)), *_reasons(problem.get("reasons"))])


def _reasons(reasons: Any) -> Iterator[str]:
    """A line for each reason, when there are several: the first one is in the detail."""
    if not isinstance(reasons, list) or len(reasons) < 2:
        return
    for reason in filter(lambda one: isinstance(one, dict), reasons):
        line = f"line {reason['line']}: " if reason.get("line") else ""
        key = f"{reason['key']}: " if reason.get("key") else ""
        yield f"  {line}{key}{reason.get('message', '')}"


def _reason(error: Exception) -> str:
    """The cause of an error, without the words that asyncio and aiohttp add: the caller names the address."""
    if isinstance(error, TimeoutError):
        return f"no connection within {_CONNECT_S:.0f} s"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, ssl.SSLError):
        refused = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else ""
        return f"its certificate is refused: {refused}" if refused else f"TLS: {error.reason}"
    if isinstance(error, OSError) and error.errno:
        return (
            os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
        )  # a negative number says that a host name was not resolved
    return str(error) or type(error).__name__
