"""Requests that wait for what is still to come: how many there may be, and how a stream is written to one of them.

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

_RETRY_AFTER_S = 5


class Places:
    """The places of one kind of requests that wait."""

    def __init__(self, most: int, busy: str) -> None:
        """`most` of each kind of users; `busy` is the sentence for those who find no place."""
        self._most = most
        self._busy = busy
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
                headers={"Retry-After": str(_RETRY_AFTER_S)},
            )
        self._taken[is_writer] += 1
        try:
            yield
        finally:
            self._taken[is_writer] -= 1


def has_gone(request: web.Request) -> bool:
    """Whether the client has closed the connection of its request."""
    return request.transport is None or request.transport.is_closing()


async def send_stream(request: web.Request, pieces: AsyncGenerator[bytes]) -> web.StreamResponse:
    """Send server-sent events until there are no more, the client goes, or it is too slow. Its head is sent at once."""
    response = web.StreamResponse(headers={"X-Accel-Buffering": "no"})
    response.content_type, response.charset = STREAM, "utf-8"
    await response.prepare(request)
    try:
        await _write(response, ALIVE)
        async with aclosing(pieces):
            async for piece in pieces:
                await _write(response, piece)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        pass  # the client closed the connection, which is no error
    return response


async def _write(response: web.StreamResponse, piece: bytes) -> None:
    await asyncio.wait_for(response.write(piece), SLOW_S)
