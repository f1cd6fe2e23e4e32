"""Sets of prefixes, beside `ipaddress`, which says the same and takes longer."""

from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.prefixes import Prefixes, range_of, show_range

networks = st.builds(
    lambda address, bits: IPv4Network((address, bits), strict=False), st.integers(0, 0xFFFF_FFFF), st.integers(0, 32)
)
near = st.builds(lambda low, bits: IPv4Network((low << 4, bits), strict=False), st.integers(0, 40), st.integers(26, 32))
"""Networks that often touch or overlap one another."""


@given(networks)
def test_a_prefix_is_read_as_ipaddress_reads_it(network: IPv4Network) -> None:
    assert range_of(str(network)) == (int(network.network_address), int(network.broadcast_address))


@given(st.text("0123456789./ -x", max_size=20) | st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,4}){3}(/[0-9]{1,3})?", fullmatch=True))
def test_what_ipaddress_refuses_is_refused(text: str) -> None:
    try:
        network = IPv4Network(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"^(is not|has bits)"):
            range_of(text)
    else:
        if text.partition("/")[2].count(".") == 0:  # a mask in the place of a length is none of ours
            assert range_of(text)[0] == int(network.network_address)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.0.0.1/8", "has bits set beyond its prefix"),
        ("10.0.0.0/33", "is not a prefix: it has more than 32 bits"),
        ("10.0.0.0/255.0.0.0", "is not an IPv4 address or prefix"),
        ("010.0.0.0/8", "is not an IPv4 address or prefix"),
        ("256.0.0.1", "is not an IPv4 address or prefix"),
        ("2001:db8::/32", "is not an IPv4 address or prefix"),
        ("10.0.0.0/8 drop", "is not an IPv4 address or prefix"),
        ("١.0.0.0", "is not an IPv4 address or prefix"),
    ],
)
def test_why_a_text_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        range_of(text)


@given(st.lists(near, max_size=12), st.integers(0, 800))
def test_an_address_is_in_the_set_when_it_is_in_a_prefix(members: list[IPv4Network], address: int) -> None:
    prefixes = Prefixes.of(members)
    assert (address in prefixes) == any(IPv4Address(address) in member for member in members)


@given(st.lists(near, max_size=12))
def test_ranges_are_in_order_with_room_between_them_and_no_order_of_prefixes_matters(members: list[IPv4Network]) -> None:
    prefixes = Prefixes.of(members)
    ranges = list(prefixes.ranges)
    assert all(first <= last for first, last in ranges)
    assert all(left[1] + 1 < right[0] for left, right in pairwise(ranges))
    other = Prefixes.of(reversed(members))
    assert (other == prefixes, other.digest, len(other)) == (True, prefixes.digest, len(ranges))
    assert Prefixes(pair for pair in ranges) == prefixes


def test_sets_with_other_addresses_have_other_digests() -> None:
    sets = [Prefixes(), Prefixes([(0, 1)]), Prefixes([(0, 0)]), Prefixes([(1, 1)]), Prefixes([(0, 0), (3, 3)])]
    assert len({one.digest for one in sets}) == len(set(sets)) == len(sets)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("192.0.2.1", 0xC0000201, 0xC0000201),
        ("192.0.2.0/24", 0xC0000200, 0xC00002FF),
        ("0.0.0.0/0", 0, 0xFFFF_FFFF),
        ("192.0.2.1-192.0.2.2", 0xC0000201, 0xC0000202),
        ("192.0.2.0-192.0.2.2", 0xC0000200, 0xC0000202),
    ],
)
def test_a_range_is_shown_as_a_prefix_where_it_is_one(text: str, first: int, last: int) -> None:
    assert show_range(first, last) == text
