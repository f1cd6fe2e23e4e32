"""A gateway that the test sets, and a client of the API in front of it."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import test_utils

from appliance.api import make_app
from tests.support.api_answers import Client
from tests.support.gateway import FakeGateway


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
async def client(gateway: FakeGateway) -> AsyncIterator[Client]:
    reads_problems = {"Accept": "*/*, application/problem+json"}
    async with test_utils.TestClient(test_utils.TestServer(make_app(gateway)), headers=reads_problems) as client:
        yield client
