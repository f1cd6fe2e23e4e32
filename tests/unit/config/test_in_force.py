"""config/in_force.py: what goes into a file that people send around, and what is made of such a file."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.in_force import Places, config_of, places_of, tables_of
from appliance.config.loading import ConfigError, parse
from appliance.director.plans import Slots
from appliance.ipc.in_force import TABLES, InForceError, as_remark, read_remark
from appliance.ipc.plan import ServicePlan

CONFIG = parse(
    """
    [gateway]
    shards = 2
    client_interface = "secret0"
    server_interface = "secret1"
    [api]
    listen = ["unix:/run/secret/socket"]
    [sysctl]
    conn_max = 5000
    [local_addresses]
    default = ["192.0.2.10"]
    other = ["192.0.2.11", "192.0.2.12"]
    [[service]]
    name = "web"
    vip = "203.0.113.10"
    port = 80
    scheduler = "mh"
    maglev_table = 251
    local_addresses = "other"
    synproxy = "auto"
    synproxy_defer = 1
    lane = false
    persistence_s = 60
    persistence_mask = 24
    when_none_healthy = "all"
    quorum = 2
    on_down = "reset"
    allow = ["198.18.0.0/15"]
    max_conn = 500
    when_full = "drop"
    max_conn_per_client = 5
    client_mask = 28
    [service.health_check]
    type = "http"
    path = "/health?password=secret"
    [[service.real_server]]
    address = "192.0.2.101"
    port = 8080
    weight = 7
    slow_start_s = 30
    max_conn = 100
    [[service.real_server]]
    address = "192.0.2.102"
    port = 8080
    backup = true
    """,
    "test",
)
TABLES_OF = tables_of(CONFIG, CONFIG.sysctl)


def plans(tables: dict[str, Any]) -> tuple[ServicePlan, ...]:
    config = config_of(tables, "a file")
    return Slots.sized_for(config).take(config)


def test_shards_get_the_same_plan_of_it_but_for_who_judges_syns_before_them() -> None:
    [made] = Slots.sized_for(CONFIG).take(CONFIG)
    written = read_remark(as_remark(TABLES_OF))
    assert written is not None
    assert plans(written) == (replace(made, guarded=False),)
    assert made.guarded
    assert config_of(written, "a file").gateway.shards == 2


def test_it_has_nothing_that_is_secret() -> None:
    text = as_remark(TABLES_OF)
    assert "secret" not in text
    assert "198.18" not in text


def test_values_in_force_take_the_place_of_those_of_the_file() -> None:
    assert config_of(tables_of(CONFIG, {**CONFIG.sysctl, "conn_max": 7}), "a file").sysctl["conn_max"] == 7


@pytest.mark.parametrize("key", TABLES)
def test_a_table_that_is_missing_is_named(key: str) -> None:
    with pytest.raises(InForceError, match=f"^{key} is missing"):
        config_of({name: table for name, table in TABLES_OF.items() if name != key}, "a file")


@pytest.mark.parametrize("gateway", [None, [], {}, {"shards": 1, "client_interface": "eth0"}])
def test_a_gateway_has_its_number_of_shards_and_nothing_else(gateway: object) -> None:
    with pytest.raises(InForceError, match="gateway has other keys than shards"):
        config_of(TABLES_OF | {"gateway": gateway}, "a file")


@pytest.mark.parametrize("shards", [0, 10**9, "2", True])
def test_the_number_of_shards_is_bounded(shards: object) -> None:
    with pytest.raises(ConfigError, match=r"a file: gateway\.shards"):
        config_of(TABLES_OF | {"gateway": {"shards": shards}}, "a file")


def test_what_shards_would_take_together_is_bounded() -> None:
    """Each has room for its tables, and all of them are in one process."""
    web = TABLES_OF["service"][0] | {"maglev_table": 131071}
    services = [
        web | {"name": f"s{number}", "port": 1000 + number, "real_server": [{"address": f"192.0.2.{number}", "port": 80}]}
        for number in range(101, 230)
    ]
    config_of(TABLES_OF | {"gateway": {"shards": 64}, "service": services[:128]}, "a file")
    with pytest.raises(InForceError, match="the tables of the scheduler mh take more than 1024 MiB in 64 shards"):
        config_of(TABLES_OF | {"gateway": {"shards": 64}, "service": services}, "a file")


def test_places_stay_until_something_else_is_said() -> None:
    web = ("web", "192.0.2.101", 8080)
    places = places_of({"down": [[*web]]}, Places(drained=frozenset([web])))
    assert places == Places(frozenset([web]), frozenset([web]))
    assert places_of({"drained": []}, places) == Places(frozenset([web]), frozenset())


@pytest.mark.parametrize("value", [None, 5, [5], [["web", "192.0.2.101"]], [["web", "192.0.2.101", []]], ["abc"], [[[], "a", 1]]])
def test_what_is_no_list_of_real_servers_is_refused(value: object) -> None:
    with pytest.raises(InForceError, match="down is no list of real servers"):
        places_of({"down": value}, Places())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "port", "address"]), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(TABLES), JSON), st.sampled_from(["", *TABLES_OF["service"][0]]), JSON)
def test_any_tables_are_a_configuration_or_refused(changed: dict[str, object], key: str, value: object) -> None:
    service = TABLES_OF["service"][0] | ({key: value} if key else {})
    with suppress(InForceError, ConfigError):
        plans(TABLES_OF | {"service": [service]} | changed)


@given(st.dictionaries(st.sampled_from(["down", "drained"]), JSON))
def test_any_places_are_read_or_refused(what: dict[str, object]) -> None:
    with suppress(InForceError):
        places_of(what, Places())
