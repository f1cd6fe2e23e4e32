"""rest/caller.py: other hosts' names, other sites' pages, and users who may only read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp
import pytest

from appliance.api import make_app
from appliance.rest.listen import serve
from appliance.rest.routes import ROUTES
from tests.support import api_changes
from tests.support.api_answers import Client, problem_of, text_of
from tests.support.gateway import SESSION, FakeGateway

ESTABLISHED = "/sysctl/tcp_timeout_established"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:1", "localhost", "LOCALHOST:9380"])
async def test_names_of_the_listener_are_answered(client: Client, host: str) -> None:
    assert (await client.get("/healthz", headers={"Host": host})).status == 200


OTHER_NAMES = (
    "evil.example",
    "evil.example:9380",
    "127.0.0.2",
    "[::1]",
    "127.0.0.1.evil.example",
    "localhost.",
    "",
    "0",
    "x" * 900,
)


@pytest.mark.parametrize("host", OTHER_NAMES)
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("PUT", ESTABLISHED), ("DELETE", "/conns"), ("GET", "/nothing")])
async def test_another_name_is_refused_because_a_page_could_have_it(client: Client, host: str, method: str, path: str) -> None:
    problem = await problem_of(await client.request(method, path, headers={"Host": host}, data=b"5000"), 421)
    assert problem["type"].endswith(":wrong-host")
    assert len(problem["detail"]) < 200
    assert await text_of(client, ESTABLISHED) == "900000\n"


CHANGES = [(asked.method, route.path) for route in ROUTES for asked in route.operations if asked.method != "GET"]
COSTLY = [(asked.method, route.path) for route in ROUTES for asked in route.operations if asked.is_costly]
URLS = {
    "/sysctl/{name}": ESTABLISHED,
    "/stats/ext/{name}": "/stats/ext/synproxy_ok_ack",
    "/conns": "/conns?state=CLOSE",
    "/host/sysctl/{name}": "/host/sysctl/tcp_fin_timeout",
    "/stats/ip_vs_ext_stats/{name}": "/stats/ip_vs_ext_stats/synproxy_ok_ack",
    **api_changes.URLS,
    "/trace": "/trace?client=198.51.100.2",
    "/services/{name}/real_servers/{endpoint}/drain": "/services/web/real_servers/192.0.2.101:8080/drain",
}


def test_everything_that_asks_workers_or_the_kernel_is_costly() -> None:
    assert {path for _, path in COSTLY} == {
        "/stats/ext", "/stats/ext/{name}", "/stats/ip_vs_conn", "/stats/lane", "/stats/slabinfo", "/stats/sockstat",
        "/stats/consistency",
        "/conns", "/conns/top", "/doctor", "/host/sysctl", "/host/sysctl/{name}", "/stats/ip_vs_ext_stats",
        "/stats/ip_vs_ext_stats/{name}", "/stats/persistence", "/persistence", "/config", "/config/plan", "/config/apply",
        "/config/save",
        "/services", "/services/{name}", "/services/{name}/real_servers", "/services/{name}/real_servers/{endpoint}",
        "/pools/{name}",
    }  # fmt: skip


OTHER_SITES = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1"},  # another port is another site
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "CROSS-SITE"},
]


@pytest.mark.parametrize("headers", OTHER_SITES)
@pytest.mark.parametrize(("method", "path"), [*CHANGES, *COSTLY])
async def test_pages_of_other_sites_change_nothing_and_cost_nothing(
    client: Client, gateway: FakeGateway, method: str, path: str, headers: Mapping[str, str]
) -> None:
    problem = await problem_of(await client.request(method, URLS.get(path, path), headers=headers, data=b"5000"), 403)
    assert problem["type"].endswith(":other-site")
    assert gateway.sessions.asked == ()
    assert await text_of(client, ESTABLISHED) == "900000\n"


async def test_a_page_of_the_api_itself_may_ask(client: Client) -> None:
    origin = {"Origin": str(client.make_url("/")).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert (await client.put(ESTABLISHED, data=b"5000", headers=origin)).status == 200
    assert (await client.get("/conns", headers={"Sec-Fetch-Site": "none"})).status == 200


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_a_user_who_may_not_write_may_read(client: Client, gateway: FakeGateway, method: str, path: str) -> None:
    gateway.access.is_writer, gateway.sessions.batches = False, [[SESSION]]
    problem = await problem_of(await client.request(method, URLS.get(path, path), data=b"5000"), 403)
    assert problem["type"].endswith(":read-only")
    assert gateway.sessions.asked == ()
    assert await text_of(client, ESTABLISHED) == "900000\n"
    assert "198.51.100.2" in await text_of(client, "/conns")


Served = Callable[[FakeGateway, str], Awaitable[tuple[aiohttp.ClientSession, str]]]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    ends: list[Callable[[], Awaitable[None]]] = []

    async def start(gateway: FakeGateway, entry: str) -> tuple[aiohttp.ClientSession, str]:
        runner = await serve(make_app(gateway), [entry])
        path = entry.partition("unix:")[2]
        session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path) if path else None)
        ends.extend((session.close, runner.cleanup))
        return session, "http://unix" if path else f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for end in ends:
        await end()


@pytest.mark.parametrize("is_writer", [True, False])
async def test_who_writes_is_asked_once_a_connection(served: Served, is_writer: bool) -> None:
    gateway = FakeGateway()
    gateway.access.is_writer = is_writer
    session, base = await served(gateway, "127.0.0.1:0")
    for _ in range(5):
        async with session.put(base + ESTABLISHED, data=b"5000") as response:
            assert response.status == (200 if is_writer else 403)
    assert gateway.access.asked == 1


@pytest.mark.parametrize(
    ("host", "status"), [("appliance", 200), ("localhost", 200), ("127.0.0.1", 200), ("evil.example", 421), ("", 200)]
)
async def test_on_a_unix_socket_a_host_is_any_name_that_is_not_in_the_dns(
    served: Served, tmp_path: Path, host: str, status: int
) -> None:
    session, base = await served(FakeGateway(), f"unix:{tmp_path / 'api.sock'}")
    async with session.get(base + "/healthz", headers={"Host": host}) as response:
        assert response.status == status


async def test_a_request_of_http_1_0_needs_no_host(client: Client) -> None:
    for version, status in ((b"1.0", b"200"), (b"1.1", b"400")):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(b"GET /healthz HTTP/%s\r\nConnection: close\r\n\r\n" % version)
        assert (await reader.readline()).split()[1] == status
        await reader.read()
        writer.close()
        await writer.wait_closed()
