"""rest/long_answer.py: a long view is made in a thread, and comes whole, as text and as JSON, to GET, HEAD and POST."""

import json
import threading
from collections.abc import Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from appliance.rest.long_answer import respond_long
from appliance.views.document import Document

ROWS = [{"name": f"service-{number}", "words": "ä" * 100} for number in range(5000)]
TEXT = "".join(f"service-{number}\n" for number in range(50_000))


def app(make: Callable[[], Document]) -> web.Application:
    async def show(request: web.Request) -> web.StreamResponse:
        return await respond_long(request, make, {"ETag": '"5"'})

    made = web.Application()
    made.router.add_get("/", show)
    made.router.add_post("/", show)
    return made


@pytest.mark.parametrize("rows", [ROWS, [], ROWS[:1]], ids=["many", "none", "one"])
async def test_a_view_comes_whole(rows: list[dict[str, str]]) -> None:
    threads = set[threading.Thread]()

    def make() -> Document:
        threads.add(threading.current_thread())
        return Document(TEXT if rows else "", {"rows": rows})

    async with TestClient(TestServer(app(make))) as client:
        for method in ("GET", "POST"):
            response = await client.request(method, "/", headers={"Accept": "application/json"})
            body = await response.text()
            assert (body, json.loads(body)["rows"]) == (json.dumps({"rows": rows}) + "\n", rows)
            assert response.headers["Content-Type"] == "application/json; charset=utf-8"
            assert response.headers["Content-Length"] == str(len(body.encode()))
            assert response.headers["ETag"] == '"5"'
            assert await (await client.request(method, "/?format=text")).text() == (TEXT if rows else "")
        head = await client.head("/?format=text")
        assert (head.headers["Content-Length"], await head.read()) == (str(len(TEXT) if rows else 0), b"")
    assert threading.current_thread() not in threads
