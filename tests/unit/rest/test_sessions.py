"""rest/sessions.py over HTTP: how sessions are listed, counted and cut, and how wrong requests are refused."""

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import pytest

from appliance.api import make_app, serve
from appliance.ipc.queries import QueryError, SessionFilter, ShardDownError, ShardFailedError
from tests.support.api_answers import Client, json_of, text_of
from tests.support.gateway import SESSION, UDP_SESSION, FakeGateway

ESTABLISHED = "/sysctl/tcp_timeout_established"


async def body_of(response: aiohttp.ClientResponse) -> str:
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
    text = await body_of(await client.get("/conns", params=FILTER))
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
    await body_of(await client.get("/conns", params={"after": "0-0-7-00"}))
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
async def test_a_query_with_a_wrong_field_is_refused(client: Client, gateway: FakeGateway, path: str, words: str) -> None:
    assert words in await refusal(await client.get(path), 400, "bad-query")
    assert gateway.sessions.asked == ()


async def test_a_place_that_no_shard_knows_is_refused(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.error = QueryError("after: there is no shard 9")
    assert "no shard 9" in await refusal(await client.get("/conns?after=9-0-0-00"), 400, "bad-query")


async def test_top(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.counts = Counter({"192.0.2.101:8080": 2, "192.0.2.102:8080": 3})
    text = await body_of(await client.get("/conns/top", params={"by": "real_server", "n": "1", "service": "web"}))
    assert text.splitlines()[1:] == ["    3  192.0.2.102:8080"]
    assert gateway.sessions.asked == ("real_server", SessionFilter(service="web"))
    await body_of(await client.get("/conns/top"))
    assert gateway.sessions.asked == ("client", SessionFilter())


async def test_a_cut_says_how_many_there_were(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.batches = [[SESSION, SESSION]]
    assert await body_of(await client.delete("/conns", params={"client": "198.51.100.2"})) == "2\n"
    assert gateway.sessions.asked == (SessionFilter(client="198.51.100.2"),)
    response = await client.delete("/conns", params={"all": "1"}, headers={"Accept": "application/json"})
    assert await response.json() == {"cut": 2}
    assert gateway.sessions.asked == (SessionFilter(),)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "say which sessions (client, service, real_server, state), or all=1 for all sessions"),
        ("?client=", "client: is empty"),
        ("?state=ESTABLISHED&client=", "client: is empty"),
        ("?all=0", "all: '0' is not 1"),
        ("?all=yes&client=198.51.100.2", "all: 'yes' is not 1"),
        ("?state=CLOSED", "the nearest is CLOSE"),
        ("?limit=5", "field: there is no 'limit'"),
        ("?format=yaml", None),
    ],
)
async def test_a_cut_with_an_unclear_query_cuts_nothing(
    client: Client, gateway: FakeGateway, query: str, words: str | None
) -> None:
    response = await client.delete(f"/conns{query}")
    assert response.status == 400
    if words:
        assert words in await refusal(response, 400, "bad-query")
    assert gateway.sessions.asked == ()


@pytest.mark.parametrize("path", ["/conns?limit=5", "/conns/top", "/stats/slabinfo", "/stats/consistency", "/stats/sockstat"])
async def test_while_a_shard_is_down_there_is_no_answer_that_looks_complete(
    client: Client, gateway: FakeGateway, path: str
) -> None:
    gateway.sessions.error = ShardDownError("the worker of shard 1 is away")
    assert "shard 1 is away" in await refusal(await client.get(path), 503, "shard-down")


async def test_a_shard_that_fails_to_answer_is_an_error_of_the_appliance(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.error = ShardFailedError("shard 1: KeyError()")
    assert "shard 1: KeyError()" in await refusal(await client.get("/conns/top"), 500, "shard-failed")


async def test_tables(client: Client, gateway: FakeGateway) -> None:
    assert (await body_of(await client.get("/stats/slabinfo"))).splitlines()[1].split() == ["tcp_conn", "5", "7", "560", "7", "1"]
    assert "TCP: inuse 0 orphan 0 tw 0 alloc 0 mem 1 bytes 3920" in await body_of(await client.get("/stats/sockstat"))
    assert "does not track" in await body_of(await client.get("/stats/conntrack"))
    gateway.conntrack = {"count": 3, "max": 4, "buckets": 5}
    rows = dict(line.split()[::2] for line in (await body_of(await client.get("/stats/conntrack"))).splitlines()[1:])
    assert rows == {"count": "3", "max": "4", "buckets": "5", "drop": "-", "early_drop": "-", "insert_failed": "-"}


async def test_sessions_as_text_and_json(client: Client, gateway: FakeGateway) -> None:
    other = SESSION._replace(client="198.51.100.3:1", state="TIME_WAIT")
    gateway.sessions.batches = [[], [SESSION, other], [], [SESSION]]
    lines = (await text_of(client, "/stats/ip_vs_conn")).splitlines()
    assert [line.split()[2:4] for line in lines[2:]] == [
        ["ESTABLISHED", "198.51.100.2:40000"],
        ["TIME_WAIT", "198.51.100.3:1"],
        ["ESTABLISHED", "198.51.100.2:40000"],
    ]
    rows = await json_of(client, "/stats/ip_vs_conn")
    assert [row["source"] for row in rows] == ["198.51.100.2:40000", "198.51.100.3:1", "198.51.100.2:40000"]


@pytest.mark.parametrize("batches", [[], [[]]])
async def test_no_session_is_an_empty_table(client: Client, gateway: FakeGateway, batches: list[Any]) -> None:
    gateway.sessions.batches = batches
    assert len((await text_of(client, "/stats/ip_vs_conn")).splitlines()) == 2
    assert await json_of(client, "/stats/ip_vs_conn") == []


async def test_sessions_are_not_read_for_a_head(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.batches = [[SESSION]]
    await client.head("/stats/ip_vs_conn")
    assert gateway.sessions.batches_taken == 0


@pytest.mark.parametrize("format_", ["text", "json"])
async def test_listing_that_breaks_off_is_seen_to_be_incomplete(client: Client, gateway: FakeGateway, format_: str) -> None:
    gateway.sessions.batches, gateway.sessions.error = [[SESSION]], RuntimeError("worker died")
    response = await client.get("/stats/ip_vs_conn", params={"format": format_})
    with pytest.raises(aiohttp.ClientPayloadError):
        await response.read()
    assert (await client.get("/healthz")).status == 200


async def test_client_that_does_not_read_stops_only_its_own_listing(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.batches = [[SESSION] * 1000] * 1000
    slow = await client.get("/stats/ip_vs_conn")
    assert await text_of(client, ESTABLISHED) == "900000\n"
    taken = -1
    while taken != gateway.sessions.batches_taken:
        taken = gateway.sessions.batches_taken
        for _ in range(100):
            await asyncio.sleep(0)
    assert 0 < taken < 1000
    slow.close()


async def test_client_that_leaves_ends_its_listing_without_a_log_line(
    gateway: FakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.sessions.batches = [[SESSION] * 1000] * 1000
    # The test server of aiohttp would cancel the handler; the real one lets it find out when it writes.
    runner = await serve(make_app(gateway), ["127.0.0.1:0"])
    async with aiohttp.ClientSession() as session:
        (await session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/stats/ip_vs_conn")).close()
        turns = 0
        while gateway.sessions.listings_open and turns < 100_000:
            await asyncio.sleep(0)
            turns += 1
    await runner.cleanup()
    assert gateway.sessions.listings_open == 0
    assert gateway.sessions.batches_taken < 1000
    assert caplog.records == []


async def test_client_that_leaves_while_a_write_waits_for_it_is_no_error(
    gateway: FakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a user quits `less` in `appliance conns | less`."""
    gateway.sessions.batches = [[SESSION] * 1000] * 1000
    runner = await serve(make_app(gateway), ["127.0.0.1:0"])
    async with aiohttp.ClientSession() as session:
        reader = await session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/stats/ip_vs_conn")
        taken = -1
        while taken != gateway.sessions.batches_taken:  # until both ends' buffers are full
            taken = gateway.sessions.batches_taken
            for _ in range(100):
                await asyncio.sleep(0)
        reader.close()
        turns = 0
        while gateway.sessions.listings_open and turns < 100_000:
            await asyncio.sleep(0)
            turns += 1
    await runner.cleanup()
    assert gateway.sessions.listings_open == 0
    assert 0 < gateway.sessions.batches_taken < 1000
    assert caplog.records == []


async def test_other_requests_are_answered_during_a_long_listing(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.batches = [[SESSION]] * 1000
    async with asyncio.TaskGroup() as tasks:
        listing = tasks.create_task(text_of(client, "/stats/ip_vs_conn"))
        await text_of(client, ESTABLISHED)
        assert gateway.sessions.batches_taken < 1000
    assert len(listing.result().splitlines()) == 1002
