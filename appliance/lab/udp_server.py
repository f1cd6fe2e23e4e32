"""The UDP server of a real server in the lab: it sends every datagram back, with a line in front that says who it is.

That line is JSON and holds `real_server` and `peer` (the "ip:port" the datagram comes from). An answer has to fit into one
packet, so on the usual link a datagram can have up to 1400 bytes, unless the gateway is told to take fragments.
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
"""What waits for this process while it waits for a CPU. Nobody sends a lost datagram again."""


class EchoProtocol(asyncio.DatagramProtocol):
    """Answers on one socket in the name of the real server called `name`."""

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
    """Raises OSError as bind does."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    udp.bind(listener)
    return udp


async def serve(name: str, listeners: Sequence[Listener]) -> None:
    """Answer on every listener until SIGTERM or SIGINT."""
    stopped = stop_event()
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        # All are bound before the first is served: what comes early waits in its socket.
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
