"""wire/checksum.py compared with the slow version of RFC 1071 and with pinned bytes."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.checksum import checksum, delta, pseudo_header_sum
from tests.support.oracle import rfc1071_checksum

even_bytes = st.binary(max_size=200).map(lambda data: data[: len(data) // 2 * 2])


def test_pinned_rfc_1071_example() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


def test_pinned_ip_header() -> None:
    header = bytes.fromhex("45000028000040004006") + b"\0\0" + bytes((192, 0, 2, 10, 192, 0, 2, 101))
    assert checksum(header) == 0xB660
    assert checksum(header[:10] + b"\xb6\x60" + header[12:]) == 0


@given(st.binary(max_size=2000))
def test_equals_the_slow_version(data: bytes) -> None:
    assert checksum(data) == rfc1071_checksum(data)


@given(st.binary(min_size=1, max_size=65), st.integers(0, 31))
def test_equals_the_slow_version_around_zero(data: bytes, zeros: int) -> None:
    for tricky in (b"\xff\xff" * zeros + data, b"\0\0" * zeros + data, b"\xff\xff" * zeros, b"\0" * zeros):
        assert checksum(tricky) == rfc1071_checksum(tricky)


@given(even_bytes, even_bytes, st.binary(min_size=12, max_size=12), st.binary(min_size=12, max_size=12))
def test_moving_by_delta_equals_computing_anew(before: bytes, after: bytes, old: bytes, new: bytes) -> None:
    data = b"\x45" + before + b"\0"
    data = data[: len(data) // 2 * 2]
    whole = checksum(data + old + after)
    assert (whole + delta(old, new)) % 65535 == checksum(data + new + after)


@given(even_bytes, st.binary(min_size=12, max_size=12), st.binary(min_size=12, max_size=12), st.integers(1, 65534))
def test_a_wrong_checksum_stays_wrong(data: bytes, old: bytes, new: bytes, error: int) -> None:
    wrong = (checksum(b"\x45\0" + data + old) + error) % 65535
    moved = (wrong + delta(old, new)) % 65535
    assert moved != checksum(b"\x45\0" + data + new)


def test_pseudo_header_is_addresses_protocol_and_length() -> None:
    addresses = bytes((192, 0, 2, 10, 192, 0, 2, 101))
    by_hand = 0xC000 + 0x020A + 0xC000 + 0x0265 + 6 + 20
    assert pseudo_header_sum(addresses, 6, 20) == by_hand % 65535
