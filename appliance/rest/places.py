"""How many requests of a kind there may be at a time, and how a stream is written to one that waits for what is to come.

Users who may write have places of their own, which those who may only read cannot take.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from http import HTTPStatus

from aiohttp import web

from appliance.rest.problem import ProblemError

STREAM = "text/event-stream"

ALIVE = b":\n\n"
"""What a stream says when there is nothing to say, so that both ends notice when the other one is not there."""

SLOW_S = 10.0
"""How long a reader of a stream may take for what is written to it before it is disconnected."""

RETRY_AFTER_S = 5
"""When to ask again, for requests that wait for long."""


class Places:
    """The places of one kind of requests."""

    def __init__(self, most: int, busy: str, retry_after_s: int = RETRY_AFTER_S) -> None:
        """`most` of each kind of users; `busy` is the sentence for those who find no place, behind that number."""
        self._most = most
        self._busy = busy
        self._retry_after_s = retry_after_s
        self._taken = Counter[bool]()

    @property
    def taken(self) -> int:
        """How many there are at this moment."""
        return self._taken.total()

    @contextmanager
    def one(self, *, is_writer: bool) -> Iterator[None]:
        """A place for the block. Raises ProblemError (503) when there is none."""
        if self._taken[is_writer] >= self._most:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._most} {self._busy}",
                kind="busy",
                title="Busy",
                headers={"Retry-After": str(self._retry_after_s)},
            )
        self._taken[is_writer] += 1
        try:
            yield
        finally:
            self._taken[is_writer] -= 1


def wants_stream(request: web.Request) -> bool:
    """Whether the client asks for server-sent events, and for no list."""
    return STREAM in request.headers.get("Accept", "") and "format" not in request.query and request.method != "HEAD"


def has_gone(request: web.Request) -> bool:
    """Whether the client has closed the connection of its request."""
    return request.transport is None or request.transport.is_closing()


def new_stream(media: str = STREAM) -> web.StreamResponse:
    """An answer that is sent as it comes, of this media type. A proxy in front must not gather it."""
    response = web.StreamResponse(headers={"X-Accel-Buffering": "no"})
    response.content_type, response.charset = media, "utf-8"
    return response


@contextmanager
def one_reader(request: web.Request) -> Iterator[None]:
    """For writing to one reader: it ends when the client closes the connection, which is no error, or is too slow."""
    try:
        yield
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        pass


async def send_stream(request: web.Request, pieces: AsyncGenerator[bytes]) -> web.StreamResponse:
    """Send server-sent events until there are no more, the client goes, or it is too slow. Its head is sent at once."""
    response = new_stream()
    await response.prepare(request)
    with one_reader(request):
        await write_in_time(response, ALIVE)
        async with aclosing(pieces):
            async for piece in pieces:
                await write_in_time(response, piece)
    return response


async def write_in_time(response: web.StreamResponse, piece: bytes) -> None:
    """Write a piece. Raises TimeoutError when the reader does not take it in SLOW_S, and ConnectionError when it has gone."""
    await asyncio.wait_for(response.write(piece), SLOW_S)
