"""api_conns.py over HTTP: how sessions are asked for, and what is said to those who ask wrongly."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import test_utils, web

from appliance.api import make_app
from appliance.ipc.queries import QueryError, SessionFilter, ShardDownError, ShardFailedError
from tests.support.gateway import SESSION, UDP_SESSION, FakeGateway

Client = test_utils.TestClient[web.Request, web.Application]


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
async def client(gateway: FakeGateway) -> AsyncIterator[Client]:
    async with test_utils.TestClient(test_utils.TestServer(make_app(gateway))) as client:
        yield client


async def text_of(response: aiohttp.ClientResponse) -> str:
    text = await response.text()
    assert response.status == 200, text
    return text


async def refusal(response: aiohttp.ClientResponse, status: int, kind: str) -> str:
    assert (response.status, response.content_type) == (status, "application/problem+json")
    problem: dict[str, Any] = await response.json(content_type=None)
    assert problem["type"] == f"urn:problem-type:appliance:{kind}"
    return str(problem["detail"])


FILTER = {"client": "198.51.100.0/24", "service": "web", "real_server": "192.0.2.101:8080", "state": "time_wait"}
ASKED = SessionFilter("198.51.100.0/24", "web", "192.0.2.101:8080", "TIME_WAIT")


async def test_a_filter_goes_to_the_shards_as_it_was_checked(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.batches = [[SESSION], [UDP_SESSION]]
    text = await text_of(await client.get("/conns", params=FILTER))
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["TCP", "UDP"]
    assert gateway.sessions.asked == (ASKED,)


async def test_a_page_names_the_next_one_in_a_link(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.batches, gateway.sessions.next_page = [[SESSION]], "0-0-7-00"
    response = await client.get("/conns", params=FILTER | {"limit": "1", "format": "json"})
    assert [row["source"] for row in await response.json()] == ["198.51.100.2:40000"]
    assert gateway.sessions.asked == (ASKED, 1, "")
    url, _, relation = response.headers["Link"].partition(">")
    assert relation == '; rel="next"'
    gateway.sessions.next_page = ""
    response = await client.get(url.removeprefix("<"))
    assert gateway.sessions.asked == (ASKED, 1, "0-0-7-00")
    assert (await response.json())[0]["service"] == "web", "in the same form"
    assert "Link" not in response.headers


async def test_a_place_alone_means_a_page_of_the_usual_size(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.batches = [[]]
    await text_of(await client.get("/conns", params={"after": "0-0-7-00"}))
    assert gateway.sessions.asked == (SessionFilter(), 1000, "0-0-7-00")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/conns?client=198.51.100", "client: '198.51.100' is no IPv4 endpoint"),
        ("/conns?clinet=198.51.100.2", "field: there is no 'clinet'"),
        ("/conns?limit=0", "limit: '0' is out of range 1..10000"),
        ("/conns?limit=10001", "limit: '10001' is out of range 1..10000"),
        ("/conns?service=mail", "there is no 'mail' (there are web, names)"),
        ("/conns/top?by=port", "by: there is no 'port' (there are client, service, real_server)"),
        ("/conns/top?n=1001", "n: '1001' is out of range 1..1000"),
        ("/conns/top?limit=1", "field: there is no 'limit'"),
    ],
)
async def test_a_question_that_cannot_be_meant_is_refused(client: Client, gateway: FakeGateway, path: str, words: str) -> None:
    assert words in await refusal(await client.get(path), 400, "bad-query")
    assert gateway.sessions.asked == ()


async def test_a_place_that_no_shard_knows_is_refused(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.error = QueryError("after: there is no shard 9")
    assert "no shard 9" in await refusal(await client.get("/conns?after=9-0-0-00"), 400, "bad-query")


async def test_top(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.counts = Counter({"192.0.2.101:8080": 2, "192.0.2.102:8080": 3})
    text = await text_of(await client.get("/conns/top", params={"by": "real_server", "n": "1", "service": "web"}))
    assert text.splitlines()[1:] == ["    3  192.0.2.102:8080"]
    assert gateway.sessions.asked == ("real_server", SessionFilter(service="web"))
    await text_of(await client.get("/conns/top"))
    assert gateway.sessions.asked == ("client", SessionFilter())


async def test_a_cut_says_how_many_there_were(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.batches = [[SESSION, SESSION]]
    assert await text_of(await client.delete("/conns", params={"client": "198.51.100.2"})) == "2\n"
    assert gateway.sessions.asked == (SessionFilter(client="198.51.100.2"),)
    response = await client.delete("/conns", params={"all": "1"}, headers={"Accept": "application/json"})
    assert await response.json() == {"cut": 2}
    assert gateway.sessions.asked == (SessionFilter(),)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "say which sessions (client, service, real_server, state), or all=1 for every one"),
        ("?client=", "client: is empty"),
        ("?state=ESTABLISHED&client=", "client: is empty"),
        ("?all=0", "all: '0' is not 1"),
        ("?all=yes&client=198.51.100.2", "all: 'yes' is not 1"),
        ("?state=CLOSED", "the nearest is CLOSE"),
        ("?limit=5", "field: there is no 'limit'"),
        ("?format=yaml", None),
    ],
)
async def test_a_cut_that_might_not_be_meant_cuts_nothing(
    client: Client, gateway: FakeGateway, query: str, words: str | None
) -> None:
    response = await client.delete(f"/conns{query}")
    assert response.status == 400
    if words:
        assert words in await refusal(response, 400, "bad-query")
    assert gateway.sessions.asked == ()


@pytest.mark.parametrize("path", ["/conns?limit=5", "/conns/top", "/stats/slabinfo", "/stats/sockstat"])
async def test_while_a_shard_is_down_there_is_no_answer_that_looks_whole(client: Client, gateway: FakeGateway, path: str) -> None:
    gateway.sessions.error = ShardDownError("the worker of shard 1 is away")
    assert "shard 1 is away" in await refusal(await client.get(path), 503, "shard-down")


async def test_a_shard_that_fails_to_answer_is_an_error_of_the_appliance(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.error = ShardFailedError("shard 1: KeyError()")
    assert "shard 1: KeyError()" in await refusal(await client.get("/conns/top"), 500, "shard-failed")


async def test_tables(client: Client, gateway: FakeGateway) -> None:
    assert (await text_of(await client.get("/stats/slabinfo"))).splitlines()[1].split() == ["tcp_conn", "5", "7", "560", "7", "1"]
    assert "TCP: inuse 0 orphan 0 tw 0 alloc 0 mem 1 bytes 3920" in await text_of(await client.get("/stats/sockstat"))
    assert "does not track" in await text_of(await client.get("/stats/conntrack"))
    gateway.conntrack = {"count": 3, "max": 4, "buckets": 5}
    rows = dict(line.split()[::2] for line in (await text_of(await client.get("/stats/conntrack"))).splitlines()[1:])
    assert rows == {"count": "3", "max": "4", "buckets": "5", "drop": "-", "early_drop": "-", "insert_failed": "-"}
