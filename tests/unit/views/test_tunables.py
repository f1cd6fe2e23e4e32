"""views/tunables.py: the table letter by letter, and the same numbers as JSON."""

from appliance.model.tunables import TUNABLES
from appliance.views.tunables import all_tunables, one_tunable
from tests.support.gateway import shared_state


def test_tunables_show_the_value_in_force_beside_its_default() -> None:
    shared = shared_state(shards=1, destinations=0)
    shared.set_tunables({"tcp_timeout_established": 600_000})
    lines = all_tunables(shared).text.splitlines()
    assert len(lines) == 1 + len(TUNABLES)
    assert lines[0].split() == ["name", "value", "default", "range", "unit", "summary"]
    assert lines[1] == (
        "fullnat_timestamp_remove_entry        1        1  0..1           -         "
        "take the TCP timestamp option off the SYN that goes to a real server"
    )
    established = lines[1 + list(TUNABLES).index("tcp_timeout_established")]
    assert established == (
        "tcp_timeout_established          600000   900000  1000..1800000  ms        idle time of a session in ESTABLISHED"
    )


def test_every_tunable_is_in_the_data_with_all_its_traits() -> None:
    shared = shared_state(shards=1, destinations=0)
    data = all_tunables(shared).data
    assert list(data) == list(TUNABLES)
    for name, tunable in TUNABLES.items():
        assert data[name] == {
            "value": tunable.default,
            "default": tunable.default,
            "min": tunable.min,
            "max": tunable.max,
            "unit": tunable.unit,
            "summary": tunable.summary,
        }


def test_one_tunable_is_its_value_alone() -> None:
    shared = shared_state(shards=1, destinations=0)
    document = one_tunable(shared, "synproxy_synack_ttl")
    assert document.text == "63\n"
    assert document.data == {"name": "synproxy_synack_ttl"} | all_tunables(shared).data["synproxy_synack_ttl"]
