"""The HTTP server of a real server in the lab: says who it is and whom it sees, streams bytes out and digests bytes in.

`GET /` (and any path not named here) answers JSON: `real_server`, `peer` (the "ip:port" the connection comes from) and
`client` (the "ip:port" of the TCP client-address option, or null). `GET /bytes/N` streams N bytes of PATTERN repeated.
`POST /sha256` digests the body. `?close=1` on any of them closes the connection after the answer.
"""

import argparse
import asyncio
import hashlib
import signal
import socket
from collections.abc import Sequence

import uvloop
from aiohttp import web

from appliance.lab.client_option import TCP_SAVE_SYN, ClientAddressReader, open_tap

BYTES_MAX = 1 << 34

_PATTERN_BYTES = (1 << 18) - 5
PATTERN = hashlib.shake_128(b"appliance lab").digest(_PATTERN_BYTES)
"""What `/bytes/N` repeats. Its length is a prime, so a lost or doubled segment never lines up with a whole period."""

_BACKLOG = 4096
_READ_BUFFER_BYTES = 1 << 20


class RealServer:
    """The handlers of one real server called `name`."""

    def __init__(self, name: str, clients: ClientAddressReader) -> None:
        self._name = name
        self._clients = clients

    def application(self) -> web.Application:
        """The routes. Bodies have no size limit: the only handler that takes one streams it."""
        application = web.Application()
        application.router.add_get("/bytes/{count}", self.send_bytes)
        application.router.add_post("/sha256", self.digest_body)
        application.router.add_route("*", "/{anything:.*}", self.identify)
        return application

    async def identify(self, request: web.Request) -> web.StreamResponse:
        """Which real server this is, and the two addresses it knows of the other end."""
        conn = _conn_of(request)
        host, port = conn.getpeername()
        client = self._clients.client_of(conn)
        answer = {"real_server": self._name, "peer": f"{host}:{port}", "client": client and str(client)}
        return _closing_if_asked(request, web.json_response(answer))

    async def send_bytes(self, request: web.Request) -> web.StreamResponse:
        """PATTERN, repeated and cut to the count in the path; 400 when that is no number from 0 to BYTES_MAX."""
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
        """The SHA-256 and the length of the request's body."""
        digest, count = hashlib.sha256(), 0
        async for chunk in request.content.iter_any():
            digest.update(chunk)
            count += len(chunk)
            self._clients.drain()  # a long body can carry the option in every packet
        return _closing_if_asked(request, web.json_response({"sha256": digest.hexdigest(), "bytes": count}))


def _conn_of(request: web.Request) -> socket.socket:
    if request.transport is None:
        raise ConnectionResetError("the client has gone")
    conn: socket.socket = request.transport.get_extra_info("socket")
    return conn


def _closing_if_asked(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    if request.query.get("close") == "1":
        response.force_close()
    return response


def _byte_count(text: str) -> int:
    # The length bound keeps int() from chewing on a megabyte of digits.
    if text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= BYTES_MAX:
        return int(text)
    raise web.HTTPBadRequest(text=f"/bytes/N: N is a whole number of bytes, 0 to {BYTES_MAX}, not {text[:40]!r}\n")


def listening_socket(address: str, port: int) -> socket.socket:
    """A bound TCP socket that keeps the SYN of each connection it will accept. Raises OSError as bind does."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, TCP_SAVE_SYN, 1)
    listener.bind((address, port))
    return listener


async def serve(name: str, listeners: Sequence[tuple[str, int]]) -> None:
    """Serve on every (address, port) until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
    with open_tap() as tap:
        application = RealServer(name, ClientAddressReader(tap)).application()
        runner = web.AppRunner(
            application, access_log=None, read_bufsize=_READ_BUFFER_BYTES, shutdown_timeout=0, handle_signals=False
        )
        await runner.setup()
        try:
            for address, port in listeners:
                await web.SockSite(runner, listening_socket(address, port), backlog=_BACKLOG).start()
            await stopped.wait()
        finally:
            await runner.cleanup()


def _listener(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    try:
        socket.inet_aton(address)
        return address, int(port)
    except (OSError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT") from None


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``python -m appliance.lab.http_server``."""
    parser = argparse.ArgumentParser(description="HTTP server of a real server in the lab")
    parser.add_argument("--name", required=True, help="what it calls itself in its answers")
    parser.add_argument("--listen", action="append", required=True, type=_listener, metavar="ADDRESS:PORT")
    arguments = parser.parse_args(argv)
    uvloop.run(serve(arguments.name, arguments.listen))


if __name__ == "__main__":
    main()
