"""lab/udp_server.py, over the loopback interface."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from appliance.lab.server import Listener
from appliance.lab.udp_server import EchoProtocol, main, serve

LONGEST_BYTES = 1400
"""The longest datagram whose answer fits into one packet of an ordinary link, in bytes."""
LINK_MTU_BYTES, HEADERS_BYTES = 1500, 28


def free_ports(count: int) -> list[Listener]:
    """Ports that were free at the time of the call."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for udp in sockets:
        udp.bind(("127.0.0.1", 0))
    listeners = [Listener(*udp.getsockname()) for udp in sockets]
    for udp in sockets:
        udp.close()
    return listeners


@asynccontextmanager
async def serving(listeners: list[Listener]) -> AsyncIterator[None]:
    """Run the server, and stop it as the lab does."""
    server = asyncio.ensure_future(serve("rs1", listeners))
    await asyncio.sleep(0)  # the sockets are bound before it waits for anything
    yield
    os.kill(os.getpid(), signal.SIGTERM)
    await server


async def ask(udp: socket.socket, data: bytes) -> tuple[dict[str, str], bytes]:
    """The content of the line in front, and the bytes after it."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(udp, data)
    line, _, echo = (await loop.sock_recv(udp, 1 << 16)).partition(b"\n")
    return json.loads(line), echo


def connected(listener: Listener) -> socket.socket:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    udp.connect(listener)
    return udp


@pytest.mark.parametrize("data", [b"", b"x", b"\n{}\n", bytes(range(256)) * 5])
async def test_a_datagram_comes_back_behind_a_line_with_both_ends(data: bytes) -> None:
    (listener,) = free_ports(1)
    async with serving([listener]):
        with connected(listener) as udp:
            host, port = udp.getsockname()
            assert await ask(udp, data) == ({"real_server": "rs1", "peer": f"{host}:{port}"}, data)


async def test_every_listener_answers_from_its_own_port() -> None:
    listeners = free_ports(3)
    async with serving(listeners):
        for listener in listeners:
            with connected(listener) as udp:
                assert (await ask(udp, b"x"))[1] == b"x", "a connected socket hears nobody but whom it asked"


class Recorder(asyncio.DatagramTransport):
    """A transport that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[bytes, object]] = []

    def sendto(self, data: bytes | bytearray | memoryview, addr: object = None) -> None:
        self.sent.append((bytes(data), addr))


def test_the_longest_datagram_fits_into_one_packet_with_its_line() -> None:
    transport, longest_peer = Recorder(), ("255.255.255.255", 65535)
    protocol = EchoProtocol("rs1")
    protocol.connection_made(transport)
    protocol.datagram_received(bytes(LONGEST_BYTES), longest_peer)
    [(answer, peer)] = transport.sent
    assert peer == longest_peer
    assert LONGEST_BYTES < len(answer) <= LINK_MTU_BYTES - HEADERS_BYTES


async def test_ports_are_closed_when_it_has_stopped() -> None:
    (listener,) = free_ports(1)
    async with serving([listener]):
        pass
    with connected(listener) as udp:
        await asyncio.get_running_loop().sock_sendall(udp, b"x")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.get_running_loop().sock_recv(udp, 100)


@pytest.mark.parametrize("listen", ["8080", "192.0.2.101", "192.0.2.101:domain", "rs1:53"])
def test_listen_address_that_is_none_is_a_usage_error(listen: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--name", "rs1", "--listen", listen])
    assert f"{listen!r} is not ADDRESS:PORT" in capsys.readouterr().err
