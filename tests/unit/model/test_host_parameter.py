"""model/host_parameter.py: which values a parameter takes, and the words for those that it does not."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.host_parameter import (
    ALL,
    HostParameterError,
    HostReading,
    Values,
    check_places,
    check_values,
    parse_values,
    text_of,
)
from appliance.model.host_parameters import HOST_PARAMETERS

FIN_TIMEOUT = HOST_PARAMETERS["tcp_fin_timeout"]
RMEM = HOST_PARAMETERS["tcp_rmem"]
RP_FILTER = HOST_PARAMETERS["rp_filter"]


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("tcp_fin_timeout", " 30\n", (30,)),
        ("tcp_fin_timeout", "1", (1,)),
        ("tcp_fin_timeout", "3600", (3600,)),
        ("tcp_rmem", "4096 131072 6291456", (4096, 131072, 6291456)),
        ("tcp_rmem", "4096\t4096  4096", (4096, 4096, 4096)),
        ("ip_local_port_range", "1024 65535", (1024, 65535)),
    ],
)
def test_numbers_with_blanks_between_them_are_taken(name: str, text: str, values: tuple[int, ...]) -> None:
    assert parse_values(HOST_PARAMETERS[name], text) == values


@pytest.mark.parametrize(
    ("name", "text", "message", "field"),
    [
        ("tcp_fin_timeout", "0", "tcp_fin_timeout: 0 is out of range 1..3600 s", "value"),
        ("tcp_fin_timeout", "3601", "tcp_fin_timeout: 3601 is out of range 1..3600 s", "value"),
        ("tcp_fin_timeout", "-1", "tcp_fin_timeout: -1 is out of range 1..3600 s", "value"),
        ("tcp_fin_timeout", "30s", "tcp_fin_timeout: '30s' is not an integer (allowed: 1..3600 s)", ""),
        ("tcp_fin_timeout", "+30", "tcp_fin_timeout: '+30' is not an integer (allowed: 1..3600 s)", ""),
        ("tcp_fin_timeout", "0x1e", "tcp_fin_timeout: '0x1e' is not an integer (allowed: 1..3600 s)", ""),
        ("tcp_fin_timeout", "٣٠", "tcp_fin_timeout: '٣٠' is not an integer (allowed: 1..3600 s)", ""),
        ("tcp_fin_timeout", "9" * 41, "tcp_fin_timeout: a number of 41 digits is out of range 1..3600 s", ""),
        ("tcp_fin_timeout", "", "tcp_fin_timeout: takes one number, and not 0 (allowed: 1..3600 s)", ""),
        ("tcp_fin_timeout", "30 30", "tcp_fin_timeout: takes one number, and not 2 (allowed: 1..3600 s)", ""),
        (
            "ip_local_port_range",
            "40000",
            "ip_local_port_range: takes 2 numbers, and not 1 (allowed: first last: each 1024..65535 port, ascending)",
            "",
        ),
        ("ip_local_port_range", "1023 60000", "ip_local_port_range: first 1023 is out of range 1024..65535 port", "first"),
        (
            "ip_local_port_range",
            "60000 59999",
            "ip_local_port_range: last 59999 is below first, which is 60000 (allowed: first last: each 1024..65535 port, "
            "ascending)",
            "last",
        ),
        (
            "tcp_rmem",
            "8192 4096 1048576",
            "tcp_rmem: default 4096 is below min, which is 8192 (allowed: min default max: each 1024..1073741824 bytes, "
            "ascending)",
            "default",
        ),
        (
            "tcp_rmem",
            "4096 8192 8191",
            "tcp_rmem: max 8191 is below default, which is 8192 (allowed: min default max: each 1024..1073741824 bytes, "
            "ascending)",
            "max",
        ),
        ("tcp_rmem", "4096 131072 1073741825", "tcp_rmem: max 1073741825 is out of range 1024..1073741824 bytes", "max"),
        (
            "ip_forward",
            "0",
            "ip_forward: 0 would break the gateway. A rewritten packet is routed to the other side. The appliance sets it to 1 "
            "by itself.",
            "",
        ),
    ],
)
def test_a_refusal_names_the_number_and_what_is_allowed(name: str, text: str, message: str, field: str) -> None:
    with pytest.raises(HostParameterError) as refused:
        parse_values(HOST_PARAMETERS[name], text)
    assert (str(refused.value), refused.value.field) == (message, field)


@given(st.sampled_from(sorted(HOST_PARAMETERS)), st.lists(st.integers(-10, 2**31), max_size=4))
def test_values_are_taken_exactly_when_they_are_as_many_in_range_and_ascending(name: str, values: list[int]) -> None:
    parameter = HOST_PARAMETERS[name]
    in_range = len(values) == len(parameter.numbers) and all(
        number.low <= value <= number.high for number, value in zip(parameter.numbers, values, strict=True)
    )
    allowed = in_range and values == sorted(values) and (name != "ip_forward" or values == [1])
    if allowed:
        assert check_values(parameter, values) == tuple(values) == parse_values(parameter, text_of(tuple(values)))
    else:
        with pytest.raises(HostParameterError, match=name):
            check_values(parameter, values)


@given(st.sampled_from(sorted(HOST_PARAMETERS)), st.text())
def test_any_text_is_values_or_a_refusal(name: str, text: str) -> None:
    said = ""
    try:
        values = parse_values(HOST_PARAMETERS[name], text)
        assert text_of(values).split() == [str(int(word)) for word in text.split()]
    except HostParameterError as error:
        said = str(error)
    assert len(said) < 400


def places(all_: int, *interfaces: int) -> dict[str, Values]:
    found: dict[str, Values] = {f"eth{number}": (value,) for number, value in enumerate(interfaces)}
    return {ALL: (all_,), **found}


@pytest.mark.parametrize(
    ("name", "fine", "broken"),
    [
        ("rp_filter", [(0, 0), (0, 2), (2, 0), (1, 2), (2, 2)], [(0, 1), (1, 0), (1, 1), (2, 1)]),
        ("accept_local", [(0, 1), (1, 1)], [(0, 0), (1, 0)]),
        ("send_redirects", [(0, 0)], [(0, 1), (1, 0), (1, 1)]),
    ],
)
def test_a_gateway_works_with_the_larger_of_all_and_the_interface(
    name: str, fine: Sequence[tuple[int, int]], broken: Sequence[tuple[int, int]]
) -> None:
    """And the value of the interface has to be right by itself, because the appliance puts it right."""
    parameter = HOST_PARAMETERS[name]
    for pair in fine:
        check_places(parameter, places(*pair))
    for all_, interface in broken:
        with pytest.raises(HostParameterError, match=rf"^{name}: {interface} at eth0.* would break the gateway"):
            check_places(parameter, places(all_, interface))


def test_one_broken_interface_is_found_among_others() -> None:
    with pytest.raises(HostParameterError, match="1 at eth1 would"):
        check_places(RP_FILTER, places(0, 0, 1, 2))
    with pytest.raises(HostParameterError, match="0 at eth1, with 1 at all, would"):
        check_places(RP_FILTER, places(1, 2, 0))


def test_parameters_without_interfaces_have_no_places_to_check() -> None:
    check_places(RMEM, {"": (1, 2, 3)})
    check_places(HOST_PARAMETERS["ip_forward"], {"": (0,)})


def test_names_and_paths_of_a_place() -> None:
    assert (FIN_TIMEOUT.path_at(""), FIN_TIMEOUT.full_name()) == ("ipv4/tcp_fin_timeout", "net.ipv4.tcp_fin_timeout")
    assert RP_FILTER.path_at("eth0.5") == "ipv4/conf/eth0.5/rp_filter"
    assert RP_FILTER.full_name("eth0.5") == "net.ipv4.conf.eth0/5.rp_filter"
    assert RP_FILTER.full_name() == "net.ipv4.conf.*.rp_filter"
    assert (RP_FILTER.per_interface, FIN_TIMEOUT.per_interface) == (True, False)


def test_a_reading_at_one_place_has_that_value_alone() -> None:
    reading = HostReading(RP_FILTER, {"all": (0,), "eth0": (2,)}, "writable", "")
    assert reading.at("eth0").values == {"eth0": (2,)}
    assert reading.at("eth1").values == {}
    assert reading.at("") == reading
