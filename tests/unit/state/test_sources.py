"""sources.py: counts by source network in memory that does not grow."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.state.sources import SourceCounts

addresses = st.binary(min_size=4, max_size=4)


@given(st.lists(addresses, max_size=60), st.integers(0, 32))
def test_a_count_is_at_least_that_of_the_network_and_at_most_that_of_all(listed: list[bytes], bits: int) -> None:
    counts = SourceCounts(bits)
    for address in listed:
        counts.add(counts.places(address))
    for address in listed:
        here = sum(int.from_bytes(a, "big") >> (32 - bits) == int.from_bytes(address, "big") >> (32 - bits) for a in listed)
        assert here <= counts.count(counts.places(address)) <= len(listed)
    for address in listed:
        counts.remove(address)
    assert counts.in_use == 0


def test_ten_thousand_strangers_do_not_fill_the_count_of_a_client() -> None:
    """They fill a seventh of the places of each table, so hardly any network shares both of its places with others."""
    counts = SourceCounts(32)
    for number in range(10_000):
        counts.add(counts.places((0x0A000000 + number).to_bytes(4, "big")))
    shared = sum(counts.count(counts.places((0xC6336400 + number).to_bytes(4, "big"))) > 0 for number in range(1000))
    assert shared < 100


def test_more_are_never_taken_off_than_there_are() -> None:
    counts = SourceCounts(24)
    counts.remove(b"abcd")
    counts.add(counts.places(b"abcd"))
    assert counts.count(counts.places(b"abcx")) == 1
