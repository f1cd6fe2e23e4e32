"""bench/scrape_cost.py measures a whole page of as many real servers as it says."""

import asyncio

from appliance.metrics.page import Form, render
from appliance.rest.metrics import read
from bench.scrape_cost import FORMS, StandIn, measure, report


def test_the_page_has_all_real_servers() -> None:
    gateway = StandIn(real_servers=250, shards=2)
    page = render(Form.TEXT, asyncio.run(read(gateway))).decode()  # type: ignore[arg-type]
    assert page.count("appliance_real_server_weight{") == 250
    assert 'service="service-2"' in page


async def test_a_scrape_of_each_form_is_timed_and_printed() -> None:
    taken = await measure(real_servers=3, shards=1, scrapes=1)
    assert list(taken) == list(FORMS)
    for (one,) in taken.values():
        assert one.took_ms > 0
        assert one.stood_still_ms > 0
        assert 1000 < one.size_bytes < 100_000
    printed = report(taken)
    assert [line.split()[0] for line in printed.splitlines()] == ["form", *FORMS]
