"""wire/flow.py and wire/family.py: keys and endpoints of both families are put together and taken apart by the same functions."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.family import FAMILIES, IPV4, IPV6
from appliance.wire.flow import (
    KEY_BYTES,
    KEY_FORMAT,
    addresses_of,
    destination_of,
    flow_from,
    flow_key,
    local_endpoint,
    pack_endpoint,
    reverse_key,
    source_address_of,
    source_of,
    source_port_of,
    split_endpoint,
    split_pool_key,
)
from appliance.wire.show import show_endpoint, show_flow

PORTS = st.integers(0, 65_535)
ENDS = st.one_of(
    st.tuples(st.ip_addresses(v=4), PORTS, st.ip_addresses(v=4), PORTS),
    st.tuples(st.ip_addresses(v=6), PORTS, st.ip_addresses(v=6), PORTS),
)
Ends = tuple[IPv4Address | IPv6Address, int, IPv4Address | IPv6Address, int]


@given(ENDS)
def test_what_is_put_together_is_taken_apart_again(ends: Ends) -> None:
    source, source_port, destination, destination_port = ends
    here, there = pack_endpoint(source, source_port), pack_endpoint(destination, destination_port)
    key = flow_key(here, there)
    assert (source_of(key), destination_of(key)) == (here, there)
    assert (source_address_of(key), source_port_of(key)) == (source.packed, source_port)
    assert addresses_of(key) == source.packed + destination.packed
    assert flow_from(source.packed, source_port, there) == key
    assert reverse_key(key) == flow_key(there, here)
    assert reverse_key(reverse_key(key)) == key
    assert split_endpoint(here) == (source.packed, source_port.to_bytes(2, "big"))
    assert local_endpoint(source.packed, source_port) == here
    assert split_pool_key(source.packed + there) == (source.packed, there)


def test_a_key_is_the_twelve_bytes_of_a_packet() -> None:
    """From byte 12 on: both addresses of the IPv4 header, and the ports that follow it."""
    key = flow_key(pack_endpoint(IPv4Address("198.51.100.2"), 40_000), pack_endpoint(IPv4Address("203.0.113.10"), 80))
    assert key.hex() == "c6336402cb00710a9c400050"
    assert (KEY_BYTES, KEY_FORMAT) == (12, "12s")
    assert show_flow(key) == "198.51.100.2:40000 > 203.0.113.10:80"


def test_both_families_are_data() -> None:
    assert [family[:4] for family in FAMILIES] == [(4, 4, 6, 12), (6, 16, 18, 36)]
    assert IPV4.cut_key(bytes(range(12))) == (b"\0\1\2\3", b"\4\5\6\7", b"\x08\x09", b"\x0a\x0b")
    assert IPV6.cut_endpoint(bytes(range(18))) == (bytes(range(16)), b"\x10\x11")


@pytest.mark.parametrize(
    ("address", "shown"), [("192.0.2.1", "192.0.2.1:80"), ("2001:db8::1", "[2001:db8::1]:80"), ("::", "[::]:80")]
)
def test_endpoints_are_shown_as_people_write_them(address: str, shown: str) -> None:
    assert show_endpoint(pack_endpoint(ip_address(address), 80)) == shown


def test_bytes_of_no_family_are_an_error() -> None:
    with pytest.raises(KeyError):
        split_endpoint(bytes(7))
    with pytest.raises(KeyError):
        reverse_key(bytes(13))
    with pytest.raises(KeyError):
        split_pool_key(bytes(11))
