"""rest/connections.py, and the limits that rest/listen.py sets: too many, too slow, not reading at all."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import web

from appliance.api import make_app
from appliance.rest import listen
from appliance.rest.connections import Connections
from appliance.rest.listen import CONNECTIONS_MAX, RESERVED_DESCRIPTORS, ListenError, connections_per_listener, serve
from appliance.rest.rare_log import RareLog
from tests.support.gateway import SESSION, FakeGateway

HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Served:
    """The API on a TCP port of the loopback."""

    def __init__(self, runner: web.AppRunner) -> None:
        self.port: int = runner.addresses[0][1]
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def is_answered(self) -> bool:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}/healthz") as response:
            return response.status == 200

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


Start = Callable[[FakeGateway], Awaitable[Served]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    ends: list[Callable[[], Awaitable[None]]] = []

    async def start(gateway: FakeGateway) -> Served:
        runner = await serve(make_app(gateway), ["127.0.0.1:0"])
        served = Served(runner)

        async def end() -> None:
            served.close()
            await runner.cleanup()

        ends.append(end)
        return served

    yield start
    for end in ends:
        await end()


async def test_a_connection_too_many_is_refused_politely_and_there_is_room_again(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listen, "CONNECTIONS_MAX", 2)
    served = await start(FakeGateway())
    first, second = await served.connect(), await served.connect()
    for _ in range(5):
        reader, writer = await served.connect()
        writer.write(HEAD + b"\r\n")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 5\r\n" in answer
        assert b"\r\nConnection: close\r\n" in answer
    assert [line for line in caplog.messages if "connection refused" in line] == [
        "connection refused: 2 are open on this listener"
    ]
    first[1].close()
    await first[1].wait_closed()
    while not await second_try(served):
        pass
    second[1].write(HEAD + b"\r\n")
    assert (await second[0].readline()).startswith(b"HTTP/1.1 200 ")


async def until(is_so: Callable[[], bool]) -> None:
    while True:
        if is_so():
            return
        await asyncio.sleep(0)


async def second_try(served: Served) -> bool:
    """The server hears of a close a moment after the client's own end is closed."""
    reader, writer = await served.connect()
    writer.write(HEAD + b"Connection: close\r\n\r\n")
    return (await reader.read()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", [b"", b"G", HEAD, HEAD + b"X: " + 500 * b"x"])
async def test_a_request_that_is_never_complete_is_ended(start: Start, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(listen, "REQUEST_S", 0.01)
    served = await start(FakeGateway())
    reader, writer = await served.connect()
    writer.write(sent)
    assert await reader.read() == b""


async def test_an_idle_connection_is_ended_after_an_answer_too(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "REQUEST_S", 0.1)
    served = await start(FakeGateway())
    reader, writer = await served.connect()
    writer.write(HEAD + b"\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.write(b"GET")
    with contextlib.suppress(ConnectionResetError):  # what the server has not read when it closes makes it a RST
        await reader.read()


async def test_a_body_that_is_never_complete_is_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.rest.sysctl.BODY_S", 0.01)
    monkeypatch.setattr(listen, "_LINGER_S", 0.01)
    gateway = FakeGateway()
    served = await start(gateway)
    reader, writer = await served.connect()
    writer.write(b"PUT /sysctl/udp_timeout HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\n500")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body was not complete" in answer
    assert gateway.shared.tunable("udp_timeout") == 300_000


@pytest.mark.parametrize("path", ["/stats/ip_vs_conn", "/conns"])
async def test_a_client_that_does_not_read_is_ended(start: Start, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(listen, "STALL_S", 0.01)
    gateway = FakeGateway()
    gateway.sessions.batches = [[SESSION] * 1000] * 1000
    served = await start(gateway)
    _, writer = await served.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    await until(lambda: gateway.sessions.listings_open == 1)
    await until(lambda: gateway.sessions.listings_open == 0)
    assert gateway.sessions.batches_taken < 1000
    assert await served.is_answered()


async def test_a_client_that_sends_requests_and_reads_no_answer_is_ended(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listen, "STALL_S", 0.01)
    served = await start(FakeGateway())
    _, writer = await served.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    request = b"GET /sysctl HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    while not caplog.messages:
        if not writer.is_closing() and writer.transport.get_write_buffer_size() < 1 << 16:
            writer.write(100 * request)
        await asyncio.sleep(0)
    assert caplog.messages == ["connection ended: its client read too little in 0 s"]
    assert await served.is_answered()


@pytest.mark.parametrize("sent", [b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nA" + 70 * b"\xff" + b"\r\n\r\n"])
async def test_malformed_requests_cost_one_short_line(start: Start, caplog: pytest.LogCaptureFixture, sent: bytes) -> None:
    served = await start(FakeGateway())
    for _ in range(5):
        reader, writer = await served.connect()
        writer.write(sent)
        assert b" 400 Bad Request" in await reader.read()
    [record] = caplog.records
    assert record.message.startswith("malformed request: Error handling request from 127.0.0.1: ")
    assert not record.exc_info
    assert len(record.message) < 200


async def test_a_body_of_a_broken_compression_is_no_error_of_ours(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """What comes of it behind the answer was a trace in the log, with the request to report it."""
    served = await start(FakeGateway())
    head = b"PATCH /services/web HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Encoding: deflate\r\nContent-Length: 2\r\n\r\n"
    reader, writer = await served.connect()
    with caplog.at_level("WARNING", "appliance.api"):
        writer.write(head + b"xx")
        assert b" 400 Bad Request" in await reader.read()
    [record] = [one for one in caplog.records if one.name == "appliance.api"]
    assert record.message.startswith("malformed request: ")
    assert not record.exc_info


@pytest.mark.parametrize(
    ("descriptors", "listeners", "most"),
    [
        (4096, 2, CONNECTIONS_MAX),
        (1024, 2, CONNECTIONS_MAX),
        (1024, 10, (1024 - RESERVED_DESCRIPTORS) // 10 - 32),
        (resource.RLIM_INFINITY, 3, CONNECTIONS_MAX),
    ],
)
def test_the_limit_leaves_descriptors_for_what_must_not_fail(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, listeners: int, most: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert connections_per_listener(listeners) == most
    if descriptors != resource.RLIM_INFINITY:
        assert listeners * (most + 32) + RESERVED_DESCRIPTORS <= descriptors


def test_too_few_descriptors_are_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    with pytest.raises(ListenError, match="needs a limit of 322 open files, and it is 256"):
        connections_per_listener(2)


def test_a_transport_holds_little_of_an_answer_for_a_client_that_does_not_read() -> None:
    """With TLS it would hold 512 KiB for each."""
    transport = Mock()
    Connections(Mock(), 1, 1.0, RareLog())().connection_made(transport)
    transport.set_write_buffer_limits.assert_called_once_with(high=64 << 10)
