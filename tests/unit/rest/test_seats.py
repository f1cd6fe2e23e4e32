"""rest/seats.py: how many costly answers are made at a time, for whom, and that a seat is free again in the end."""

import asyncio
from contextlib import AsyncExitStack, ExitStack

import aiohttp
import pytest

from appliance.ipc.queries import ShardDownError
from appliance.rest.places import Places
from appliance.rest.problem import ProblemError
from appliance.rest.seats import SEATS
from tests.support.api_answers import Client, problem_of, text_of
from tests.support.gateway import SESSION, FakeGateway


async def reading(client: Client, stack: AsyncExitStack, path: str = "/conns") -> aiohttp.ClientResponse:
    """A reader of a list that is longer than all buffers, who has read its head and reads no further."""
    return await stack.enter_async_context(client.get(path))


@pytest.mark.parametrize("path", ["/conns", "/stats/ip_vs_conn"])
async def test_lists_that_nobody_reads_are_few_and_others_are_told_to_come_back(
    client: Client, gateway: FakeGateway, path: str
) -> None:
    gateway.sessions.batches, gateway.access.is_writer = [[SESSION] * 1000] * 1000, False
    async with AsyncExitStack() as stack:
        for _ in range(SEATS):
            assert (await reading(client, stack, path)).status == 200
        for other in ("/conns", "/conns?limit=5", "/conns/top", "/stats/ip_vs_conn", "/stats/ext", "/stats/slabinfo"):
            refused = await client.get(other)
            assert (await problem_of(refused, 503))["type"].endswith(":busy")
            assert refused.headers["Retry-After"] == "1"
        assert gateway.sessions.listings_open == SEATS
        assert await text_of(client, "/healthz") == "ok\n", "what costs nothing is answered"
        gateway.access.is_writer = True
        await text_of(client, "/stats/ext")


async def test_a_seat_is_free_when_its_reader_has_left(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.batches = [[SESSION] * 1000] * 1000
    for _ in range(3):
        async with AsyncExitStack() as stack:
            for _ in range(SEATS):
                (await reading(client, stack)).close()
        for _ in range(100_000):
            if not gateway.sessions.listings_open:
                break
            await asyncio.sleep(0)
        assert gateway.sessions.listings_open == 0


async def test_a_seat_is_free_after_a_refusal_and_after_an_error(client: Client, gateway: FakeGateway) -> None:
    gateway.sessions.error = ShardDownError("the worker of shard 1 is away")
    for _ in range(2 * SEATS):
        await problem_of(await client.get("/conns/top"), 503)
        await problem_of(await client.get("/conns?limit=0"), 400)
    gateway.sessions.error = None
    await text_of(client, "/conns/top")


def test_seats_of_both_kinds_do_not_mix() -> None:
    seats = Places(SEATS, "are read")
    with ExitStack() as stack:
        for _ in range(SEATS):
            stack.enter_context(seats.one(is_writer=False))
        with pytest.raises(ProblemError), seats.one(is_writer=False):
            pass
        with seats.one(is_writer=True):
            pass
    with seats.one(is_writer=False):
        pass
