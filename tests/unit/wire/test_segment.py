"""wire/segment.py: every field of a TCP packet by its name, beside an independent reader."""

import struct

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.layout import HEADERS
from appliance.wire.segment import Segment
from tests.support.addresses import CLIENT, VIP
from tests.support.segments import tcp


@given(
    st.sampled_from(["S", "SA", "A", "PA", "FA", "R", "SEW"]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 65_535),
    st.binary(max_size=10).map(lambda raw: raw.ljust(-(-len(raw) // 4) * 4, b"\1")),
    st.binary(max_size=50),
)
def test_it_reads_what_dpkt_reads(flags: str, seq: int, ack: int, window: int, options: bytes, data: bytes) -> None:
    raw = tcp(CLIENT, VIP, flags, seq=seq, ack=ack, window=window, options=options, data=data)
    segment, packet = Segment.parse(raw), dpkt.ip.IP(raw)
    assert (segment.seq, segment.ack, segment.window) == (packet.data.seq, packet.data.ack, packet.data.win)
    assert segment.flags == packet.data.flags & 0x3F
    assert segment.opening_flags == packet.data.flags & 0x17
    assert (segment.options, segment.payload_bytes) == (packet.data.opts, len(packet.data.data))
    assert segment.options_end == 40 + len(options)
    assert (segment.total_bytes, segment.tcp_checksum, segment.ip_checksum) == (packet.len, packet.data.sum, packet.sum)
    assert segment.key == packet.src + packet.dst + struct.pack("!HH", packet.data.sport, packet.data.dport)
    assert segment.raw is raw
    assert segment == Segment.of(HEADERS.unpack_from(raw), raw)


def test_bytes_that_are_too_few_are_an_error() -> None:
    with pytest.raises(struct.error):
        Segment.parse(bytes(37))
