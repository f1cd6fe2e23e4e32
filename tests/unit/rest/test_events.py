"""rest/events.py over HTTP: events as a list, with a wait, and as a stream; and what many, slow or dead listeners cost."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from appliance.rest.drain_routes import EVENTS, EVENTS_MAX, LISTENERS, WAIT_MAX_S
from appliance.rest.events import EventHandlers
from appliance.rest.places import STREAM
from tests.support.api_answers import Client, json_of, problem_of, text_of
from tests.support.gateway import FakeGateway

FIRST = 1_800_000_000_000


def happens(gateway: FakeGateway, *texts: str) -> None:
    for text in texts:
        gateway.events.add("drained", "web", "192.0.2.101:8080", text)


async def test_events_are_listed(client: Client, gateway: FakeGateway) -> None:
    happens(gateway, "one", "two", "three")
    found = await json_of(client, f"/events?since={FIRST + 1}")
    assert [event["text"] for event in found["events"]] == ["two", "three"]
    assert (found["last"], found["missing"]) == (FIRST + 3, False)
    assert await text_of(client, "/events?limit=1") == (
        "       number  time                           kind     service  real server       text\n"
        f"{FIRST + 1}  2027-01-15T08:00:00.000+00:00  drained  web      192.0.2.101:8080  one\n"
    )
    assert (await json_of(client, "/events?since=5"))["missing"] is True
    assert (await text_of(client, "/events?since=5")).startswith("events before these are known no more\n")


async def test_an_answer_waits_for_the_next_one(client: Client, gateway: FakeGateway) -> None:
    waiting = asyncio.ensure_future(json_of(client, f"/events?since={FIRST}&wait_s={WAIT_MAX_S}"))
    await until_some_listen(client, 1)
    happens(gateway, "now")
    assert [event["text"] for event in (await waiting)["events"]] == ["now"]
    assert (await json_of(client, f"/events?since={FIRST + 1}"))["events"] == [], "without wait_s at once"


async def until_some_listen(client: Client, count: int) -> None:
    """Wait until so many requests wait for events."""
    assert client.app is not None
    owners = (getattr(route.handler, "__self__", None) for route in client.app.router.routes())
    [handlers] = {owner for owner in owners if isinstance(owner, EventHandlers)}
    for _ in range(1_000_000):
        if handlers.places.taken == count:
            return
        await asyncio.sleep(0)
    raise AssertionError("they do not")


async def listen(client: Client, stack: AsyncExitStack, **headers: str) -> aiohttp.ClientResponse:
    return await stack.enter_async_context(client.get("/events", headers={"Accept": STREAM, **headers}))


async def test_a_stream_says_what_happens_and_goes_on_where_it_was(client: Client, gateway: FakeGateway) -> None:
    happens(gateway, "before")
    async with AsyncExitStack() as stack:
        stream = await listen(client, stack)
        assert (stream.status, stream.content_type) == (200, STREAM)
        assert await stream.content.readuntil(b"\n\n") == b":\n\n"
        happens(gateway, "after")
        said = await stream.content.readuntil(b"\n\n")
        assert said.startswith(b"id: %d\nevent: drained\ndata: {" % (FIRST + 2)), "and not what was before"
        assert b'"text": "after"' in said
        again = await listen(client, stack, **{"Last-Event-ID": str(FIRST)})
        assert await again.content.readuntil(b"\n\n") == b":\n\n"
        assert b'"before"' in await again.content.readuntil(b"\n\n")
        assert b'"after"' in await again.content.readuntil(b"\n\n")
        lost = await listen(client, stack, **{"Last-Event-ID": "7"})
        await lost.content.readuntil(b"\n\n")
        assert await lost.content.readuntil(b"\n\n") == b"event: missing\ndata: {}\n\n"
        assert b'"before"' in await lost.content.readuntil(b"\n\n")


async def test_listeners_are_few_and_those_who_may_read_only_take_no_place_of_the_others(
    client: Client, gateway: FakeGateway
) -> None:
    gateway.access.is_writer = False
    async with AsyncExitStack() as stack:
        for _ in range(LISTENERS):
            assert (await listen(client, stack)).status == 200
        for path, accept in ((f"/events?wait_s=1&since={FIRST}", "*/*"), ("/events", STREAM)):
            refused = await client.get(path, headers={"Accept": f"{accept}, application/problem+json"})
            assert (await problem_of(refused, 503))["type"].endswith(":busy")
            assert refused.headers["Retry-After"] == "5"
        assert (await json_of(client, "/events"))["events"] == [], "who does not wait needs no place"
        gateway.access.is_writer = True
        assert (await listen(client, stack)).status == 200


async def test_a_place_is_free_when_its_listener_has_left(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.rest.events._LOOK_S", 0.001)
    for _ in range(3):
        async with AsyncExitStack() as stack:
            for _ in range(LISTENERS):
                (await listen(client, stack)).close()
        await until_some_listen(client, 0)


async def test_one_that_never_reads_is_disconnected(
    client: Client, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.rest.places.SLOW_S", 0.01)

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    async with AsyncExitStack() as stack:
        stream = await listen(client, stack)
        await stream.content.readuntil(b"\n\n")
        monkeypatch.setattr(web.StreamResponse, "write", never)
        happens(gateway, "more than it takes")
        await until_some_listen(client, 0)
        with pytest.raises(aiohttp.ClientError):
            await stream.content.read()


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("since=-1", "since: '-1' is out of range 0..999999999999999999"),
        ("since=x", "since: 'x' is out of range 0..999999999999999999"),
        ("since=" + "9" * 3000, "since: '9999"),
        ("since=", "since: '' is out of range"),
        ("limit=0", f"limit: '0' is out of range 1..{EVENTS_MAX}"),
        (f"limit={EVENTS_MAX + 1}", f"limit: '{EVENTS_MAX + 1}' is out of range 1..{EVENTS_MAX}"),
        ("wait_s=nan", f"wait_s: 'nan' is out of range 0..{WAIT_MAX_S}"),
        (f"wait_s={WAIT_MAX_S + 1}", f"wait_s: '{WAIT_MAX_S + 1}' is out of range 0..{WAIT_MAX_S}"),
        ("wait=1", "field: there is no 'wait'"),
    ],
)
async def test_a_field_out_of_range_is_refused(client: Client, query: str, detail: str) -> None:
    assert (await problem_of(await client.get(f"/events?{query}"), 400))["detail"].startswith(detail)


async def test_a_number_of_a_stream_that_is_none_is_refused(client: Client) -> None:
    headers = {"Accept": f"{STREAM}, application/problem+json", "Last-Event-ID": "1; drop"}
    await problem_of(await client.get("/events", headers=headers), 400)


async def test_a_page_of_another_site_takes_no_place(client: Client) -> None:
    headers = {"Accept": f"{STREAM}, application/problem+json", "Origin": "http://evil.example"}
    await problem_of(await client.get("/events", headers=headers), 403)


async def test_a_batch_is_bounded(client: Client, gateway: FakeGateway) -> None:
    happens(gateway, *map(str, range(EVENTS + 5)))
    assert len((await json_of(client, "/events"))["events"]) == EVENTS
    assert (await client.head("/events", headers={"Accept": STREAM})).status == 200, "a HEAD has no stream, and does not wait"
