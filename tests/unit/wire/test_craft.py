"""wire/craft.py and wire/show.py: pinned bytes, which dpkt can read."""

import dpkt
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire import craft, layout
from appliance.wire.flow import destination_of, flow_key, source_of
from appliance.wire.show import show
from tests.support.addresses import CLIENT, LIP1, RS1, VIP
from tests.support.segments import assert_ip_checksum, fragments, icmp_error, options_of, read_tcp, tcp, udp

_TO_RS = flow_key(LIP1.packed + (5000).to_bytes(2, "big"), RS1)

RST_BYTES = bytes.fromhex(
    "4500002800004000" "4006b660" "c000020a" "c0000265"
    "1388" "1f90" "00000065" "00000000" "5004" "0000" "f7f3" "0000"
)  # fmt: skip


def test_rst_is_pinned() -> None:
    assert craft.rst(_TO_RS, 0x65).hex() == RST_BYTES.hex()


def test_rst_is_what_dpkt_reads() -> None:
    seen = read_tcp(craft.rst(_TO_RS, 0x12345678))
    assert (seen.flags, seen.seq, seen.ack, seen.data, seen.ttl) == ("R", 0x12345678, 0, b"", 64)
    assert (seen.source[:4], seen.destination) == (LIP1.packed, RS1)


words = st.binary(max_size=40).map(lambda options: options[: len(options) // 4 * 4])
numbers = st.integers(0, 2**32 - 1)


@given(
    st.binary(min_size=12, max_size=12), numbers, numbers, st.integers(0, 0x3F), st.integers(0, 65535), words, st.integers(1, 255)
)
def test_any_segment_is_what_dpkt_reads(
    addresses: bytes, seq: int, ack: int, flags: int, window: int, options: bytes, ttl: int
) -> None:
    """Its checksums are tested, too: they are added up from numbers and not from bytes."""
    seen = read_tcp(craft.segment(addresses, seq, ack, flags, window, options, ttl))
    assert (seen.seq, seen.ack, seen.ttl, seen.data) == (seq, ack, ttl, b"")
    assert (seen.source, seen.destination) == (source_of(addresses), destination_of(addresses))
    assert options_of(seen) == options
    assert (seen.raw[33], seen.raw[34:36]) == (flags, window.to_bytes(2, "big"))


def test_port_unreachable_quotes_the_refused_packet() -> None:
    refused = tcp(CLIENT, VIP, "S", seq=7, data=b"x" * 1000)
    raw = craft.port_unreachable(refused)
    assert_ip_checksum(raw)
    packet = dpkt.ip.IP(raw)
    assert dpkt.in_cksum(raw[20:]) == 0
    assert (packet.src, packet.dst) == (VIP[:4], CLIENT[:4])
    assert (raw[20], raw[21]) == (3, 3)
    assert raw[28:] == refused[:528], "RFC 1812: as much as fits into 576 bytes"


def test_layout_structs_have_the_sizes_they_stand_for() -> None:
    assert (layout.IP_HEADER.size, layout.TCP_HEADER.size) == (20, 20)
    assert layout.HEADERS.size == layout.REWRITTEN_END == 38


def test_show_reads_like_tcpdump() -> None:
    line = show(tcp(CLIENT, VIP, "PA", seq=1, ack=2, data=b"abc", window=500))
    assert line == "198.51.100.2:40000 > 203.0.113.10:80 [P.] seq 1 ack 2 win 500 len 3"


def test_show_takes_any_bytes() -> None:
    assert show(b"") == "0 bytes, no plain IPv4 TCP packet: "
    assert show(bytes(dpkt.ip.IP(src=CLIENT[:4], dst=VIP[:4], p=89, len=60, data=b"x" * 40))).endswith(" protocol 89, 60 bytes")
    assert show(udp(CLIENT, VIP, b"x")) == "198.51.100.2:40000 > 203.0.113.10:80 UDP, 29 bytes"
    error = icmp_error(CLIENT[:4], VIP[:4], tcp(VIP, CLIENT, "A"))
    assert show(error) == "198.51.100.2 > 203.0.113.10 ICMP type 3 code 4, 68 bytes"
    assert show(fragments(tcp(CLIENT, VIP, "A"), 8)[1]) == "198.51.100.2 > 203.0.113.10 fragment at 8 of protocol 6, 28 bytes"
    assert show(tcp(CLIENT, VIP, "A")[:30]).startswith("198.51.100.2 > 203.0.113.10 protocol 6, 40 bytes")
