"""metrics/reading.py: the sums over shards and lane are those of each number alone."""

import asyncio

from appliance.model.counters import DESTINATION_FIELDS
from appliance.rest.metrics import read
from tests.support.gateway import FakeGateway, fill_destinations


def test_destinations_are_summed_place_by_place() -> None:
    gateway = FakeGateway()
    gateway.shared = shared = fill_destinations(shards=3)
    shared.destination(shared.lane, 2)[0] = 50_000
    found = asyncio.run(read(gateway)).destinations
    assert [(one.named[0], one.real_server.slot) for one in found] == [("web", 0), ("web", 1), ("names", 2)]
    for one in found:
        rows = [shared.destination(row, one.real_server.slot) for row in range(4)]
        assert list(one.counts) == [sum(row[place] for row in rows) for place in range(len(DESTINATION_FIELDS))]
