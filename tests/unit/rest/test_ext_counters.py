"""rest/ext_counters.py over HTTP: all 27, and one by either of its names."""

import pytest

from appliance.model.counters import EXT_COUNTERS
from tests.support.api_answers import Client, json_of, problem_of, text_of
from tests.support.gateway import FakeGateway


async def test_ext_counters_are_the_27_and_no_alias(client: Client) -> None:
    assert list(await json_of(client, "/stats/ext")) == [counter.name for counter in EXT_COUNTERS]


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("fullnat_conn_reused_closewait", "fullnat_conn_reused_closetimeout"),
        ("synproxy_conn_reused_closewait", "synproxy_conn_reused_closetimeout"),
        ("synproxy_ackstorm", "synproxy_ack_storm"),
        ("synproxy_synsend_qlen", "synproxy_synsent_qlen"),
        ("synproxy_conn_reuse", "synproxy_conn_reused"),
        ("defence_udp_drop", "defence_udp_drop"),
    ],
)
async def test_one_ext_counter_by_its_name_or_the_one_lvs_kernels_use(
    client: Client, gateway: FakeGateway, alias: str, name: str
) -> None:
    place = [counter.name for counter in EXT_COUNTERS].index(name)
    gateway.shared.table(0, "ext")[place] = 5
    gateway.shared.table(1, "ext")[place] = 6
    gateway.dropped_by_kernel[name] = 3
    assert await text_of(client, f"/stats/ext/{alias}") == "14\n"
    assert await json_of(client, f"/stats/ext/{alias}") == {"name": name, "total": 14, "shards": [5, 6], "lane": 0, "kernel": 3}
    assert (await json_of(client, "/stats/ext"))[name] == {"total": 14, "shards": [5, 6], "lane": 0, "kernel": 3}


async def test_unknown_ext_counter(client: Client) -> None:
    problem = await problem_of(await client.get("/stats/ext/synproxy_okack"), 404)
    assert problem["nearest"] == "synproxy_ok_ack"


async def test_the_name_of_lvs_answers_the_same(client: Client) -> None:
    assert await text_of(client, "/stats/ip_vs_ext_stats") == await text_of(client, "/stats/ext")
    assert await json_of(client, "/stats/ip_vs_ext_stats/synproxy_syn_cnt") == await json_of(
        client, "/stats/ext/synproxy_syn_cnt"
    )
    problem = await problem_of(await client.get("/stats/ip_vs_ext_stats/synproxy_syn_cn"), 404)
    assert problem["nearest"] == "synproxy_syn_cnt"
