"""config/edits.py: what a configuration is after one service, real server or pool has changed, and what is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.edits import commands, edited, look_up, new_commands
from appliance.config.loading import Config, ConfigError, parse
from appliance.model import edit
from appliance.model.edit import CREATE, MERGE, POOL, REAL_SERVER, REMOVE, REPLACE, SERVICE, ChangeRefusedError, Edit, Subject
from tests.support.api_changes import SHIPPED

BEFORE = parse(SHIPPED, "lvs.toml")
WEB, NAMES = Subject(SERVICE, "web"), Subject(SERVICE, "names")
RS1, RS2 = (Subject(REAL_SERVER, "web", f"192.0.2.10{number}:8080") for number in (1, 2))
SPARE = Subject(POOL, "spare")


def after(action: str, subject: Subject, value: Any = None, before: Config = BEFORE) -> Config:
    return edited(before, Edit(action, subject, value))


def test_a_service_is_replaced_where_it_stands_and_the_others_are_left_alone() -> None:
    done = after(REPLACE, WEB, {"vip": "203.0.113.80", "port": 8080, "scheduler": "wrr"})
    assert [service.name for service in done.services] == ["web", "names"]
    assert look_up(done, WEB) == {"name": "web", "vip": "203.0.113.80", "port": 8080, "scheduler": "wrr"}
    assert done.services[1] is BEFORE.services[1]
    assert done.gateway is BEFORE.gateway
    assert look_up(BEFORE, RS1), "the configuration in force stays as it is"


def test_to_replace_with_the_value_that_is_there_changes_nothing() -> None:
    for subject in (WEB, NAMES, RS1, SPARE):
        assert after(REPLACE, subject, look_up(BEFORE, subject)) == BEFORE


@pytest.mark.parametrize("action", [CREATE, REPLACE])
@pytest.mark.parametrize(
    ("subject", "value"),
    [
        (Subject(SERVICE, "new"), {"name": "new", "vip": "203.0.113.80", "port": 80}),
        (Subject(REAL_SERVER, "names", "192.0.2.103:53"), {"address": "192.0.2.103", "port": 53, "weight": 5}),
        (Subject(POOL, "new"), {"addresses": ["192.0.2.40"]}),
    ],
)
def test_what_is_new_comes_last(action: str, subject: Subject, value: dict[str, Any]) -> None:
    assert look_up(BEFORE, subject) is None
    assert look_up(after(action, subject, value), subject) == value
    assert after(REMOVE, subject, before=after(action, subject, value)) == BEFORE


def test_a_merge_leaves_other_keys_and_null_takes_one_away() -> None:
    done = after(MERGE, WEB, {"scheduler": "wlc", "health_check": {"type": "tcp", "rise": 3}})
    assert done.services[0].real_servers == BEFORE.services[0].real_servers
    done = after(MERGE, WEB, {"health_check": {"rise": None, "fall": 4}}, done)
    value = look_up(done, WEB)
    assert value
    assert value["health_check"] == {"type": "tcp", "fall": 4}
    assert after(MERGE, WEB, {"health_check": None}, done).services[0].health_check is None


def test_a_real_server_is_changed_and_removed_alone() -> None:
    done = after(MERGE, RS2, {"weight": 0})
    assert [server.weight for server in done.services[0].real_servers] == [100, 0]
    assert [server.weight for server in after(REMOVE, RS1, before=done).services[0].real_servers] == [0]


@pytest.mark.parametrize(
    ("action", "subject", "value", "kind"),
    [
        (CREATE, WEB, {"name": "web", "vip": "203.0.113.80", "port": 80}, edit.ALREADY_THERE),
        (CREATE, RS1, {"address": "192.0.2.101", "port": 8080}, edit.ALREADY_THERE),
        (MERGE, Subject(SERVICE, "no"), {}, edit.UNKNOWN),
        (REMOVE, Subject(SERVICE, "no"), None, edit.UNKNOWN),
        (REMOVE, Subject(REAL_SERVER, "web", "192.0.2.9:80"), None, edit.UNKNOWN),
        (REPLACE, Subject(REAL_SERVER, "no", "192.0.2.9:80"), {}, edit.UNKNOWN),
        (REMOVE, Subject(POOL, "no"), None, edit.UNKNOWN),
        (REPLACE, WEB, {"name": "other", "vip": "203.0.113.80", "port": 80}, edit.BAD_CONFIG),
        (REPLACE, RS1, {"port": 80}, edit.BAD_CONFIG),
        (REPLACE, RS1, {"port": True}, edit.BAD_CONFIG),
        (REPLACE, RS1, {"port": 8080.0}, edit.BAD_CONFIG),
        (REPLACE, Subject(REAL_SERVER, "web", "192.0.2.9:080"), {}, edit.BAD_CONFIG),
        (REPLACE, Subject(REAL_SERVER, "web", "::1:80"), {}, edit.BAD_CONFIG),
        (REPLACE, Subject(REAL_SERVER, "web", "192.0.2.9:٣"), {}, edit.BAD_CONFIG),
        (REPLACE, WEB, ["vip"], edit.BAD_CONFIG),
        (MERGE, WEB, None, edit.BAD_CONFIG),
        (REPLACE, SPARE, {}, edit.BAD_CONFIG),
        (REPLACE, SPARE, {"addresses": ["192.0.2.40"], "colour": "red"}, edit.BAD_CONFIG),
    ],
)
def test_what_makes_no_sense_is_refused(action: str, subject: Subject, value: Any, kind: str) -> None:
    with pytest.raises(ChangeRefusedError) as refusal:
        after(action, subject, value)
    assert refusal.value.kind == kind
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    ("action", "subject", "value", "words"),
    [
        (MERGE, RS1, {"weight": 65_536}, "service[0].real_server[0].weight: 65536 is out of range 0..65535"),
        (MERGE, RS1, {"weight": 2**70}, "is out of range 0..65535"),
        (MERGE, RS1, {"weight": 1e999}, "weight: inf is not an integer"),
        (MERGE, RS1, {"weigth": 5}, 'service[0].real_server[0].weigth: unknown key; did you mean "weight"?'),
        (REPLACE, Subject(REAL_SERVER, "web", "192.0.2.999:80"), {}, "real_server[2].address: "),
        (REPLACE, Subject(REAL_SERVER, "web", "203.0.113.10:80"), {}, "203.0.113.10 is also service[0].vip"),
        (REPLACE, Subject(REAL_SERVER, "web", "192.0.2.9:65536"), {}, "port: 65536 is out of range 1..65535"),
        (REPLACE, Subject(SERVICE, "a/b"), {"vip": "203.0.113.80", "port": 80}, '"a/b" is not a name'),
        (REPLACE, Subject(SERVICE, "é"), {"vip": "203.0.113.80", "port": 80}, '"é" is not a name'),
        (REPLACE, Subject(SERVICE, "new"), {"vip": "203.0.113.10", "port": 80}, "is already served by service[0]"),
        (MERGE, WEB, {"local_addresses": "no"}, '"no" is not a pool'),
        (MERGE, WEB, {"real_server": {"address": "192.0.2.9"}}, "real_server: "),
        (REPLACE, SPARE, {"addresses": []}, "local_addresses.spare: must not be empty"),
        (REPLACE, SPARE, {"addresses": "192.0.2.40"}, "is not a list"),
        (REPLACE, SPARE, {"addresses": ["192.0.2.10"]}, "192.0.2.10 is already local_addresses.spare[0]"),
        (REPLACE, Subject(POOL, "../x"), {"addresses": ["192.0.2.40"]}, "is not a name"),
        (REMOVE, Subject(POOL, "default"), None, '"default" is not a pool'),
    ],
)
def test_a_mistake_is_told_with_key_value_and_range(action: str, subject: Subject, value: Any, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        after(action, subject, value)
    assert words in str(refusal.value)


def test_the_last_service_stays() -> None:
    with pytest.raises(ConfigError, match="service: must not be empty"):
        after(REMOVE, WEB, before=after(REMOVE, NAMES))


def test_commands_of_services_and_of_real_servers_are_found() -> None:
    check = {"type": "command", "command": ["/bin/true", "a"]}
    assert commands(BEFORE.services) == frozenset()
    for where in (WEB, RS2):
        changed = after(MERGE, where, {"health_check": check})
        assert commands(changed.services) == {("/bin/true", "a")}
        assert new_commands(changed, BEFORE, BEFORE) == {("/bin/true", "a")}
        assert new_commands(changed, changed, BEFORE) == new_commands(changed, BEFORE, changed) == frozenset()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["port", "real_server", "weight", "x"]), inner),
    max_leaves=8,
)


@given(action=st.sampled_from([REPLACE, MERGE]), subject=st.sampled_from([WEB, RS1, SPARE]), value=JSON)
def test_whatever_comes_it_is_a_configuration_or_refused(action: str, subject: Subject, value: Any) -> None:
    try:
        done = after(action, subject, value)
    except (ChangeRefusedError, ConfigError):
        return
    assert json.dumps(look_up(done, subject))
