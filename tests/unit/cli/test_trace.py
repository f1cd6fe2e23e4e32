"""cli/trace.py: what is asked, and how the packets are printed."""

import json

from appliance.ipc.queries import TRACE, Query, SessionFilter
from tests.support.traced import BATCH
from tests.unit.cli.conftest import Operator

CLIENT = ("--client", "198.51.100.2")


async def test_it_prints_a_line_for_each_item(operator: Operator) -> None:
    operator.gateway.traces.batches = [BATCH]
    lines = (await operator.reads("trace", *CLIENT)).splitlines()
    assert [line.split()[2] for line in lines if line[0] != "#"] == ["drop", "rewritten", "drop"]


async def test_as_json_each_line_is_an_item(operator: Operator) -> None:
    operator.gateway.traces.batches = [BATCH, BATCH]
    lines = (await operator.reads("trace", *CLIENT, "--json")).splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["note", "packet", "packet", "packet", "left-out"] * 2


async def test_its_options_are_the_fields_of_the_query(operator: Operator) -> None:
    await operator.reads("trace", *CLIENT, "--service", "web", "--port", "80", "--count", "3", "--seconds", "5")
    assert operator.gateway.traces.wanted == [Query(TRACE, SessionFilter("198.51.100.2", "web"), port=80, snap_bytes=80)]


async def test_a_refusal_is_that_of_the_api(operator: Operator) -> None:
    for more in ((), ("--json",)):
        printed = await operator.types("trace", *CLIENT, "--port", "0", *more)
        assert (printed.code, printed.out, "port: '0' is out of range" in printed.err) == (1, "", True)
