"""rest/identity.py: what a token gives, where one is needed, and what a wrong one costs whom."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
from aiohttp import web

from appliance.api import make_app
from appliance.model.token import Tokens, line_of, read_tokens
from appliance.rest import identity
from appliance.rest.listen import serve
from appliance.rest.routes import ROUTES
from tests.support.api_answers import Client, problem_of
from tests.support.gateway import FakeGateway

READS, WRITES = "apl_reads", "apl_writes"
TUNABLE = "/sysctl/tcp_timeout_established"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "DELAY_S", 0)


@pytest.fixture
def gateway() -> FakeGateway:
    gateway = FakeGateway()
    lines = (line_of("grafana", READS, may_write=False), line_of("ops", WRITES, may_write=True))
    gateway.access.tokens = read_tokens("\n".join(lines))
    return gateway


@pytest.mark.parametrize("user_may_write", [True, False])
@pytest.mark.parametrize(("token", "may_write"), [(READS, False), (WRITES, True)])
async def test_the_rights_are_those_of_the_token_whoever_sends_it(
    client: Client, gateway: FakeGateway, token: str, may_write: bool, user_may_write: bool
) -> None:
    gateway.access.is_writer = user_may_write
    assert (await client.get(TUNABLE, headers=bearer(token))).status == 200
    response = await client.put(TUNABLE, data=b"5000", headers=bearer(token))
    assert response.status == (200 if may_write else 403)
    if not may_write:
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="appliance", error="insufficient_scope"'
        assert "token grafana may read and not change anything" in await response.text()
    assert gateway.shared.tunable("tcp_timeout_established") == (5000 if may_write else 900_000)
    assert gateway.access.asked == 0, "the user behind the connection does not matter"


@pytest.mark.parametrize(
    "sent",
    [
        "Bearer wrong",
        "Bearer",
        "Bearer ",
        "",
        WRITES,
        f"Basic {WRITES}",
        f"Bearer {WRITES}x",
        f"Bearer {WRITES} {WRITES}",
        f"Bearer {WRITES.upper()}",
        "Bearer " + 4000 * "x",
    ],
)
@pytest.mark.parametrize("path", ["/healthz", "/nothing"])
async def test_another_token_is_refused_even_where_none_is_needed(client: Client, sent: str, path: str) -> None:
    response = await client.get(path, headers={"Authorization": sent})
    problem = await problem_of(response, 401)
    assert problem["type"] == "urn:problem-type:appliance:wrong-token"
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="appliance", error="invalid_token"'


async def test_two_tokens_are_none(client: Client) -> None:
    headers = [("Authorization", f"Bearer {WRITES}"), ("Authorization", f"Bearer {READS}")]
    assert (await client.get("/healthz", headers=headers)).status == 401


async def test_the_word_bearer_has_no_case(client: Client) -> None:
    assert (await client.get("/healthz", headers={"Authorization": f"bEARER {READS}"})).status == 200


async def test_an_appliance_without_tokens_says_so(client: Client, gateway: FakeGateway) -> None:
    gateway.access.tokens = Tokens()
    problem = await problem_of(await client.get("/healthz", headers=bearer(READS)), 401)
    assert "has no tokens" in problem["detail"]


async def test_a_token_that_is_taken_away_is_refused_on_its_connection(client: Client, gateway: FakeGateway) -> None:
    assert (await client.get("/healthz", headers=bearer(WRITES))).status == 200
    gateway.access.tokens = read_tokens(line_of("grafana", READS, may_write=False))
    assert (await client.get("/healthz", headers=bearer(WRITES))).status == 401
    assert (await client.get("/healthz", headers=bearer(READS))).status == 200


class Remote:
    """The API on a listener that other hosts could reach, and a client of it."""

    def __init__(self, runner: web.AppRunner, session: aiohttp.ClientSession) -> None:
        self._url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._session = session

    async def answer(self, method: str, path: str, headers: Mapping[str, str] = {}) -> aiohttp.ClientResponse:
        async with self._session.request(method, self._url + path, headers=headers, data=b"5000") as response:
            await response.read()
            return response


@pytest.fixture
async def remote(gateway: FakeGateway) -> AsyncIterator[Remote]:
    runner = await serve(make_app(gateway), ["0.0.0.0:0"])
    async with aiohttp.ClientSession() as session:
        yield Remote(runner, session)
    await runner.cleanup()


EVERYTHING = [(asked.method, route.path) for route in ROUTES for asked in route.operations if asked.needs_token]


@pytest.mark.parametrize(("method", "path"), [*EVERYTHING, ("GET", "/nothing"), ("POST", "/sysctl")])
async def test_nothing_is_answered_to_other_hosts_without_a_token(remote: Remote, method: str, path: str) -> None:
    response = await remote.answer(method, path.replace("{name}", "udp_timeout"))
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="appliance"'


@pytest.mark.parametrize(("token", "status"), [(READS, 403), (WRITES, 200), ("apl_other", 401)])
async def test_a_token_lets_in_other_hosts(remote: Remote, token: str, status: int) -> None:
    assert (await remote.answer("GET", TUNABLE, bearer(token))).status == (401 if status == 401 else 200)
    assert (await remote.answer("PUT", TUNABLE, bearer(token))).status == status


@pytest.mark.parametrize("may_write", [True, False])
async def test_without_the_need_of_tokens_the_rights_are_those_of_the_user(
    remote: Remote, gateway: FakeGateway, may_write: bool
) -> None:
    gateway.access.remote_needs_token, gateway.access.is_writer = False, may_write
    assert (await remote.answer("GET", TUNABLE)).status == 200
    assert (await remote.answer("PUT", TUNABLE)).status == (200 if may_write else 403)
    assert (await remote.answer("GET", TUNABLE, bearer("apl_other"))).status == 401


async def test_wrong_tokens_wait_and_too_many_are_sent_away_while_right_ones_are_served(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waiting, may_go_on = 0, asyncio.Event()

    async def wait(_: float) -> None:
        nonlocal waiting
        waiting += 1
        await may_go_on.wait()

    monkeypatch.setattr("appliance.rest.identity.asyncio.sleep", wait)
    delayed = [asyncio.ensure_future(remote.answer("GET", "/healthz", bearer("apl_other"))) for _ in range(identity.DELAYED_MAX)]
    while waiting < identity.DELAYED_MAX:
        await asyncio.wait(delayed, timeout=0)
    for _ in range(3):
        refused = await remote.answer("GET", "/healthz", bearer("apl_other"))
        assert (refused.status, refused.headers["Connection"]) == (429, "close")
        assert (await remote.answer("GET", "/healthz", bearer(READS))).status == 200
    assert waiting == identity.DELAYED_MAX
    may_go_on.set()
    assert [response.status for response in await asyncio.gather(*delayed)] == [401] * identity.DELAYED_MAX
    [line] = caplog.messages
    assert line.startswith("wrong token refused: from 127.0.0.1:")


async def test_no_token_is_ever_logged(remote: Remote, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="appliance")
    secret = "apl_0123456789"
    for headers in (bearer(secret), {"Authorization": secret}):
        await remote.answer("PUT", TUNABLE, headers)
    for path in (f"{TUNABLE}?access_token={secret}", f"/sysctl/{secret}"):
        await remote.answer("PUT", path, bearer(WRITES))
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(f"GET / HTTP/1.1\r\nAuthorization: Bearer {secret}\x00\r\n\r\n".encode())
    assert b" 400 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert len(caplog.messages) >= 5
    assert not [line for line in caplog.messages if secret in line or WRITES in line]
