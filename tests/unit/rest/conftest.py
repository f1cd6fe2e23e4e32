"""A gateway that the test sets, and a client of the API in front of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop
from aiohttp import test_utils

from appliance.api import make_app
from tests.support.api_answers import Client
from tests.support.gateway import FakeGateway


def pytest_asyncio_loop_factories(
    config: pytest.Config,  # noqa: ARG001
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """TLS is tested on the loop that the appliance has, and on Python's own: they speak it in ways of their own."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return loops | ({"uvloop": uvloop.new_event_loop} if item.path.name == "test_tls_server.py" else {})


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
async def client(gateway: FakeGateway) -> AsyncIterator[Client]:
    reads_problems = {"Accept": "*/*, application/problem+json"}
    async with test_utils.TestClient(test_utils.TestServer(make_app(gateway)), headers=reads_problems) as client:
        yield client
