"""rest/tls_server.py: who is served, what a handshake that is never finished costs, and which names count as ours."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from appliance.api import make_app
from appliance.edge.tls import load
from appliance.rest import listen, tls_server
from appliance.rest.listen import serve
from tests.support.certificates import Authority
from tests.support.gateway import SESSION, FakeGateway

HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


class Served:
    """The API with TLS on a port of the loopback."""

    def __init__(self, gateway: FakeGateway, authority: Authority, runner: web.AppRunner) -> None:
        self.gateway = gateway
        self.authority = authority
        self.port: int = runner.addresses[0][1]
        self.trusting = ssl.create_default_context(cafile=str(authority.file))
        self._writers: list[asyncio.StreamWriter] = []

    async def get(self, path: str, trust: ssl.SSLContext | None = None, **headers: str) -> int:
        """The status of the answer."""
        connector = aiohttp.TCPConnector(ssl=trust or self.trusting)
        url = f"https://127.0.0.1:{self.port}{path}"
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(url, headers=headers) as response,
        ):
            await response.read()
            return response.status

    async def connect(self, *, tls: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.trusting if tls else None)
        self._writers.append(writer)
        return reader, writer

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


async def until(is_so: Callable[[], bool]) -> None:
    while True:
        if is_so():
            return
        await asyncio.sleep(0)


Start = Callable[..., Awaitable[Served]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    ends: list[Callable[[], Awaitable[None]]] = []

    async def start(*, for_clients: bool = False) -> Served:
        authority = Authority(tmp_path)
        files = authority.issue("127.0.0.1", "gw.example.org", "*.lb.example.org", "192.0.2.1")
        gateway = FakeGateway()
        gateway.access.tls = load(str(files.certificate), str(files.key), str(authority.file) if for_clients else None)
        runner = await serve(make_app(gateway), ["tls:127.0.0.1:0"], gateway.access.context)
        served = Served(gateway, authority, runner)

        async def end() -> None:
            served.close()
            await runner.cleanup()

        ends.append(end)
        return served

    yield start
    for end in ends:
        await end()


async def test_https_is_served(start: Start) -> None:
    served = await start()
    assert await served.get("/healthz") == 200


async def test_many_requests_and_long_answers_go_through(start: Start) -> None:
    served = await start()
    served.gateway.sessions.batches = [[SESSION] * 1000] * 20
    reader, writer = await served.connect(tls=True)
    for _ in range(3):
        writer.write(HEAD + b"\r\n")
    for _ in range(3):
        assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200 ")
    writer.write(b"GET /conns HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).count(b"ESTABLISHED") == 20_000


async def test_a_request_that_comes_with_the_end_of_the_handshake_is_not_lost(start: Start) -> None:
    """The client's last message and its first request arrive in one piece."""
    served = await start()
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = served.trusting.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    reader, writer = await served.connect(tls=False)
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(to_server.read())
            to_client.write(await reader.read(1 << 16))
    client.write(HEAD + b"\r\n")
    writer.write(to_server.read())
    answer = b""
    while not answer:
        to_client.write(await reader.read(1 << 16))
        try:
            answer = client.read()
        except ssl.SSLWantReadError:
            continue
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_client_without_its_certificate_is_not_served(start: Start, tmp_path: Path) -> None:
    served = await start(for_clients=True)
    with pytest.raises(aiohttp.ClientError):
        await served.get("/healthz")
    (tmp_path / "other").mkdir()
    for issued_by, is_served in ((Authority(tmp_path / "other"), False), (served.authority, True)):
        files = issued_by.issue("client")
        served.trusting.load_cert_chain(files.certificate, files.key)
        if is_served:
            assert await served.get("/healthz") == 200
        else:
            with pytest.raises(aiohttp.ClientError):
                await served.get("/healthz")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1])
async def test_old_versions_are_refused(start: Start, version: ssl.TLSVersion) -> None:
    served = await start()
    with pytest.warns(DeprecationWarning, match="deprecated"):
        served.trusting.minimum_version = version
    with pytest.warns(DeprecationWarning, match="deprecated"):
        served.trusting.maximum_version = version
    served.trusting.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(aiohttp.ClientError):
        await served.get("/healthz")


async def test_half_a_handshake_counts_as_a_connection_and_ends_in_time(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listen, "CONNECTIONS_MAX", 2)
    monkeypatch.setattr(tls_server, "HANDSHAKE_S", 0.3)
    served = await start()
    halves = [await served.connect(tls=False) for _ in range(2)]
    halves[1][1].write(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
    with pytest.raises(OSError):
        await served.connect(tls=True)
    assert "connection refused: 2 are open on this listener" in caplog.messages
    for reader, _ in halves:
        assert await reader.read() == b""
    assert await served.get("/healthz") == 200
    assert any(line.startswith("TLS handshake failed: ") for line in caplog.messages)


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x02\xff\xff", 70_000 * b"\x00"])
async def test_what_is_no_handshake_costs_one_connection_for_a_moment(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    monkeypatch.setattr(listen, "CONNECTIONS_MAX", 1)
    monkeypatch.setattr(tls_server, "HANDSHAKE_S", 0.1)
    served = await start()
    for _ in range(2):
        reader, writer = await served.connect(tls=False)
        writer.write(sent)
        try:
            while await reader.read(1 << 16):
                pass
        except ConnectionError:
            pass
    monkeypatch.setattr(tls_server, "HANDSHAKE_S", 10.0)
    assert await served.get("/healthz") == 200
    assert [line.partition(":")[0] for line in caplog.messages] == ["TLS handshake failed"]


async def test_a_client_that_leaves_in_the_handshake_leaves_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "CONNECTIONS_MAX", 1)
    served = await start()
    for how in (socket.SHUT_WR, socket.SHUT_RDWR):
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.shutdown(how)
        while True:
            try:
                assert await served.get("/healthz") == 200
                break
            except aiohttp.ClientError:
                continue


async def test_a_client_that_does_not_read_is_ended(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "STALL_S", 0.01)
    served = await start()
    served.gateway.sessions.batches = [[SESSION] * 1000] * 1000
    _, writer = await served.connect(tls=True)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET /conns HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await until(lambda: served.gateway.sessions.listings_open == 1)
    await until(lambda: served.gateway.sessions.listings_open == 0)
    assert served.gateway.sessions.batches_taken < 1000


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost", 200),
        ("gw.example.org", 200),
        ("GW.example.org:9443", 200),
        ("a.lb.example.org", 200),
        ("192.0.2.1", 200),
        ("a.b.lb.example.org", 421),
        ("lb.example.org", 421),
        ("192.0.2.2", 421),
        ("evil.example", 421),
    ],
)
async def test_names_of_the_certificate_are_ours(start: Start, host: str, status: int) -> None:
    served = await start()
    assert await served.get("/healthz", Host=host) == status


@pytest.mark.parametrize(
    ("origin", "status"), [("https://gw.example.org", 200), ("http://gw.example.org", 403), ("https://evil.example", 403)]
)
async def test_a_page_of_the_api_has_its_scheme(start: Start, origin: str, status: int) -> None:
    served = await start()
    assert await served.get("/stats/slabinfo", Host="gw.example.org", Origin=origin) == status


async def test_without_tls_the_names_of_the_certificate_are_not_ours(start: Start) -> None:
    served = await start()
    runner = await serve(make_app(served.gateway), ["127.0.0.1:0"])
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/healthz"
        async with session.get(url, headers={"Host": "gw.example.org"}) as response:
            assert response.status == 421
    await runner.cleanup()


async def test_a_new_certificate_is_shown_to_new_connections(start: Start, tmp_path: Path) -> None:
    served = await start()
    authority = Authority(tmp_path)
    files = authority.issue("127.0.0.1")
    served.gateway.access.tls = load(str(files.certificate), str(files.key), None)
    with pytest.raises(aiohttp.ClientError):
        await served.get("/healthz")
    assert await served.get("/healthz", trust=ssl.create_default_context(cafile=str(authority.file))) == 200
