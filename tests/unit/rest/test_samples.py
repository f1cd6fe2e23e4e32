"""rest/samples.py over HTTP: samples are made once for all who watch, viewers are few, and access is that of the other views."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from appliance.api import make_app
from appliance.model.token import line_of, read_tokens
from appliance.rest import samples
from appliance.rest.listen import serve
from appliance.rest.places import STREAM
from appliance.rest.samples import SampleHandlers
from appliance.rest.ui_routes import MATCH_RULE, OFFSET_MAX, VIEWERS
from appliance.views.samples import Window
from tests.support.api_answers import Client, json_of, problem_of, text_of
from tests.support.gateway import FakeGateway

ACCEPT = {"Accept": f"{STREAM}, application/problem+json"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "SAMPLE_S", 0.01)


async def watch(client: Client, stack: AsyncExitStack, query: str = "") -> aiohttp.ClientResponse:
    return await stack.enter_async_context(client.get(f"/samples{query}", headers=ACCEPT))


async def event(stream: aiohttp.ClientResponse, kind: str) -> Any:
    """The data of the next event of this kind."""
    while True:
        said = (await stream.content.readuntil(b"\n\n")).decode()
        if said.startswith(f"event: {kind}\n"):
            return json.loads(said.partition("data: ")[2])


def handlers(client: Client) -> SampleHandlers:
    assert client.app is not None
    owners = (getattr(route.handler, "__self__", None) for route in client.app.router.routes())
    [found] = {owner for owner in owners if isinstance(owner, SampleHandlers)}
    return found


async def until_so_many_watch(client: Client, count: int) -> None:
    for _ in range(1_000_000):
        if handlers(client).places.taken == count:
            return
        await asyncio.sleep(0)
    raise AssertionError("they do not")


async def test_one_sample_is_answered_in_both_forms(client: Client) -> None:
    found = await json_of(client, "/samples?match=WEB")
    assert found["gateway"]["status"] == "ok"
    assert [service["name"] for service in found["services"]["services"]] == ["web"]
    assert "192.0.2.101:8080" in await text_of(client, "/samples")
    assert handlers(client).places.taken == 0


async def test_a_stream_goes_on(client: Client, gateway: FakeGateway) -> None:
    async with AsyncExitStack() as stack:
        stream = await watch(client, stack, "?match=name")
        assert (stream.status, stream.content_type) == (200, STREAM)
        first = await event(stream, "gateway")
        services = await event(stream, "services")
        assert [service["name"] for service in services["services"]] == ["names"]
        gateway.shared.session_counts[0] = 9
        while (later := await event(stream, "gateway"))["sessions"] != 9:
            pass
        assert later["clock_s"] > first["clock_s"]


async def test_all_who_watch_get_the_same_samples_which_are_made_once(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, asked = [100.0], []
    monkeypatch.setattr(samples, "SAMPLE_S", 1.0)

    async def kernel_drops() -> dict[str, int]:
        asked.append(clock[0])
        await asyncio.sleep(0)
        return {}

    monkeypatch.setattr(gateway, "kernel_drops", kernel_drops)
    made = samples._Samples(gateway, lambda: clock[0])
    everyone = [Window("", number % 3) for number in range(30)]
    await made.bytes(everyone[0])
    first = [await made.bytes(window) for window in everyone]
    clock[0] = 100.9
    assert [await made.bytes(window) for window in everyone] == first
    assert (len(set(first)), asked) == (3, [100.0])
    clock[0] = 101.0
    later = await asyncio.gather(*(made.bytes(window) for window in everyone))
    assert asked == [100.0, 101.0], "also when they ask at once"
    assert b'"clock_s":101.0' in later[0]


@pytest.mark.parametrize("at_s", [0.0, 101.0])
async def test_who_comes_while_a_sample_is_made_gets_that_one(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, at_s: float
) -> None:
    """Not that of the second before, or nothing at the beginning, of which a viewer would take the same counters twice. Nor is
    it waited for in vain when the first viewer goes meanwhile."""
    clock, may_answer, asked = [100.0], asyncio.Event(), []

    async def kernel_drops() -> dict[str, int]:
        asked.append(clock[0])
        await may_answer.wait()
        return {}

    monkeypatch.setattr(gateway, "kernel_drops", kernel_drops)
    made = samples._Samples(gateway, lambda: clock[0])
    if at_s:
        may_answer.set()
        await made.bytes(Window())
        may_answer.clear()
        clock[0] = at_s
    viewers = [asyncio.ensure_future(made.bytes(Window())) for _ in range(3)]
    await asyncio.sleep(0)
    viewers[0].cancel()
    await asyncio.sleep(0)
    clock[0] += 5
    may_answer.set()
    second, third = await asyncio.gather(*viewers[1:])
    assert second == third
    assert f'"clock_s":{clock[0]}'.encode() in second
    assert len(asked) == 2 + bool(at_s), "of two who waited, the second makes none, although a second has passed"


async def test_windows_of_the_second_before_are_forgotten(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(samples, "SAMPLE_S", 1.0)
    made = samples._Samples(gateway, lambda: clock[0])
    for number in range(50):
        clock[0] += 1
        await made.bytes(Window(str(number)))
    assert len(made._of_window) == 1


async def test_while_nobody_watches_nothing_is_made(client: Client, gateway: FakeGateway) -> None:
    async with AsyncExitStack() as stack:
        await event(await watch(client, stack), "gateway")
    await until_so_many_watch(client, 0)
    gateway.shared = None  # type: ignore[assignment]  # whoever made a sample now would fail
    await asyncio.sleep(0)
    assert handlers(client).places.taken == 0


async def test_viewers_are_few_and_those_who_may_read_only_take_no_place_of_the_others(
    client: Client, gateway: FakeGateway
) -> None:
    gateway.access.is_writer = False
    async with AsyncExitStack() as stack:
        for _ in range(VIEWERS):
            assert (await watch(client, stack)).status == 200
        refused = await client.get("/samples", headers=ACCEPT)
        assert (await problem_of(refused, 503))["type"].endswith(":busy")
        assert refused.headers["Retry-After"] == "5"
        assert (await json_of(client, "/samples"))["gateway"]["status"] == "ok", "a single sample needs no place"
        gateway.access.is_writer = True
        assert (await watch(client, stack)).status == 200
    await until_so_many_watch(client, 0)


async def test_one_that_never_reads_is_disconnected(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.rest.places.SLOW_S", 0.01)

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    async with AsyncExitStack() as stack:
        stream = await watch(client, stack)
        await event(stream, "services")
        monkeypatch.setattr(web.StreamResponse, "write", never)
        await until_so_many_watch(client, 0)
        with pytest.raises(aiohttp.ClientError):
            await stream.content.read()


async def test_a_stream_ends_so_that_access_is_looked_at_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "STREAM_S", 0.05)
    async with AsyncExitStack() as stack:
        assert await (await watch(client, stack)).content.read()
    await until_so_many_watch(client, 0)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("offset=-1", f"offset: '-1' is out of range 0..{OFFSET_MAX}"),
        (f"offset={OFFSET_MAX + 1}", f"offset: '{OFFSET_MAX + 1}' is out of range 0..{OFFSET_MAX}"),
        ("offset=" + "9" * 3000, "offset: '9999"),
        ("offset=\u0663", "offset: '\u0663' is out of range"),
        ("match=", f"match: '' is not {MATCH_RULE}"),
        ("match=" + "x" * 81, f"match: '{'x' * 80}' is not {MATCH_RULE}"),
        ("match=a%0Ab", f"match: 'a\\nb' is not {MATCH_RULE}"),
        ("window=1", "field: there is no 'window'"),
    ],
)
@pytest.mark.parametrize("accept", [STREAM, "*/*"])
async def test_a_field_out_of_range_is_refused(client: Client, query: str, detail: str, accept: str) -> None:
    answer = await client.get(f"/samples?{query}", headers={"Accept": f"{accept}, application/problem+json"})
    assert (await problem_of(answer, 400))["detail"].startswith(detail)


@pytest.mark.parametrize("header", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_a_page_of_another_site_gets_no_samples(client: Client, header: dict[str, str]) -> None:
    await problem_of(await client.get("/samples", headers=ACCEPT | header), 403)


async def test_another_host_name_gets_neither_page_nor_samples(client: Client) -> None:
    for path in ("/ui", "/ui/", "/ui/app.mjs", "/samples"):
        await problem_of(await client.get(path, headers=ACCEPT | {"Host": "rebound.example"}), 421)


async def test_where_a_token_is_needed_samples_need_one_and_the_files_of_the_page_do_not(gateway: FakeGateway) -> None:
    gateway.access.tokens = read_tokens(line_of("reader", "apl_reads", may_write=False) + "\n")
    runner = await serve(make_app(gateway), ["0.0.0.0:0"])
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        for path in ("/ui", "/ui/", "/ui/app.mjs", "/ui/reasons.mjs"):
            assert (await session.get(address + path)).status == 200
        await problem_of(await session.get(f"{address}/samples", headers=ACCEPT), 401)
        token = {"Authorization": "Bearer apl_reads"}
        async with session.get(f"{address}/samples", headers=ACCEPT | token) as stream:
            assert (await event(stream, "gateway"))["status"] == "ok"
    await runner.cleanup()
