"""top/answers.py: answers of another shape, size or version are refused or read, and nothing else happens."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.top.answers import AnswerError, services
from appliance.top.picture import (
    ATTACK,
    CLIENTS,
    DROPS,
    EXT,
    HEALTH,
    HEALTHZ,
    LANE_STATS,
    QUEUES,
    SERVICES,
    TABLE,
    TRAFFIC,
    Picture,
)

PATHS = (HEALTHZ, TRAFFIC, TABLE, ATTACK, SERVICES, QUEUES, HEALTH, DROPS, CLIENTS, EXT, LANE_STATS)

NAMES = (
    "services", "real_servers", "name", "vip", "port", "conns", "in_packets", "lane_packets", "totals", "shards", "lane",
    "status", "problems", "services_down", "cpu_s", "waiting", "appliance", "count", "under_way", "kind", "top", "client",
    "total", "reason", "lasted_s", "last_answer",
)  # fmt: skip
"""Members that the readers look for."""

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=25,
)


@given(st.sampled_from(PATHS), st.lists(ANY_JSON, min_size=1, max_size=3))
def test_any_json_is_read_or_refused(path: str, answers: list[Any]) -> None:
    picture = Picture()
    for second, answer in enumerate(answers):
        try:
            picture.take(path, float(second), answer)
        except AnswerError:
            continue
        for rows in (picture.service_rows, picture.shard_rows, picture.server_rows, picture.drop_rows, picture.client_rows):
            rows()
        assert picture.summary


@pytest.mark.parametrize("number", ["1e400", "NaN", "Infinity", "9" * 400, "1.5", "true", '"7"'])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    answer = json.loads(f'{{"services": [{{"name": "web", "port": {number}, "real_servers": []}}]}}')
    with pytest.raises(AnswerError, match="port"):
        services(answer)


def test_what_an_older_appliance_does_not_say_is_not_known() -> None:
    picture = Picture()
    row = {"address": "192.0.2.101", "port": 80, "state": "up", "weight": 1, "conns": 5, "in_packets": 7}
    for second in (1.0, 2.0):
        picture.take(
            SERVICES, second, {"services": [{"name": "web", "protocol": "TCP", "vip": "a", "port": 1, "real_servers": [row]}]}
        )
        picture.take(HEALTHZ, second, {"status": "ok", "shards": [{"shard": 0, "up": True, "starts": 1}], "lane": None})
        picture.take(TRAFFIC, second, {"totals": {name: {"shards": [1], "lane": 0} for name in FIELDS}})
    (service,) = picture.service_rows()
    assert (service.carried, service.cookies, service.packets_per_s) == (None, "", 0.0)
    shard = picture.shard_rows()[0]
    assert (shard.cpu, shard.waiting, shard.starts) == (None, None, 1)


FIELDS = ("conns", "in_packets", "out_packets", "in_bytes", "out_bytes")
