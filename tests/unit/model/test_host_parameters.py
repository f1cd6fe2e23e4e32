"""model/host_parameters.py: the names are the contract, and each row is whole."""

import re

import pytest

from appliance.model.host_parameter import HostParameter
from appliance.model.host_parameters import ALIASES, HOST_PARAMETERS, recommended
from appliance.model.tunables import TUNABLES

OF_TCP = [
    "tcp_timestamps",
    "tcp_tw_reuse",
    "tcp_tw_recycle",
    "tcp_fin_timeout",
    "tcp_syncookies",
    "tcp_max_tw_buckets",
    "ip_local_port_range",
    "tcp_max_syn_backlog",
    "tcp_syn_retries",
    "tcp_retries1",
    "tcp_retries2",
    "tcp_synack_retries",
    "tcp_max_orphans",
    "tcp_orphan_retries",
    "tcp_mem",
    "tcp_rmem",
    "tcp_wmem",
    "tcp_keepalive_time",
    "tcp_keepalive_intvl",
    "tcp_keepalive_probes",
    "tcp_abort_on_overflow",
    "tcp_rfc1337",
]
OF_GATEWAY = [
    "ip_forward",
    "rp_filter",
    "accept_local",
    "send_redirects",
    "nf_conntrack_max",
    "nf_conntrack_tcp_timeout_established",
    "nf_conntrack_buckets",
]
each = pytest.mark.parametrize("parameter", HOST_PARAMETERS.values(), ids=lambda parameter: parameter.name)


def test_the_names() -> None:
    assert len(OF_TCP) == 20 + 2
    assert sorted(HOST_PARAMETERS) == sorted(OF_TCP + OF_GATEWAY)


@each
def test_the_path_is_that_of_its_name(parameter: HostParameter) -> None:
    folder, _, file = parameter.path.rpartition("/")
    assert file == parameter.name
    assert folder in ("ipv4", "ipv4/conf/*", "netfilter")
    assert (folder == "netfilter") == parameter.name.startswith("nf_conntrack")


@each
def test_it_says_what_it_does_what_people_get_wrong_and_what_that_has_to_do_with_a_gateway(parameter: HostParameter) -> None:
    for text in (parameter.meaning, parameter.mistake, parameter.here):
        assert re.fullmatch(r"(?s)[A-Z0-9A-Za-z].*[.]", text)
        assert "  " not in text
    assert parameter.meaning.count(". ") == 0, "one sentence"


@each
def test_its_values_are_in_its_own_range(parameter: HostParameter) -> None:
    ranges = {(number.low, number.high) for number in parameter.numbers}
    assert len(ranges) == 1
    ((low, high),) = ranges
    assert low < high
    for values in filter(None, (parameter.usual, parameter.recommended, parameter.needed)):
        assert all(low <= value <= high for value in values)
    names = [number.name for number in parameter.numbers]
    assert (names == ["value"]) == (len(names) == 1)
    assert len(set(names)) == len(names)
    if parameter.needed and parameter.recommended:
        assert parameter.recommended[0] in parameter.needed


@each
def test_a_switch_or_a_mode_has_no_unit_and_all_others_have(parameter: HostParameter) -> None:
    assert bool(parameter.unit) == (parameter.numbers[0].high > 2)


@each
def test_the_tunables_that_it_names_are_there(parameter: HostParameter) -> None:
    assert set(parameter.tunables) <= TUNABLES.keys()
    if parameter.name in TUNABLES:
        assert parameter.tunables[0] == parameter.name


def test_four_names_are_in_both_tables() -> None:
    both = {"tcp_syncookies", "tcp_max_syn_backlog", "tcp_abort_on_overflow", "tcp_max_tw_buckets"}
    assert HOST_PARAMETERS.keys() & TUNABLES.keys() == both


def test_the_two_mistakes_that_everybody_makes_are_named() -> None:
    fin_timeout, recycle = HOST_PARAMETERS["tcp_fin_timeout"], HOST_PARAMETERS["tcp_tw_recycle"]
    assert "FIN_WAIT_2" in fin_timeout.meaning
    assert "TIME_WAIT" in fin_timeout.mistake
    assert "tcp_timeout_time_wait" in fin_timeout.tunables
    assert "NAT" in recycle.mistake
    assert (recycle.until, recycle.refused != "") == ("4.12", True)


def test_aliases_are_no_names_and_lead_to_one() -> None:
    assert not ALIASES.keys() & HOST_PARAMETERS.keys()
    assert set(ALIASES.values()) <= HOST_PARAMETERS.keys()


@pytest.mark.parametrize(
    ("lport_min", "lport_max", "expected"),
    [
        (5000, 65535, None),
        (5119, 65535, None),
        (5120, 65535, (1024, 5119)),
        (32768, 65535, (1024, 32767)),
        (5000, 61440, None),
        (5000, 61439, (61440, 65535)),
        (20000, 30000, (30001, 65535)),
        (1025, 65535, None),
    ],
)
def test_the_host_takes_its_ports_beside_those_of_sessions(
    lport_min: int, lport_max: int, expected: tuple[int, int] | None
) -> None:
    ports = {"fullnat_lport_min": lport_min, "fullnat_lport_max": lport_max}
    assert recommended(HOST_PARAMETERS["ip_local_port_range"], ports) == expected


def test_other_recommendations_do_not_depend_on_the_gateway() -> None:
    found = {name: recommended(parameter, {}) for name, parameter in HOST_PARAMETERS.items() if name != "ip_local_port_range"}
    assert {name: values for name, values in found.items() if values is not None} == {
        "tcp_tw_recycle": (0,),
        "tcp_syncookies": (1,),
        "tcp_abort_on_overflow": (0,),
        "ip_forward": (1,),
        "rp_filter": (2,),
        "accept_local": (1,),
        "send_redirects": (0,),
        "nf_conntrack_tcp_timeout_established": (7440,),
    }
