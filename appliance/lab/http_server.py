"""The HTTP server of a real server in the lab. It names itself and its client, sends bytes, and digests bytes.

`GET /`, and every path not named here, answers JSON: `real_server`, `peer` (the "ip:port" that the connection comes from)
and `client` (the "ip:port" of the TCP client-address option, or null). `GET /bytes/N` sends N bytes: PATTERN, repeated.
`POST /sha256` answers the digest of the body. `?close=1` on each of them closes the connection after the answer. A client
may close its side of the connection right after its request.
"""

import asyncio
import hashlib
import socket
from collections.abc import Sequence

import uvloop
from aiohttp import web
from aiohttp.typedefs import Handler

from appliance.lab.server import Listener, read_arguments, stop_event
from appliance.lab.toa_reader import TCP_SAVE_SYN, ClientAddressReader, open_tap

BYTES_MAX = 1 << 34

_PATTERN_BYTES = (1 << 18) - 5
PATTERN = hashlib.shake_128(b"appliance lab").digest(_PATTERN_BYTES)
"""The bytes that `/bytes/N` repeats. Their number is a prime, so that no loss or repetition of a segment goes unseen."""

_BACKLOG = 4096
_READ_BUFFER_BYTES = 1 << 20
_EMPTY_LINE = b"\r\n\r\n"


class RealServer:
    """The handlers of one real server called `name`."""

    def __init__(self, name: str, clients: ClientAddressReader) -> None:
        self._name = name
        self._clients = clients

    def application(self) -> web.Application:
        """The routes. The size of a body has no limit, because the only handler that takes one reads it as a stream."""
        application = web.Application(middlewares=[close_after_fin])
        application.router.add_get("/bytes/{count}", self.send_bytes)
        application.router.add_post("/sha256", self.digest_body)
        application.router.add_route("*", "/{anything:.*}", self.identify)
        return application

    async def identify(self, request: web.Request) -> web.StreamResponse:
        """Answer the name of this real server, and both addresses of the client that it knows."""
        conn = _conn_of(request)
        host, port = conn.getpeername()
        client = self._clients.client_of(conn)
        answer = {"real_server": self._name, "peer": f"{host}:{port}", "client": client and str(client)}
        return _closing_if_asked(request, web.json_response(answer))

    async def send_bytes(self, request: web.Request) -> web.StreamResponse:
        """Answer PATTERN, repeated and cut to the count in the path; 400 when the count is not a number in 0..BYTES_MAX."""
        count = _byte_count(request.match_info["count"])
        headers = {"Content-Length": str(count), "Content-Type": "application/octet-stream"}
        response = _closing_if_asked(request, web.StreamResponse(headers=headers))
        await response.prepare(request)
        whole, rest = divmod(count, _PATTERN_BYTES)
        for _ in range(whole):
            await response.write(PATTERN)
        await response.write(PATTERN[:rest])
        await response.write_eof()
        return response

    async def digest_body(self, request: web.Request) -> web.StreamResponse:
        """Answer the SHA-256 and the length in bytes of the request's body."""
        digest, count = hashlib.sha256(), 0
        async for chunk in request.content.iter_any():
            digest.update(chunk)
            count += len(chunk)
            self._clients.drain()  # a long body can carry the option in every packet
        return _closing_if_asked(request, web.json_response({"sha256": digest.hexdigest(), "bytes": count}))


class Connection(asyncio.Protocol):
    """Passes everything on to `inner`, and keeps the connection open for a client that sends its FIN right after its request.

    Without this, aiohttp closes the connection at the client's FIN and drops the answer that it has not sent yet.
    """

    def __init__(self, inner: asyncio.Protocol) -> None:
        self._inner = inner
        self._is_awaited = False
        self._has_fin = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def data_received(self, data: bytes) -> None:
        # A request without a body ends with an empty line. After a FIN in the middle of a request there is nothing to answer.
        self._is_awaited = data.endswith(_EMPTY_LINE)
        self._inner.data_received(data)

    def eof_received(self) -> bool:
        """Return whether the connection stays open because its client still waits for an answer."""
        self._has_fin = True
        return self._is_awaited

    def answered(self) -> bool:
        """Note that the answer is ready. Returns whether the client has sent its FIN, so that this is the last answer."""
        self._is_awaited = False
        return self._has_fin


@web.middleware
async def close_after_fin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Close the connection after the answer to a client that has closed its side."""
    response = await handler(request)
    connection = request.transport and request.transport.get_protocol()
    if isinstance(connection, Connection) and connection.answered():
        response.force_close()
    return response


def _conn_of(request: web.Request) -> socket.socket:
    if request.transport is None:
        raise ConnectionResetError("the client closed the connection")
    conn: socket.socket = request.transport.get_extra_info("socket")
    return conn


def _closing_if_asked(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    if request.query.get("close") == "1":
        response.force_close()
    return response


def _byte_count(text: str) -> int:
    # The length is checked first, because int() is slow with a megabyte of digits.
    if text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= BYTES_MAX:
        return int(text)
    raise web.HTTPBadRequest(text=f"/bytes/N: N is a whole number of bytes, 0 to {BYTES_MAX}, not {text[:40]!r}\n")


def listening_socket(where: Listener) -> socket.socket:
    """A bound TCP socket that saves the SYN of each connection (TCP_SAVE_SYN). Raises OSError as bind() does."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, TCP_SAVE_SYN, 1)
    listener.bind(where)
    return listener


async def serve(name: str, listeners: Sequence[Listener]) -> None:
    """Serve on every listener until SIGTERM or SIGINT."""
    stopped = stop_event()
    with open_tap() as tap:
        application = RealServer(name, ClientAddressReader(tap)).application()
        runner = web.AppRunner(
            application, access_log=None, read_bufsize=_READ_BUFFER_BYTES, shutdown_timeout=0, handle_signals=False
        )
        await runner.setup()
        requests = runner.server
        assert requests is not None  # between setup and cleanup there is a server
        loop, servers = asyncio.get_running_loop(), []
        try:
            for listener in listeners:
                sock = listening_socket(listener)
                servers.append(await loop.create_server(lambda: Connection(requests()), sock=sock, backlog=_BACKLOG))
            await stopped.wait()
        finally:
            for server in servers:
                server.close()
            await runner.cleanup()


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``python -m appliance.lab.http_server``."""
    arguments = read_arguments("HTTP server of a real server in the lab", argv)
    uvloop.run(serve(arguments.name, arguments.listeners))


if __name__ == "__main__":
    main()
