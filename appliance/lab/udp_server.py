"""The UDP server of a real server in the lab. It sends every datagram back, behind a line that names the real server.

That line is JSON with `real_server` and `peer` (the "ip:port" that the datagram comes from). An answer has to fit into one
packet, so on an ordinary link a datagram may have up to 1400 bytes, unless the gateway is configured to accept fragments.
"""

import asyncio
import json
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, cast

import uvloop

from appliance.lab.server import Listener, read_arguments, stop_event

_RECEIVE_BUFFER_BYTES = 4 << 20
"""Room for the datagrams that arrive while this process waits for a CPU. A lost datagram is not sent again."""


class EchoProtocol(asyncio.DatagramProtocol):
    """Answers datagrams on one socket, as the real server called `name`."""

    _transport: asyncio.DatagramTransport

    def __init__(self, name: str) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, peer: tuple[str | Any, int]) -> None:
        host, port = peer
        line = json.dumps({"real_server": self._name, "peer": f"{host}:{port}"})
        self._transport.sendto(f"{line}\n".encode() + data, peer)


def bound_socket(listener: Listener) -> socket.socket:
    """A bound, non-blocking UDP socket. Raises OSError as bind() does."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    udp.bind(listener)
    return udp


async def serve(name: str, listeners: Sequence[Listener]) -> None:
    """Answer on every listener until SIGTERM or SIGINT."""
    stopped = stop_event()
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        # All sockets are bound before the first is served: an early datagram waits in its socket.
        for udp in [bound_socket(listener) for listener in listeners]:
            transport, _ = await loop.create_datagram_endpoint(lambda: EchoProtocol(name), sock=udp)
            stack.callback(transport.close)
        await stopped.wait()


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``python -m appliance.lab.udp_server``."""
    arguments = read_arguments("UDP server of a real server in the lab", argv)
    uvloop.run(serve(arguments.name, arguments.listeners))


if __name__ == "__main__":
    main()
