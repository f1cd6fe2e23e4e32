"""cli/api_client.py: a connection that stays open, for a program with an event loop of its own."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import test_utils, web

from appliance.api import make_app, serve
from appliance.cli.api_client import ApiError, Connection, Question, connected
from appliance.cli.credentials import Credentials
from tests.support.gateway import FakeGateway

PLENTY_BYTES = 1 << 20


@pytest.fixture
async def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
async def connection(gateway: FakeGateway) -> AsyncIterator[Connection]:
    runner = await serve(make_app(gateway), ["127.0.0.1:0"])
    async with connected(f"http://127.0.0.1:{runner.addresses[0][1]}", Credentials()) as connection:
        yield connection
    await runner.cleanup()


async def test_answers_come_with_their_length(connection: Connection) -> None:
    answer, length_bytes = await connection.read_json(Question("GET", "/conns/top", {"by": "client"}), PLENTY_BYTES)
    assert answer["by"] == "client"
    assert 20 < length_bytes < 200


async def test_the_condition_of_a_gateway_that_is_not_well_is_no_refusal(connection: Connection, gateway: FakeGateway) -> None:
    gateway.problems = ["the rules are gone"]
    answer, _ = await connection.read_json(Question("GET", "/healthz"), PLENTY_BYTES)
    assert (answer["status"], answer["problems"]) == ("impaired", ["the rules are gone"])


async def test_a_refusal_has_its_status(connection: Connection) -> None:
    with pytest.raises(ApiError) as refused:
        await connection.read_json(Question("GET", "/conns/top", {"by": "weather"}), PLENTY_BYTES)
    assert refused.value.status == 400


async def test_an_answer_that_is_too_long_is_given_up(connection: Connection) -> None:
    with pytest.raises(ApiError, match=r"/sysctl is longer than 1000 bytes"):
        await connection.read_json(Question("GET", "/sysctl"), 1000)


@pytest.mark.parametrize("body", [b"not JSON", b"", b"\xff", b"[" * 100_000, b"9" * 10_000])
async def test_what_is_not_json_is_no_answer_of_an_appliance(body: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/healthz", answer)
    async with test_utils.TestServer(app) as server, connected(str(server.make_url("")), Credentials()) as connection:
        with pytest.raises(ApiError, match="not JSON"):
            await connection.read_json(Question("GET", "/healthz"), PLENTY_BYTES)


async def test_an_answer_that_breaks_off_is_none() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"status": ')
        assert request.transport
        request.transport.abort()
        return response

    app = web.Application()
    app.router.add_get("/healthz", answer)
    async with test_utils.TestServer(app) as server, connected(str(server.make_url("")), Credentials()) as connection:
        with pytest.raises(ApiError, match="broke off"):
            await connection.read_json(Question("GET", "/healthz"), PLENTY_BYTES)
