"""rest/metrics.py over HTTP: which form whom, compressed for whom, and that many who ask cost what one costs."""

import asyncio
import gzip
import random
import threading
from collections.abc import Callable

import aiohttp
import pytest
from aiohttp import test_utils, web

from appliance.api import make_app
from appliance.metrics.page import Form
from appliance.metrics.reading import Reading
from appliance.rest import metrics
from appliance.rest.metrics import FRESH_S, MetricsHandlers
from tests.support.api_answers import Client
from tests.support.gateway import FakeGateway

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
JSON = "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [
        ("", "*/*", TEXT),
        ("", BROWSER, TEXT),
        ("", "", TEXT),
        ("", "text/plain", TEXT),
        ("", PROMETHEUS_2, OPENMETRICS),
        ("", PROMETHEUS_3, OPENMETRICS),
        ("", "application/openmetrics-text;q=0.1, text/plain", TEXT),
        ("", "application/openmetrics-text; version=9.9; x=y", OPENMETRICS),
        ("", "application/openmetrics-text; version=zero", OPENMETRICS),
        ("", "application/json", JSON),
        ("", "application/json, application/openmetrics-text", JSON),
        ("?format=text", PROMETHEUS_2, TEXT),
        ("?format=json", PROMETHEUS_2, JSON),
        ("?format=text", "application/json", TEXT),
    ],
)
async def test_the_form_is_what_the_query_says_or_the_client_prefers(
    client: Client, query: str, accept: str, expected: str
) -> None:
    """Nothing that a client sent comes back in the type."""
    response = await client.get(f"/metrics{query}", headers={"Accept": accept})
    assert response.status == 200
    assert response.headers["Content-Type"].startswith(expected)
    assert response.headers["Cache-Control"] == "no-store"
    body = await response.text()
    assert body.startswith("{" if expected == JSON else "# HELP appliance_build_info ")
    assert body.endswith("# EOF\n") == (expected == OPENMETRICS)


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("identity", False),
    ],
)
async def test_a_client_that_wants_gzip_gets_it(gateway: FakeGateway, accept_encoding: str, expected: bool) -> None:
    async with raw_client(gateway) as client:
        plain, zipped = [await answer(client, encoding) for encoding in ("", accept_encoding)]
        assert zipped.headers.get("Content-Encoding") == ("gzip" if expected else None)
        body = await zipped.read()
        assert (gzip.decompress(body) if expected else body) == await plain.read()


def raw_client(gateway: FakeGateway, show: Callable[[web.Request], object] | None = None) -> Client:
    """A client that leaves bodies as they are."""
    app = web.Application()
    app.router.add_get("/metrics", MetricsHandlers(gateway).show if show is None else show)  # type: ignore[arg-type]
    return test_utils.TestClient(test_utils.TestServer(app), auto_decompress=False)


async def answer(client: Client, accept_encoding: str = "") -> aiohttp.ClientResponse:
    return await client.get("/metrics", headers={"Accept-Encoding": accept_encoding})


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_long_page_is_sent_in_pieces(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    """A page of twenty thousand real servers has 14 MB. As one piece it was copied while nobody else was answered, and stayed in
    the memory of each connection until its client had read it."""
    page = random.Random(1).randbytes(1_000_001)
    sizes = []
    write = web.StreamResponse.write

    async def seen(response: web.StreamResponse, data: bytes) -> None:
        sizes.append(len(data))
        await write(response, data)

    monkeypatch.setattr(metrics, "render", lambda *_: page)
    monkeypatch.setattr(web.StreamResponse, "write", seen)
    async with test_utils.TestClient(test_utils.TestServer(make_app(gateway))) as client:
        response = await client.get("/metrics", headers={"Accept-Encoding": encoding})
        assert await response.read() == page
        assert int(response.headers["Content-Length"]) == sum(sizes) >= len(page)
    assert (max(sizes), len(sizes)) == (1 << 16, 16)


async def test_head_has_no_body(client: Client) -> None:
    response = await client.head("/metrics")
    assert (response.status, await response.read()) == (200, b"")


class Pages:
    """Stands in for the making of the page: says how often it was made, and in which thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = 0
        self.threads = set[int]()
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()
        self.error: Exception | None = None
        monkeypatch.setattr(metrics, "render", self.render)

    def render(self, form: Form, reading: Reading) -> bytes:
        assert reading.services
        self.made += 1
        self.threads.add(threading.get_ident())
        self.begun.set()
        self.may_end.wait()
        if self.error:
            raise self.error
        return f"{form.name} {self.made}".encode()


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Pages:
    return Pages(monkeypatch)


@pytest.mark.usefixtures("pages")
async def test_a_page_is_answered_again_for_a_while(gateway: FakeGateway) -> None:
    now = 100.0
    async with raw_client(gateway, MetricsHandlers(gateway, lambda: now).show) as client:
        texts = [await (await answer(client)).text() for _ in range(3)]
        now += FRESH_S / 2
        texts.append(await (await answer(client)).text())
        assert texts == ["TEXT 1"] * 4
        now += FRESH_S / 2
        assert await (await answer(client)).text() == "TEXT 2"


async def test_all_who_ask_while_a_page_is_made_get_that_one(gateway: FakeGateway, pages: Pages) -> None:
    """It is made in a thread, and the loop goes on meanwhile: it answers others."""
    pages.may_end.clear()
    handlers = MetricsHandlers(gateway)
    async with raw_client(gateway, handlers.show) as client:
        asking = [asyncio.ensure_future(answer(client, encoding)) for encoding in ("", "", "gzip", "gzip")]
        await asyncio.to_thread(pages.begun.wait)
        pages.may_end.set()
        answers = [await (await one).read() for one in asking]
    assert answers[:2] == [b"TEXT 1"] * 2
    assert [gzip.decompress(one) for one in answers[2:]] == [b"TEXT 1"] * 2
    assert pages.threads.isdisjoint({threading.get_ident()})


async def test_one_who_waits_no_longer_ends_it_for_nobody_else(gateway: FakeGateway, pages: Pages) -> None:
    pages.may_end.clear()
    page = MetricsHandlers(gateway)._pages[Form.TEXT]
    first, second = [asyncio.ensure_future(page.bytes()) for _ in range(2)]
    await asyncio.to_thread(pages.begun.wait)
    first.cancel()
    await asyncio.wait([first])
    pages.may_end.set()
    assert (await second)[0] == b"TEXT 1"
    assert first.cancelled()


async def test_a_page_that_cannot_be_made_is_an_error_and_the_next_one_is_tried_anew(gateway: FakeGateway, pages: Pages) -> None:
    pages.error = ValueError("no")
    async with raw_client(gateway, MetricsHandlers(gateway).show) as client:
        assert (await answer(client)).status == 500
        pages.error = None
        assert await (await answer(client)).text() == "TEXT 2"
