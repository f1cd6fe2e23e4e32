"""tracking.py: which entries of connection tracking are about services, and fresh."""

from dataclasses import replace

import pytest

from appliance.doctor.facts import Entry
from appliance.doctor.tracking import FRESH_S, of_services
from tests.support.patient import DEFAULTS, SETUP, WEB

TIMEOUTS = {
    "net/netfilter/nf_conntrack_tcp_timeout_established": "432000",
    "net/netfilter/nf_conntrack_tcp_timeout_time_wait": "120",
    "net/netfilter/nf_conntrack_udp_timeout": "30",
    "net/netfilter/nf_conntrack_udp_timeout_stream": "120",
}
TO_VIP = Entry(6, "198.51.100.2", 40000, "203.0.113.10", 80, 432000, 3)


def is_found(entry: Entry) -> bool:
    return list(of_services([entry], SETUP, TIMEOUTS)) == [entry]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (TO_VIP, True),
        (TO_VIP._replace(destination_port=22), False),
        (TO_VIP._replace(protocol=17, timeout_s=30, state=None), False),
        (TO_VIP._replace(destination="203.0.113.11"), False),
        (Entry(6, "203.0.113.10", 80, "198.51.100.2", 40000, 432000, 3), True),
        (Entry(6, "10.9.0.11", 5000, "192.0.2.101", 8080, 432000, 3), True),
        (Entry(6, "192.0.2.101", 8080, "10.9.0.10", 65535, 432000, 3), True),
        (Entry(6, "10.9.0.11", 4999, "192.0.2.101", 8080, 432000, 3), False),
        (Entry(1, "198.51.100.2", 0, "203.0.113.10", 0, 30, None), False),
        (Entry(1, "198.51.100.2", 0, "10.9.0.11", 0, 30, None), False),
    ],
)
def test_who_is_meant(entry: Entry, expected: bool) -> None:
    assert is_found(entry) == expected


@pytest.mark.parametrize(
    ("entry", "idle_s"),
    [
        (TO_VIP, 0),
        (TO_VIP._replace(timeout_s=120, state=7), 0),
        (TO_VIP._replace(state=None), None),
        (TO_VIP._replace(state=99), None),
    ],
)
@pytest.mark.parametrize("older_s", [0, FRESH_S, FRESH_S + 1])
def test_an_entry_that_nobody_uses_is_left_out(entry: Entry, idle_s: int | None, older_s: int) -> None:
    """A state that is not known counts as fresh."""
    assert is_found(entry._replace(timeout_s=entry.timeout_s - older_s)) == (idle_s is None or older_s <= FRESH_S)


@pytest.mark.parametrize(("timeout_s", "expected"), [(120, True), (90, True), (89, False), (31, False), (30, True), (0, True)])
def test_udp_has_two_timeouts(timeout_s: int, expected: bool) -> None:
    udp = SETUP._replace(services=(replace(WEB, protocol="udp"),), tunables=DEFAULTS)
    entry = TO_VIP._replace(protocol=17, timeout_s=timeout_s, state=None)
    assert bool(list(of_services([entry], udp, TIMEOUTS))) == expected
