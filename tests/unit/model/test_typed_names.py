"""model/typed_names.py: names with what people type before them, and the sentence that says where a name lives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.typed_names import elsewhere, host_parameter_named, shown_name, tunable_named


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("tcp_timeout_established", "tcp_timeout_established"),
        ("net.ipv4.vs.tcp_timeout_established", "tcp_timeout_established"),
        ("net/ipv4/vs/tcp_timeout_established", "tcp_timeout_established"),
        ("/proc/sys/net/ipv4/vs/tcp_timeout_established", "tcp_timeout_established"),
        (" net.ipv4.vs.tcp_syncookies ", "tcp_syncookies"),
        ("tcp_syncookies", "tcp_syncookies"),
        ("net.ipv4.tcp_syncookies", None),
        ("/proc/sys/net/ipv4/tcp_syncookies", None),
        ("net.ipv4.vs.tcp_fin_timeout", None),
        ("tcp_fin_timeout", None),
        ("net.ipv4.vs.", None),
        ("net.ipv4.vs", None),
        ("", None),
        ("/", None),
    ],
)
def test_tunables(typed: str, name: str | None) -> None:
    assert tunable_named(typed) == name


@pytest.mark.parametrize(
    ("typed", "name", "place"),
    [
        ("tcp_fin_timeout", "tcp_fin_timeout", ""),
        ("net.ipv4.tcp_fin_timeout", "tcp_fin_timeout", ""),
        ("/proc/sys/net/ipv4/tcp_fin_timeout", "tcp_fin_timeout", ""),
        ("net.ipv4.tcp_syncookies", "tcp_syncookies", ""),
        ("tcp_syncookies", "tcp_syncookies", ""),
        ("net.netfilter.nf_conntrack_max", "nf_conntrack_max", ""),
        ("net.nf_conntrack_max", "nf_conntrack_max", ""),
        ("net.ipv4.ip_conntrack_max", "nf_conntrack_max", ""),
        ("/proc/sys/net/ipv4/ip_conntrack_max", "nf_conntrack_max", ""),
        (
            "/proc/sys/net/ipv4/netfilter/ip_conntrack_tcp_timeout_established",
            "nf_conntrack_tcp_timeout_established",
            "",
        ),
        ("rp_filter", "rp_filter", ""),
        ("net.ipv4.conf.all.rp_filter", "rp_filter", "all"),
        ("conf.all.rp_filter", "rp_filter", "all"),
        ("net.ipv4.conf.eth0/5.rp_filter", "rp_filter", "eth0.5"),
        ("conf.eth0.5.rp_filter", "rp_filter", "eth0.5"),
        ("/proc/sys/net/ipv4/conf/eth0.5/rp_filter", "rp_filter", "eth0.5"),
    ],
)
def test_host_parameters(typed: str, name: str, place: str) -> None:
    found = host_parameter_named(typed)
    assert found is not None
    assert (found[0].name, found[1]) == (name, place)
    assert host_parameter_named(shown_name(*found)) == found


@pytest.mark.parametrize(
    "typed",
    [
        "net.ipv4.vs.tcp_syncookies",
        "tcp_timeout_established",
        "net.ipv4.conf.eth0.tcp_fin_timeout",
        "net.ipv4.conf.rp_filter",
        "net.ipv6.conf.all.forwarding",
        "kernel.core_pattern",
        "/proc/sys/kernel/core_pattern",
        "../ip_forward",
        "net",
        "conf",
        "conf..rp_filter",
        "",
    ],
)
def test_what_is_no_host_parameter(typed: str) -> None:
    assert host_parameter_named(typed) is None


@pytest.mark.parametrize(
    ("typed", "asked_for_tunable", "sentence"),
    [
        (
            "tcp_fin_timeout",
            True,
            "net.ipv4.tcp_fin_timeout is a parameter of the host: /host/sysctl/tcp_fin_timeout, [host.sysctl]; for sessions of "
            "the gateway there are the tunables tcp_timeout_fin_wait, tcp_timeout_time_wait",
        ),
        (
            "net.ipv4.conf.all.rp_filter",
            True,
            "net.ipv4.conf.all.rp_filter is a parameter of the host: /host/sysctl/conf.all.rp_filter, [host.sysctl]",
        ),
        (
            "/proc/sys/net/ipv4/tcp_syncookies",
            True,
            "net.ipv4.tcp_syncookies is a parameter of the host: /host/sysctl/tcp_syncookies, [host.sysctl]; for sessions of the "
            "gateway there are the tunables tcp_syncookies",
        ),
        ("net.ipv4.vs.tcp_syncookies", False, "tcp_syncookies is a tunable of the gateway: /sysctl/tcp_syncookies, [sysctl]"),
        ("udp_timeout", False, "udp_timeout is a tunable of the gateway: /sysctl/udp_timeout, [sysctl]"),
        ("net.ipv4.udp_timeout", False, ""),
        ("tcp_timeout_establish", True, ""),
        ("tcp_fin_timeou", False, ""),
    ],
)
def test_where_a_name_lives(typed: str, asked_for_tunable: bool, sentence: str) -> None:
    assert elsewhere(typed, asked_for_tunable=asked_for_tunable) == sentence


@given(st.text() | st.from_regex(r"(/proc/sys/)?(net[./](ipv4[./])?(vs[./])?)?(conf[./])?[a-z._/]*", fullmatch=True))
def test_any_text_is_read(typed: str) -> None:
    """And is not in both tables by a full name."""
    found, tunable = host_parameter_named(typed), tunable_named(typed)
    elsewhere(typed, asked_for_tunable=True)
    elsewhere(typed, asked_for_tunable=False)
    if found and tunable:
        assert typed.strip().removeprefix("/proc/sys/") == found[0].name == tunable
