"""nat/udp.py: addresses, ports and both checksums of a datagram; RFC 768's two meanings of zero. LVS behaviour 3.11."""

from struct import error

import pytest

from appliance.nat.udp import translate_datagram
from appliance.state.rewrite_record import record_of, rewrite_records
from appliance.wire.flow import flow_key
from tests.support.addresses import CLIENT, LIP1, RS1, VIP
from tests.support.segments import assert_ip_checksum, assert_udp_checksum, read_udp, udp

LOCAL = LIP1.packed + (5000).to_bytes(2, "big")
INBOUND, OUTBOUND = (record_of(rewrite_records(flow_key(CLIENT, VIP), flow_key(LOCAL, RS1)), direction) for direction in (0, 1))


def data_for_checksum_zero(source: bytes, destination: bytes) -> bytes:
    """Two bytes of data with which the checksum between the two comes out as 0: the checksum that their zeros have."""
    return read_udp(udp(source, destination, b"\0\0")).checksum.to_bytes(2, "big")


@pytest.mark.parametrize("data", [b"", b"q", b"question", b"x" * 1471])
def test_a_datagram_reaches_the_real_server_from_the_local_address(data: bytes) -> None:
    seen = read_udp(translate_datagram(udp(CLIENT, VIP, data, ttl=17), INBOUND))
    assert (seen.source, seen.destination, seen.data, seen.ttl) == (LOCAL, RS1, data, 17)
    assert seen.raw == udp(LOCAL, RS1, data, ttl=17)


def test_the_answer_reaches_the_client_from_the_vip() -> None:
    assert translate_datagram(udp(RS1, LOCAL, b"answer"), OUTBOUND) == udp(VIP, CLIENT, b"answer")


def test_a_translated_datagram_byte_for_byte() -> None:
    to_vip = "4500001d000800004011" "1488" "c6336402" "cb00710a" "9c40" "0050" "0009" "8c0a" "71"  # fmt: skip
    to_rs = "4500001d000800004011" "f658" "c000020a" "c0000265" "1388" "1f90" "0009" "d753" "71"  # fmt: skip
    assert translate_datagram(bytes.fromhex(to_vip), INBOUND).hex() == to_rs


@pytest.mark.parametrize("data", [b"", b"odd", b"even"])
def test_no_checksum_stays_no_checksum(data: bytes) -> None:
    raw = udp(CLIENT, VIP, data, with_checksum=False)
    translated = translate_datagram(raw, INBOUND)
    assert translated == udp(LOCAL, RS1, data, with_checksum=False)
    assert translated[26:28] == b"\0\0"


def test_a_checksum_that_comes_out_as_zero_is_written_as_all_ones() -> None:
    seen = read_udp(translate_datagram(udp(CLIENT, VIP, data_for_checksum_zero(LOCAL, RS1)), INBOUND))
    assert seen.checksum == 0xFFFF


def test_a_checksum_that_arrives_as_all_ones_is_one() -> None:
    raw = udp(CLIENT, VIP, data_for_checksum_zero(CLIENT, VIP))
    assert raw[26:28] == b"\xff\xff"
    seen = read_udp(translate_datagram(raw, INBOUND))
    assert seen.checksum not in (0, 0xFFFF)


@pytest.mark.parametrize("at", [10, 26])
def test_a_wrong_checksum_is_not_mended(at: int) -> None:
    raw = bytearray(udp(CLIENT, VIP, b"damaged"))
    raw[at] ^= 0x55
    translated = translate_datagram(bytes(raw), INBOUND)
    with pytest.raises(AssertionError, match="checksum"):
        (assert_ip_checksum if at == 10 else assert_udp_checksum)(translated)


def test_less_than_both_headers_is_refused() -> None:
    raw = udp(CLIENT, VIP)
    assert len(translate_datagram(raw, INBOUND)) == 28
    with pytest.raises(error):
        translate_datagram(raw[:-1], INBOUND)
