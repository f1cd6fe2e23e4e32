"""The way from any namespace of the lab to the admin API: a Unix socket, whose connections go on to the API in the gateway.

A Unix socket belongs to a directory and not to a network namespace, so the lab's command reaches the API with it. The socket is
in the directory of the lab, which only root may enter.
"""

import argparse
import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import uvloop

from appliance.lab import namespaces
from appliance.lab.plan import Endpoint
from appliance.lab.server import stop_event

_PIECE_BYTES = 1 << 16


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that one end says to the other, and that it has ended."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _connect(api: Endpoint, open_socket: Callable[[], socket.socket]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the API. Raises OSError while there is none."""
    with contextlib.ExitStack() as on_failure:
        sock = on_failure.enter_context(open_socket())
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, api)
        streams = await asyncio.open_connection(sock=sock)
        on_failure.pop_all()
        return streams


async def _relay(
    api: Endpoint, open_socket: Callable[[], socket.socket], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One connection, until both ends have said all; it is closed at once while there is no API."""
    with contextlib.closing(writer):
        try:
            from_api, to_api = await _connect(api, open_socket)
        except OSError:
            return
        await relay_streams(reader, writer, from_api, to_api)


async def relay_streams(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_api: asyncio.StreamReader, to_api: asyncio.StreamWriter
) -> None:
    """Relay one connection to the other, until both have said all; then both are closed."""
    with contextlib.closing(writer), contextlib.closing(to_api):
        await asyncio.gather(_pass_on(reader, to_api), _pass_on(from_api, writer))


async def serve(path: Path, api: Endpoint, open_socket: Callable[[], socket.socket]) -> None:
    """Relay every connection to the socket at `path` until SIGTERM or SIGINT. Raises OSError when it cannot be made there.

    `open_socket` opens a TCP socket in the namespace of the API.
    """
    stopped = stop_event()
    async with await asyncio.start_unix_server(partial(_relay, api, open_socket), path):
        await stopped.wait()


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``python -m appliance.lab.api_relay``."""
    parser = argparse.ArgumentParser(description="the lab's way to the admin API")
    parser.add_argument("path", type=Path)
    parser.add_argument("namespace")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    found = parser.parse_args(argv)
    # It runs in another namespace: whoever ends what runs in the gateway does not mean this.
    open_socket = partial(namespaces.call_inside, found.namespace, socket.socket)
    uvloop.run(serve(found.path, Endpoint(found.host, found.port), open_socket))


if __name__ == "__main__":
    main()
