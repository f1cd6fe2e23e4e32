"""tunables.py: the contract, by names, ranges and count, and how values are read."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.early import EARLY
from appliance.model.tunables import TUNABLES, Tunable, TunableError, check_value, parse_value

SPOT_CHECKS = {
    "fullnat_toa_entry": (1, 0, 1),
    "fullnat_lport_max": (65535, 1025, 65535),
    "fullnat_lport_min": (5000, 1025, 65535),
    "fullnat_lport_tries": (10000, 10, 60000),
    "synproxy_init_mss": (1452, 0, 65535),
    "synproxy_ack_skb_store_thresh": (3, 0, 5),
    "synproxy_syn_retry": (3, 0, 6),
    "synproxy_synack_ttl": (63, 1, 255),
    "synproxy_conn_reuse_fin_wait": (0, 0, 1),
    "defence_frag_drop": (1, 0, 1),
    "tcp_timeout_established": (900_000, 1000, 1_800_000),
    "tcp_timeout_close": (10_000, 1000, 20_000),
    "tcp_timeout_last_ack": (30_000, 1000, 60_000),
}


def test_there_are_34_tunables_by_contract_and_a_few_more() -> None:
    assert list(TUNABLES)[34:] == [
        "fullnat_toa_kind", "conn_expire_tcp_rst", "expire_nodest_conn", "udp_timeout", "tcp_syncookies", "tcp_max_syn_backlog",
        "tcp_abort_on_overflow", "conn_max", "conn_early_drop", "tcp_max_tw_buckets", "udp_timeout_unconfirmed", "conn_reserved",
        "source_conn_max", "source_conn_prefix", "synproxy_in_kernel", "prepared_admissions",
        "strays_in_kernel",
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), SPOT_CHECKS.items())
def test_defaults_and_ranges(name: str, expected: tuple[int, int, int]) -> None:
    tunable = TUNABLES[name]
    assert (tunable.default, tunable.min, tunable.max) == expected


def test_every_timeout_may_be_twice_its_default_and_no_less_than_a_second() -> None:
    for tunable in TUNABLES.values():
        if tunable.name.startswith("tcp_timeout_"):
            assert (tunable.min, tunable.max, tunable.unit) == (1000, 2 * tunable.default, "ms")


@pytest.mark.parametrize("tunable", TUNABLES.values(), ids=lambda tunable: tunable.name)
def test_a_tunable_says_its_unit_and_what_it_does_without_the_others(tunable: Tunable) -> None:
    assert tunable.min <= tunable.default <= tunable.max
    has_none = (tunable.min, tunable.max) == (0, 1) or tunable.name in ("fullnat_toa_kind", "tcp_syncookies", *EARLY)
    assert bool(tunable.unit) != has_none, "unit"
    assert re.fullmatch(r"(?!that|those|these|it )[a-zA-Z].*[^.]", tunable.summary), "a phrase"
    assert [other.name for other in TUNABLES.values() if other.summary == tunable.summary] == [tunable.name]


@pytest.mark.parametrize("text", ["", " ", "1.5", "abc", "0x10", "1_000", "1e3", "١٠٠٠", "--5", "+5", "0" * 41 + "7"])
def test_what_is_no_decimal_integer_is_refused(text: str) -> None:
    with pytest.raises(TunableError, match="tcp_timeout_close"):
        parse_value("tcp_timeout_close", text)


@given(st.sampled_from(sorted(TUNABLES)), st.integers())
def test_a_value_is_taken_exactly_when_it_is_in_range(name: str, value: int) -> None:
    tunable = TUNABLES[name]
    if tunable.min <= value <= tunable.max:
        assert parse_value(name, f" {value}\n") == check_value(name, value) == value
    else:
        with pytest.raises(TunableError, match="range"):
            parse_value(name, str(value))
