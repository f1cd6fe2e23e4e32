"""Answers of the API as tests read them: each function checks the status and the type, and returns the content."""

import json
from typing import Any

import aiohttp
from aiohttp import test_utils, web

Client = test_utils.TestClient[web.Request, web.Application]


async def text_of(client: Client, path: str, accept: str = "*/*") -> str:
    """The text that a GET answers."""
    response = await client.get(path, headers={"Accept": accept})
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    return await response.text()


async def json_of(client: Client, path: str) -> Any:
    """What the JSON says that a GET answers."""
    response = await client.get(path, headers={"Accept": "application/json"})
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    return json.loads(await response.text())


async def problem_of(response: aiohttp.ClientResponse, status: int) -> Any:
    """The problem document of a refusal."""
    assert response.status == status
    assert response.content_type == "application/problem+json"
    problem = json.loads(await response.text())
    assert problem["status"] == status
    assert {"type", "title", "detail"} <= set(problem)
    return problem
