"""Packets that dpkt builds and reads: what is built is whole, and what is not whole is not read."""

from collections.abc import Callable

import dpkt
import pytest

from tests.support.addresses import CLIENT, ROUTER_ADDRESS, VIP
from tests.support.segments import (
    assert_ip_checksum,
    assert_tcp_checksum,
    assert_udp_checksum,
    fragments,
    icmp_error,
    options_of,
    read_icmp_error,
    read_tcp,
    read_udp,
    tcp,
    udp,
)
from tests.support.tcp_options import LINUX_SYN

SEGMENT = tcp(CLIENT, VIP, "PA", seq=5, ack=6, data=b"data", window=7, options=LINUX_SYN, ttl=9)
DATAGRAM = udp(CLIENT, VIP, b"data", ttl=9)
ERROR = icmp_error(ROUTER_ADDRESS.packed, CLIENT[:4], SEGMENT, mtu=1234)


def with_byte(raw: bytes, at: int, by: int = 0x55) -> bytes:
    return raw[:at] + bytes((raw[at] ^ by,)) + raw[at + 1 :]


def test_a_segment_is_read_as_it_was_built() -> None:
    seen = read_tcp(SEGMENT)
    assert (seen.source, seen.destination, seen.seq, seen.ack, seen.data, seen.ttl) == (CLIENT, VIP, 5, 6, b"data", 9)
    assert set(seen.flags) == {"P", "A"}
    assert (options_of(seen), seen.raw) == (LINUX_SYN, SEGMENT)
    assert SEGMENT[34:36] == (7).to_bytes(2, "big")


@pytest.mark.parametrize(("letters", "bits"), [("", 0), ("S", 2), ("FSRPAU", 63), ("SEW", 0xC2)])
def test_flags_are_letters_of_tcpdump(letters: str, bits: int) -> None:
    raw = tcp(CLIENT, VIP, letters)
    assert raw[33] == bits
    assert set(read_tcp(raw).flags) == set(letters)


def test_a_datagram_is_read_as_it_was_built() -> None:
    seen = read_udp(DATAGRAM)
    assert (seen.source, seen.destination, seen.data, seen.ttl, seen.raw) == (CLIENT, VIP, b"data", 9, DATAGRAM)
    assert seen.checksum


def test_a_datagram_may_have_no_checksum() -> None:
    assert read_udp(udp(CLIENT, VIP, b"data", with_checksum=False)).checksum == 0


def test_an_error_is_read_as_it_was_built() -> None:
    seen = read_icmp_error(ERROR)
    assert (seen.source, seen.destination) == (ROUTER_ADDRESS.packed, CLIENT[:4])
    assert (seen.kind, seen.code, seen.mtu, seen.quote_words, seen.quoted) == (3, 4, 1234, 0, SEGMENT)


def test_a_quote_can_be_padded_and_extended() -> None:
    raw = icmp_error(CLIENT[:4], VIP[:4], SEGMENT[:28], kind=11, code=0, quote_words=10, extensions=b"more")
    seen = read_icmp_error(raw)
    assert (seen.kind, seen.quote_words, seen.quoted) == (11, 10, SEGMENT[:28] + bytes(12) + b"more")


@pytest.mark.parametrize(
    ("read", "raw", "complaint"),
    [
        (read_tcp, SEGMENT + b"x", "IP length"),
        (read_tcp, SEGMENT[:-1], "IP length"),
        (read_tcp, with_byte(SEGMENT, 8), "wrong IP header checksum"),
        (read_tcp, with_byte(SEGMENT, -1 % len(SEGMENT)), "wrong TCP checksum"),
        (read_udp, DATAGRAM + b"x", "IP length"),
        (read_udp, SEGMENT, "protocol 6"),
        (read_udp, with_byte(DATAGRAM, 8), "wrong IP header checksum"),
        (read_udp, with_byte(DATAGRAM, 28), "wrong UDP checksum"),
        (read_udp, with_byte(udp(CLIENT, VIP, b"x", with_checksum=False), 25), "UDP length"),
        (read_icmp_error, ERROR + b"x", "IP length"),
        (read_icmp_error, DATAGRAM, "protocol 17"),
        (read_icmp_error, with_byte(ERROR, 8), "wrong IP header checksum"),
        (read_icmp_error, with_byte(ERROR, 27), "wrong ICMP checksum"),
        (read_icmp_error, icmp_error(CLIENT[:4], VIP[:4], with_byte(SEGMENT, 8)), "wrong IP header checksum"),
    ],
)
def test_what_is_not_whole_is_not_read(read: Callable[[bytes], object], raw: bytes, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        read(raw)


@pytest.mark.parametrize(
    ("check", "raw", "at"),
    [(assert_ip_checksum, SEGMENT, 9), (assert_tcp_checksum, SEGMENT, 25), (assert_udp_checksum, DATAGRAM, 23)],
)
def test_each_checksum_has_a_check_that_a_changed_byte_fails(check: Callable[[bytes], None], raw: bytes, at: int) -> None:
    check(raw)
    with pytest.raises(AssertionError, match="wrong"):
        check(with_byte(raw, at))


@pytest.mark.parametrize("payload_bytes", [8, 24, 1480])
def test_fragments_put_together_are_the_packet(payload_bytes: int) -> None:
    parts = [dpkt.ip.IP(part) for part in fragments(SEGMENT, payload_bytes)]
    assert b"".join(bytes(part.data) for part in parts) == SEGMENT[20:]
    assert [part.mf for part in parts] == [1] * (len(parts) - 1) + [0]
    assert [part.offset for part in parts] == list(range(0, (len(SEGMENT) - 20 + 7) // 8, payload_bytes // 8))
    assert all(part.len == 20 + len(part.data) for part in parts)
    for part in fragments(SEGMENT, payload_bytes):
        assert_ip_checksum(part)
