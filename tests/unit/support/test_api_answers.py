"""tests/support/api_answers.py: each reader gives the content of a right answer, and fails on a wrong one."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import test_utils, web

from tests.support.api_answers import Client, json_of, problem_of, text_of

PROBLEM = {"type": "about:blank", "title": "gone", "detail": "it was here", "status": 410}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """The client of an application that answers each kind once right and once wrong."""

    async def json_answer(_: web.Request) -> web.Response:
        return web.json_response({"answer": 42})

    async def text_answer(_: web.Request) -> web.Response:
        return web.Response(text="42\n")

    async def refusal(request: web.Request) -> web.Response:
        content_type = "application/problem+json" if "right" in request.path else "application/json"
        return web.json_response(PROBLEM, status=410, content_type=content_type)

    app = web.Application()
    app.router.add_get("/json", json_answer)
    app.router.add_get("/text", text_answer)
    app.router.add_get("/right", refusal)
    app.router.add_get("/wrong", refusal)
    async with test_utils.TestClient(test_utils.TestServer(app)) as client:
        yield client


async def test_text(client: Client) -> None:
    assert await text_of(client, "/text") == "42\n"
    for path in ("/json", "/right"):
        with pytest.raises(AssertionError):
            await text_of(client, path)


async def test_json(client: Client) -> None:
    assert await json_of(client, "/json") == {"answer": 42}
    for path in ("/text", "/right"):
        with pytest.raises(AssertionError):
            await json_of(client, path)


async def test_problem(client: Client) -> None:
    assert await problem_of(await client.get("/right"), 410) == PROBLEM
    for path, status in (("/right", 409), ("/wrong", 410), ("/json", 200)):
        with pytest.raises(AssertionError):
            await problem_of(await client.get(path), status)
