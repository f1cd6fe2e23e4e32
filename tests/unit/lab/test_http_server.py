"""lab/http_server.py, over the loopback interface and with packets that the test puts into the tap."""

import asyncio
import hashlib
import io
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import ClientResponse, ClientSession
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, AppRunner, Request

from appliance.lab.http_server import BYTES_MAX, PATTERN, Connection, RealServer, main
from appliance.lab.toa_reader import ClientAddressReader
from tests.support.toa_packets import CLIENT_OPTION, packet

Client = TestClient[Request, Application]


@pytest.fixture
def tap() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The end of a tap that the server has, and the end that stands for the kernel."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, kernels:
        ours.setblocking(False)
        yield ours, kernels


@pytest.fixture
async def client(tap: tuple[socket.socket, socket.socket]) -> AsyncIterator[Client]:
    server = RealServer("rs1", ClientAddressReader(tap[0]))
    async with TestClient(TestServer(server.application())) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/anything/else", "/sha256"])
async def test_any_path_says_which_real_server_and_which_peer(client: Client, path: str) -> None:
    answer = await client.get(path)
    body = await answer.json()
    assert (answer.status, body["real_server"], body["client"]) == (200, "rs1", None)
    assert body["peer"].startswith("127.0.0.1:")


async def test_client_is_what_the_option_of_this_connection_says(
    client: Client, tap: tuple[socket.socket, socket.socket]
) -> None:
    peer = (await (await client.get("/")).json())["peer"]
    tap[1].send(packet_of_conn(peer, client.port))
    body = await (await client.get("/")).json()
    assert (body["peer"], body["client"]) == (peer, "198.51.100.2:40001")


def packet_of_conn(peer: str, server_port: int | None) -> bytes:
    raw = bytearray(packet(CLIENT_OPTION))
    loopback = socket.inet_aton("127.0.0.1")
    raw[12:24] = loopback * 2 + int(peer.split(":")[1]).to_bytes(2, "big") + (server_port or 0).to_bytes(2, "big")
    return bytes(raw)


@pytest.mark.parametrize("count", [0, 1, len(PATTERN) - 1, len(PATTERN), len(PATTERN) + 1, 3 * len(PATTERN) + 17])
async def test_bytes_are_the_pattern_repeated(client: Client, count: int) -> None:
    answer = await client.get(f"/bytes/{count}")
    assert answer.headers["Content-Length"] == str(count)
    assert await answer.read() == (PATTERN * 4)[:count]


@pytest.mark.parametrize("count", ["x", "-1", "+1", "1.5", "", "٣", str(BYTES_MAX + 1), "9" * 5000])
async def test_a_wrong_byte_count_is_explained(client: Client, count: str) -> None:
    answer = await client.get(f"/bytes/{count}")
    if count:
        assert answer.status == 400
        assert f"0 to {BYTES_MAX}" in await answer.text()
    else:
        assert (await answer.json())["real_server"] == "rs1"


async def test_digest_of_a_body_beyond_any_usual_limit(client: Client) -> None:
    body = PATTERN * 40
    answer = await client.post("/sha256", data=io.BytesIO(body))
    assert await answer.json() == {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}


async def test_digest_of_nothing(client: Client) -> None:
    answer = await client.post("/sha256")
    assert await answer.json() == {"sha256": hashlib.sha256().hexdigest(), "bytes": 0}


@pytest.mark.parametrize("path", ["/", "/bytes/5", "/sha256"])
async def test_connection_stays_unless_close_is_asked_for(client: Client, path: str) -> None:
    async def ask(query: str) -> ClientResponse:
        session: ClientSession = client.session
        method = session.post if path == "/sha256" else session.get
        async with method(client.make_url(path + query)) as answer:
            await answer.read()
            return answer

    assert "Connection" not in (await ask("")).headers
    assert (await ask("?close=1")).headers["Connection"] == "close"


@pytest.mark.parametrize("listen", ["8080", "192.0.2.101", "192.0.2.101:http", "rs1:80"])
def test_listen_address_that_is_none_is_a_usage_error(listen: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--name", "rs1", "--listen", listen])
    assert f"{listen!r} is not ADDRESS:PORT" in capsys.readouterr().err


@pytest.fixture
async def port(tap: tuple[socket.socket, socket.socket]) -> AsyncIterator[int]:
    """The port of a server that handles its connections as in the lab."""
    runner = AppRunner(RealServer("rs1", ClientAddressReader(tap[0])).application())
    await runner.setup()
    requests = runner.server
    assert requests is not None
    server = await asyncio.get_running_loop().create_server(lambda: Connection(requests()), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await runner.cleanup()


async def exchange(port: int, *parts: bytes) -> list[bytes]:
    """What the server answers to each part of `parts`, and to the FIN after the last one, until the FIN of the server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for part in parts[:-1]:
        writer.write(part)
        answers.append(await reader.readuntil(b"}"))
    writer.write(parts[-1])
    writer.write_eof()
    answers.append(await reader.read())
    writer.close()
    await writer.wait_closed()
    return answers


REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


async def test_fin_right_behind_a_request_is_answered_and_then_closed(port: int) -> None:
    answers = await exchange(port, REQUEST, REQUEST)
    assert [answer.startswith(b"HTTP/1.1 200 ") for answer in answers] == [True, True]


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(b"", id="after an answer"),
        pytest.param(REQUEST[:-1], id="within a request"),
        pytest.param(b"POST /sha256 HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nabc", id="within a body"),
    ],
)
async def test_fin_of_a_client_that_waits_for_nothing_closes_the_connection(port: int, last: bytes) -> None:
    assert (await exchange(port, REQUEST, last))[1] == b""
