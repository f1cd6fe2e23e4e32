"""rest/trace.py over HTTP: the forms of a trace, its ends, who may have one, and how many there can be."""

import asyncio
import json
from contextlib import AsyncExitStack

import aiohttp
import pytest

from appliance.ipc.queries import SNAP_MIN, TRACE, Query, SessionFilter
from appliance.ipc.traced import TraceBatch
from appliance.rest.places import STREAM
from appliance.rest.trace_routes import TRACES
from tests.support.api_answers import Client, problem_of
from tests.support.gateway import FakeGateway
from tests.support.traced import BATCH

URL = "/trace?client=198.51.100.2"


async def text_of_trace(client: Client, url: str = URL, accept: str = "text/plain") -> str:
    async with client.post(url, headers={"Accept": accept}) as response:
        assert response.status == 200
        assert response.content_type == accept
        return await response.text()


async def test_each_form_has_all_items(client: Client, gateway: FakeGateway) -> None:
    gateway.traces.batches = [BATCH, TraceBatch([], 0, []), BATCH]
    assert (await text_of_trace(client)).count("no_session (first packet)") == 2
    listed = json.loads(await text_of_trace(client, accept="application/json"))
    assert [item["kind"] for item in listed] == ["note", "packet", "packet", "packet", "left-out"] * 2
    events = (await text_of_trace(client, accept=STREAM)).split("\n\n")
    assert [event.partition("\n")[0] for event in events[:2]] == ["event: note", "event: packet"]
    assert json.loads(events[1].partition("data: ")[2]) == listed[1]


async def test_a_trace_without_packets_is_an_empty_list(client: Client) -> None:
    assert json.loads(await text_of_trace(client, accept="application/json")) == []
    assert await text_of_trace(client) == ""


async def test_the_query_says_what_is_wanted(client: Client, gateway: FakeGateway) -> None:
    gateway.traces.batches = [BATCH]
    shown = await text_of_trace(client, f"{URL}:40000&service=web&port=80&snap_bytes=200&format=json", "application/json")
    assert json.loads(shown)[1]["after"] is None
    assert gateway.traces.wanted == [Query(TRACE, SessionFilter("198.51.100.2:40000", "web"), port=80, snap_bytes=200)]
    await text_of_trace(client)
    assert gateway.traces.wanted[1].snap_bytes == SNAP_MIN


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "client: is missing"),
        ("client=", "client: is empty"),
        ("client=x", "client: 'x' is no IPv4 endpoint"),
        ("client=1.2.3.4&port=0", "port: '0' is out of range 1..65535"),
        ("client=1.2.3.4&port=65536", "port: '65536' is out of range"),
        ("client=1.2.3.4&service=no", "service: there is no 'no'"),
        ("client=1.2.3.4&count=0", "count: '0' is out of range"),
        ("client=1.2.3.4&seconds=86401", "seconds: '86401' is out of range 1..86400"),
        ("client=1.2.3.4&snap_bytes=79", "snap_bytes: 79 is out of range 80..3840"),
        ("client=1.2.3.4&snap_bytes=3841", "snap_bytes: '3841' is out of range"),
        ("client=1.2.3.4&state=CLOSE", "field: there is no 'state'"),
    ],
)
async def test_a_wrong_query_is_refused_and_begins_no_trace(client: Client, gateway: FakeGateway, query: str, words: str) -> None:
    assert words in (await problem_of(await client.post(f"/trace?{query}"), 400))["detail"]
    assert gateway.traces.wanted == []


async def test_who_may_only_read_sees_no_packets(client: Client, gateway: FakeGateway) -> None:
    gateway.access.is_writer = False
    assert (await problem_of(await client.post(URL), 403))["type"].endswith(":read-only")
    assert gateway.traces.wanted == []


async def test_what_is_in_force_is_asked_for_only_with_the_bytes_of_packets(client: Client, gateway: FakeGateway) -> None:
    await text_of_trace(client)
    assert not gateway.traces.with_changes
    await text_of_trace(client, f"{URL}&snap_bytes=80")
    assert gateway.traces.with_changes


async def test_it_ends_behind_the_wanted_number_of_packets(client: Client, gateway: FakeGateway) -> None:
    gateway.traces.batches = [BATCH] * 3
    assert [line[0] for line in (await text_of_trace(client, f"{URL}&count=4")).splitlines()] == [*"#000##0"]
    assert gateway.traces.under_way == 0


async def test_it_ends_after_its_time(client: Client, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.traces.may_end.clear()
    monkeypatch.setattr("appliance.rest.trace.time.monotonic", iter(range(10_000)).__next__)
    await text_of_trace(client, f"{URL}&seconds=100")
    assert gateway.traces.under_way == 0


async def begun(client: Client, stack: AsyncExitStack) -> aiohttp.ClientResponse:
    response = await stack.enter_async_context(client.post(URL, headers={"Accept": STREAM}))
    assert response.status == 200
    return response


async def test_there_is_a_bounded_number_and_one_whose_client_goes_gives_its_place_back(
    client: Client, gateway: FakeGateway
) -> None:
    gateway.traces.may_end.clear()
    async with AsyncExitStack() as stack:
        traces = [await begun(client, stack) for _ in range(TRACES)]
        refused = await client.post(URL)
        assert "4 traces are under way already" in (await problem_of(refused, 503))["detail"]
        assert refused.headers["Retry-After"] == "5"
        traces[0].close()
        for _ in range(1_000_000):
            if gateway.traces.under_way < TRACES:
                break
            await asyncio.sleep(0)
        await begun(client, stack)
    gateway.traces.may_end.set()
