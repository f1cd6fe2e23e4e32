"""rest/persistence.py over HTTP: clients are counted and listed, and wrong requests are refused."""

import time
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from appliance.rest.persistence_routes import CLIENTS, CLIENTS_MAX
from tests.support.api_answers import Client, json_of, problem_of, text_of
from tests.support.gateway import SERVICES, FakeGateway, remember

CLIENT_COUNT = 1500


@pytest.fixture
def remembering(gateway: FakeGateway) -> FakeGateway:
    """The gateway, whose first service remembers many clients."""
    web = replace(SERVICES[0], persistence_s=300)
    gateway.services = (web, *SERVICES[1:])
    for number in range(CLIENT_COUNT):
        address = str(IPv4Address("198.51.100.0") + number)
        remember(gateway.shared, web, address, 0, int(time.monotonic() * 1000), 3_600_000)
    return gateway


@pytest.mark.usefixtures("remembering")
async def test_clients_are_counted(client: Client) -> None:
    found = await json_of(client, "/stats/persistence")
    assert found["entries"]["used"] == CLIENT_COUNT
    assert [service["clients"] for service in found["services"]] == [CLIENT_COUNT]
    assert (await text_of(client, "/stats/persistence")).startswith(f"{CLIENT_COUNT} of 65536 entries")


@pytest.mark.usefixtures("remembering")
async def test_clients_are_listed_and_an_answer_is_bounded(client: Client) -> None:
    listed = await json_of(client, "/persistence")
    assert len(listed) == CLIENTS
    assert all(0 < row["expires_s"] <= 3600 for row in listed)
    assert len(await json_of(client, "/persistence?limit=7")) == 7
    assert len(await json_of(client, f"/persistence?limit={CLIENTS_MAX}&service=web")) == CLIENT_COUNT
    assert await json_of(client, f"/persistence?service={SERVICES[1].name}") == []


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x", "service=nobody", "service=", "client=198.51.100.1"])
async def test_a_wrong_field_is_refused(client: Client, query: str) -> None:
    problem = await problem_of(await client.get(f"/persistence?{query}"), 400)
    assert problem["type"].endswith(":bad-query")
