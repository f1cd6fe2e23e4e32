"""Answers that may be long: made in a thread and sent piece by piece, so that nobody else waits for them.

A list of twenty thousand real servers takes a third of a second to make. The event loop of the director has its turns meanwhile.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from aiohttp import web

from appliance.rest.accept_header import JSON, TEXT
from appliance.rest.respond import wants_json
from appliance.views.document import Document, json_pieces

_PIECE_BYTES = 1 << 16
"""So much is handed to a connection at once: more of it would be copied there while nobody else has a turn."""


async def respond_long(
    request: web.Request, make: Callable[[], Document], headers: Mapping[str, str] = MappingProxyType({})
) -> web.StreamResponse:
    """The answer that shows a whole view, as `respond`. `make` is called in a thread: what it reads must not change under it."""
    as_json = wants_json(request)
    body = await asyncio.to_thread(lambda: _body(make(), as_json=as_json))
    response = web.StreamResponse(headers=headers)
    response.content_type, response.charset = JSON if as_json else TEXT, "utf-8"
    return await _send(request, response, body)


async def send_long(request: web.Request, body: bytes, headers: Mapping[str, str]) -> web.StreamResponse:
    """The answer with a body that is there already. Of what a client does not read, its connection has a piece or two."""
    whole, starts = memoryview(body), range(0, len(body), _PIECE_BYTES)
    return await _send(request, web.StreamResponse(headers=headers), [whole[at : at + _PIECE_BYTES] for at in starts])


async def _send(
    request: web.Request, response: web.StreamResponse, body: Sequence[bytes] | Sequence[memoryview]
) -> web.StreamResponse:
    response.content_length = sum(map(len, body))
    await response.prepare(request)
    if request.method != "HEAD":
        try:
            for piece in body:
                await response.write(piece)
                await asyncio.sleep(0)  # a write waits only for a slow client
        except ConnectionError:
            pass  # the client has closed the connection, as in `curl … | head`
    return response


def _body(document: Document, *, as_json: bool) -> list[bytes]:
    return _encoded((*json_pieces(document.data), "\n") if as_json else (document.text,))


def _encoded(pieces: Iterable[str]) -> list[bytes]:
    """Put together to pieces of some size, and the last one."""
    body, waiting = list[bytes](), bytearray()
    for piece in pieces:
        waiting += piece.encode()
        while len(waiting) >= _PIECE_BYTES:
            body.append(bytes(waiting[:_PIECE_BYTES]))
            del waiting[:_PIECE_BYTES]
    return [*body, bytes(waiting)] if waiting else body
