"""The probes against servers on loopback: each kind of check, and what its answer says in words."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from appliance.health.answer import Answer, Outcome
from appliance.policy.check_ports import FIRST, LAST
from appliance.probes import http, probe, sockets, udp
from appliance.probes.sockets import Source
from tests.unit.probes.certificate import make_certificate
from tests.unit.probes.conftest import LOOPBACK, asked

NOWHERE = "192.0.2.77"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(talk: Talk, **more: Any) -> AsyncIterator[int]:
    """A TCP server on loopback; gives its port."""

    async def talk_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(talk_and_close, LOOPBACK, 0, **more)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


def http_answer(
    body: bytes = b"hello", status: str = "200 OK", headers: Mapping[str, str] = MappingProxyType({})
) -> tuple[Talk, list[bytes]]:
    """A server that answers each request so, and the requests that it got."""
    requests: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return talk, requests


async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def closed_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind((LOOPBACK, 0))
        port: int = taken.getsockname()[1]
        return port


async def test_a_connection_passes_and_is_reset_at_once() -> None:
    ended = asyncio.get_running_loop().create_future()

    async def wait_for_the_end(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        try:
            ended.set_result(await reader.read())
        except ConnectionResetError as error:
            ended.set_result(error)

    async with server(wait_for_the_end) as port:
        assert await asked("tcp", port) == (Outcome.PASSED, "connected")
        assert isinstance(await ended, ConnectionResetError)


async def test_a_closed_port_fails() -> None:
    assert await asked("tcp", closed_port()) == (Outcome.FAILED, "Connection refused")
    assert await asked("http", closed_port()) == (Outcome.FAILED, "Connection refused")


@pytest.mark.parametrize("kind", ["tcp", "http", "udp", "icmp"])
async def test_without_the_address_to_ask_from_nothing_is_decided(kind: str) -> None:
    if kind == "icmp" and os.geteuid():
        pytest.skip("a raw socket needs CAP_NET_RAW")
    answer = await asked(kind, closed_port(), sources=(NOWHERE,))
    assert answer == (Outcome.UNDECIDED, f"cannot ask from {NOWHERE}: Cannot assign requested address")


async def test_sources_are_used_in_turn() -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.put_nowait(writer.get_extra_info("peername")[0])

    async with server(note) as port:
        for _ in range(4):
            await asked("tcp", port, sources=("127.0.0.5", "127.0.0.6"))
        assert sorted([await seen.get() for _ in range(4)]) == ["127.0.0.5"] * 2 + ["127.0.0.6"] * 2


@pytest.mark.parametrize("kind", ["tcp", "http"])
async def test_from_a_local_address_only_the_ports_of_checks_are_used(kind: str) -> None:
    seen: asyncio.Queue[int] = asyncio.Queue()
    talk, _ = http_answer()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.put_nowait(writer.get_extra_info("peername")[1])
        await talk(reader, writer)

    async with server(note) as port:
        for _ in range(3):
            assert (await asked(kind, port, own_ports=True)).outcome is Outcome.PASSED
        ports = [await seen.get() for _ in range(3)]
    assert all(FIRST <= port <= LAST for port in ports)
    assert len(set(ports)) == 3 or os.geteuid(), "another one each time"


async def test_without_the_right_to_low_ports_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = list[int]()

    def bind(opened: socket.socket, address: str, port: int) -> None:
        if port < 1024:
            raise PermissionError(13, "Permission denied")
        opened.bind((address, port))
        bound.append(port)

    monkeypatch.setattr(sockets, "_bind", bind)
    async with server(say_nothing) as port:
        assert (await asked("tcp", port, own_ports=True)).outcome is Outcome.PASSED
    assert bound == [1024]


async def test_a_request_says_what_the_check_says() -> None:
    talk, requests = http_answer()
    async with server(talk) as port:
        assert await asked("http", port, method="OPTIONS", path="/a?b=%20c", host="www.example.com:81") == (
            Outcome.PASSED,
            "HTTP status 200",
        )
        await asked("http", port)
    first, second = (request.decode().split("\r\n") for request in requests)
    assert first[0] == "OPTIONS /a?b=%20c HTTP/1.1"
    assert "Host: www.example.com:81" in first
    assert second[0] == "GET / HTTP/1.1"
    assert f"Host: {LOOPBACK}:{port}" in second
    assert "Connection: close" in second


@pytest.mark.parametrize(
    ("status", "expected", "passes"),
    [("206 Part", "200-399", True), ("404 No", "200-399", False), ("404 No", "200-399,404", True), ("500 No", "404", False)],
)
async def test_the_status_decides(status: str, expected: str, passes: bool) -> None:
    talk, _ = http_answer(status=status)
    async with server(talk) as port:
        answer = await asked("http", port, expect_status=expected)
    code = status[:3]
    words = f"HTTP status {code}" if passes else f"HTTP status {code}, which is not among {expected}"
    assert answer == (Outcome.PASSED if passes else Outcome.FAILED, words)


async def test_a_redirection_is_an_answer_and_is_not_followed() -> None:
    there, followed = http_answer()
    async with server(there) as elsewhere:
        talk, _ = http_answer(status="302 Found", headers={"Location": f"http://{LOOPBACK}:{elsewhere}/"})
        async with server(talk) as port:
            assert await asked("http", port) == (Outcome.PASSED, "HTTP status 302")
    assert not followed


async def test_no_cookie_comes_back_and_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://{LOOPBACK}:{closed_port()}")
    talk, requests = http_answer(headers={"Set-Cookie": "a=b"})
    async with server(talk) as port:
        for _ in range(2):
            assert (await asked("http", port)).outcome is Outcome.PASSED
    assert not any(b"ookie" in request for request in requests)


@pytest.mark.parametrize(
    ("body", "passes"),
    [
        (b"all is well", True),
        (b"all is", False),
        (b"x" * (http.MOST_BODY_BYTES - 4) + b"well", True),
        (b"x" * (http.MOST_BODY_BYTES - 3) + b"well", False),
    ],
    ids=["there", "not there", "at the end of what is read", "beyond it"],
)
async def test_the_body_has_the_expected_text(body: bytes, passes: bool) -> None:
    talk, _ = http_answer(body)
    async with server(talk) as port:
        answer = await asked("http", port, expect_body=b"well")
    words = "HTTP status 200" if passes else "HTTP status 200, but the body does not have the expected text"
    assert answer == (Outcome.PASSED if passes else Outcome.FAILED, words)


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000])
async def test_what_is_no_answer_fails(said: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()

    async with server(talk) as port:
        answer = await asked("http", port)
    assert answer.outcome is Outcome.FAILED
    assert answer.words.isprintable()


@pytest.mark.parametrize("kind", ["http", "https", "udp"])
async def test_silence_fails_when_the_time_is_over(kind: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind((LOOPBACK, 0))
        async with server(say_nothing) as port:
            asks = deaf.getsockname()[1] if kind == "udp" else port
            assert await asked(kind, asks, timeout_s=0.05, expect=b"x") == (Outcome.FAILED, "no answer within 0.05 s")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"), "www.example.com")


@asynccontextmanager
async def tls_server(certificate: Path, names: list[str | None]) -> AsyncIterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _, name, __: names.append(name)
    talk, _ = http_answer()
    async with server(talk, ssl=context) as port:
        yield port


async def test_a_certificate_that_nobody_has_signed_is_refused_unless_it_need_not_be_valid(certificate: Path) -> None:
    async with tls_server(certificate, []) as port:
        refused = await asked("https", port)
        assert refused.outcome is Outcome.FAILED
        assert "self-signed certificate" in refused.words
        assert await asked("https", port, tls_verify=False) == (Outcome.PASSED, "HTTP status 200")


@pytest.mark.parametrize(("sni", "passes"), [("www.example.com", True), ("other.example.com", False), ("", False)])
async def test_a_valid_certificate_must_be_of_the_name(
    certificate: Path, sni: str, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(http, "_context", lambda verify: trusting if verify else None)
    names: list[str | None] = []
    async with tls_server(certificate, names) as port:
        answer = await asked("https", port, sni=sni)
    assert answer.outcome is (Outcome.PASSED if passes else Outcome.FAILED), answer
    assert names == [sni or None], "the name that TLS asked for"


@asynccontextmanager
async def udp_server(answer: bytes | None) -> AsyncIterator[tuple[int, list[bytes]]]:
    got: list[bytes] = []

    class Protocol(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            got.append(data)
            if answer is not None:
                self.transport.sendto(answer, addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Protocol, local_addr=(LOOPBACK, 0))
    try:
        yield transport.get_extra_info("sockname")[1], got
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("answer", "expect", "passes", "words"),
    [
        (b"a\xffb", b"\xff", True, "an answer of 3 bytes"),
        (b"a", b"\xff", False, "an answer of 1 bytes, without what is expected"),
        (b"a", b"", True, "an answer of 1 bytes"),
    ],
)
async def test_a_datagram_is_answered_as_expected(answer: bytes, expect: bytes, passes: bool, words: str) -> None:
    async with udp_server(answer) as (port, got):
        found = await asked("udp", port, send=b"\x00q", expect=expect)
    assert found == (Outcome.PASSED if passes else Outcome.FAILED, words)
    assert got == [b"\x00q"]


async def test_without_an_expected_answer_silence_is_well_and_a_refusal_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "UNREFUSED_S", 0.02)
    async with udp_server(None) as (port, _):
        assert await asked("udp", port) == (Outcome.PASSED, "sent and not refused")
    assert await asked("udp", closed_port(socket.SOCK_DGRAM)) == (Outcome.FAILED, "Connection refused")


@pytest.mark.skipif(os.geteuid() != 0, reason="a raw socket needs CAP_NET_RAW")
async def test_an_echo_comes_back() -> None:
    assert await asked("icmp") == (Outcome.PASSED, "echo answered")


async def test_several_echoes_at_once_find_their_own_answers() -> None:
    if os.geteuid():
        pytest.skip("a raw socket needs CAP_NET_RAW")
    assert {await answer for answer in asyncio.as_completed([asked("icmp") for _ in range(20)])} == {
        Answer(Outcome.PASSED, "echo answered")
    }


async def test_an_error_of_ours_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> Answer:
        raise RuntimeError("ours")

    monkeypatch.setitem(probe._PROBES, "tcp", broken)
    assert await asked("tcp") == (Outcome.UNDECIDED, "an error of the check itself: RuntimeError('ours')")


@pytest.mark.parametrize("number", ["EMFILE", "EADDRNOTAVAIL", "EPERM"])
async def test_what_only_this_host_lacks_decides_nothing(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> Answer:
        raise OSError(getattr(errno, number), "whatever")

    monkeypatch.setitem(probe._PROBES, "tcp", broken)
    assert (await asked("tcp")).outcome is Outcome.UNDECIDED


async def test_a_check_that_is_cancelled_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, is_opened, inner = list[socket.socket](), asyncio.Event(), Source.opened

    def note(*arguments: Any) -> socket.socket:
        opened.append(inner(*arguments))
        is_opened.set()
        return opened[-1]

    monkeypatch.setattr(Source, "opened", note)
    async with server(say_nothing) as port:
        task = asyncio.ensure_future(asked("http", port))
        await is_opened.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert all(each.fileno() == -1 for each in opened)
