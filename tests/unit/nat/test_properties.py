"""What holds for any packet: translating it and translating it back is the identity, and dpkt finds every checksum right.

An error about a translated packet must quote the packet that its sender sent.
"""

from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.nat.fullnat import translate, translate_with_options
from appliance.nat.icmp import translate_error
from appliance.nat.udp import translate_datagram
from appliance.state.rewrite_record import RewriteRecord, record_of, rewrite_records
from appliance.wire import segment as wire_segment
from appliance.wire.flow import Direction, flow_key
from appliance.wire.layout import HEADERS, PROTO_UDP, REWRITTEN_END, REWRITTEN_START
from tests.support.addresses import ROUTER_ADDRESS
from tests.support.segments import (
    assert_ip_checksum,
    assert_tcp_checksum,
    assert_udp_checksum,
    icmp_error,
    read_icmp_error,
    read_tcp,
    read_udp,
    tcp,
    udp,
)
from tests.support.session_tables import tables_with
from tests.support.tcp_options import TOA_KIND


@dataclass(frozen=True)
class Ends:
    """The four endpoints of a session."""

    client: bytes
    vip: bytes
    local: bytes
    real_server: bytes

    @property
    def keys(self) -> tuple[bytes, bytes]:
        """Client to VIP, local address to real server."""
        return flow_key(self.client, self.vip), flow_key(self.local, self.real_server)

    def sent(self, direction: Direction) -> tuple[bytes, bytes]:
        """Source and destination of a packet as it arrives at the gateway."""
        return (self.client, self.vip) if direction == Direction.INBOUND else (self.real_server, self.local)

    def made(self, direction: Direction) -> tuple[bytes, bytes]:
        """Source and destination of the same packet as it leaves the gateway."""
        return (self.local, self.real_server) if direction == Direction.INBOUND else (self.vip, self.client)


def endpoints(network: str) -> st.SearchStrategy[bytes]:
    """Six-byte endpoints of a /24 network, given by its first three bytes in hexadecimal."""
    return st.binary(min_size=3, max_size=3).map(lambda rest: bytes.fromhex(network) + rest)


all_ends = st.builds(Ends, endpoints("c63364"), endpoints("cb0071"), endpoints("c00002"), endpoints("c00002"))
directions = st.sampled_from(Direction)
numbers = st.integers(0, 2**32 - 1)
words = st.integers(0, 0xFFFF)
data = st.binary(max_size=100)


def option(kind: int, content_bytes: int) -> st.SearchStrategy[bytes]:
    """A TCP option with any content."""
    return st.binary(min_size=content_bytes, max_size=content_bytes).map(
        lambda content: bytes((kind, 2 + content_bytes)) + content
    )


single_options = st.one_of(
    st.just(b"\x01"),
    option(2, 2),
    option(3, 1),
    option(4, 0),
    option(8, 8),
    option(28, 2),
    option(29, 16),
    st.integers(0, 12).flatmap(lambda content_bytes: option(253, content_bytes)),
)


def option_lists(most_bytes: int) -> st.SearchStrategy[bytes]:
    """Well-formed TCP options without SACK, filled up to whole words."""
    joined = st.lists(single_options, max_size=8).map(b"".join)
    filled = st.tuples(joined, st.sampled_from([b"\0", b"\x01"])).map(lambda both: both[0] + both[1] * (-len(both[0]) % 4))
    return filled.filter(lambda options: len(options) <= most_bytes)


@dataclass(frozen=True)
class Segment:
    """A TCP segment without its endpoints."""

    flags: str
    seq: int
    ack: int
    window: int
    options: bytes
    data: bytes

    def between(self, ends: tuple[bytes, bytes], first_option: bytes = b"") -> bytes:
        """The packet from one endpoint to another, with an option in front of its own."""
        options = first_option + self.options
        return tcp(*ends, self.flags, seq=self.seq, ack=self.ack, window=self.window, options=options, data=self.data)


flag_letters = st.sets(st.sampled_from("FSRPAUEW")).map("".join)
segments = st.builds(Segment, flag_letters, numbers, numbers, words, option_lists(32), data)


def records(ends: Ends, shift: int, direction: Direction) -> tuple[RewriteRecord, RewriteRecord]:
    """The record of a direction, and the one that undoes it: the same with the two sides of the gateway exchanged."""
    client_key, server_key = ends.keys
    there, back = rewrite_records(client_key, server_key, 0, shift), rewrite_records(server_key, client_key, shift, 0)
    return record_of(there, direction), record_of(back, direction)


def translated(raw: bytes, record: RewriteRecord) -> bytes:
    """The packet after a translation that changes addresses and numbers only."""
    _, _, _, _, ip_checksum, _, seq, ack, offset_flags, window, tcp_checksum = HEADERS.unpack_from(raw)
    before, after = raw[:REWRITTEN_START], raw[REWRITTEN_END:]
    return translate(before, after, record, ip_checksum, seq, ack, offset_flags, window, tcp_checksum)


def with_options(raw: bytes, record: RewriteRecord, options: bytes) -> bytes:
    """The packet after a translation that changes options, too."""
    return translate_with_options(wire_segment.Segment.parse(raw), record, options)


def with_checksum_moved(raw: bytes, at: int, by: int) -> bytes:
    """The packet with 1..65534 added to one of its checksums, which is a different checksum in ones-complement arithmetic."""
    wrong = (int.from_bytes(raw[at : at + 2], "big") + by) % 0xFFFF
    return raw[:at] + wrong.to_bytes(2, "big") + raw[at + 2 :]


@given(all_ends, directions, numbers, segments)
def test_translating_a_segment_there_and_back_is_the_identity(
    ends: Ends, direction: Direction, shift: int, segment: Segment
) -> None:
    there, back = records(ends, shift, direction)
    sent = segment.between(ends.sent(direction))
    made = translated(sent, there)
    seen = read_tcp(made)
    assert (seen.source, seen.destination, seen.data) == (*ends.made(direction), segment.data)
    moved = (segment.seq + shift, segment.ack) if direction == Direction.INBOUND else (segment.seq, segment.ack - shift)
    assert (seen.seq, seen.ack) == (moved[0] % 2**32, moved[1] % 2**32)
    assert translated(made, back) == sent


@given(all_ends, directions, numbers, segments, option_lists(40))
def test_changing_options_there_and_back_is_the_identity(
    ends: Ends, direction: Direction, shift: int, segment: Segment, others: bytes
) -> None:
    there, back = records(ends, shift, direction)
    sent = segment.between(ends.sent(direction))
    made = with_options(sent, there, others)
    seen = read_tcp(made)
    assert (seen.raw[40 : 40 + len(others)], seen.data) == (others, segment.data)
    if "A" not in segment.flags:
        assert seen.ack == segment.ack
    assert with_options(made, back, segment.options) == sent


@given(all_ends, directions, numbers, segments, st.sampled_from([10, 36]), st.integers(1, 65534))
def test_a_wrong_checksum_of_a_segment_stays_wrong_by_the_same(
    ends: Ends, direction: Direction, shift: int, segment: Segment, at: int, by: int
) -> None:
    there, back = records(ends, shift, direction)
    sent = segment.between(ends.sent(direction))
    wrong = with_checksum_moved(sent, at, by)
    check = assert_ip_checksum if at == 10 else assert_tcp_checksum
    for made in (translated(wrong, there), with_options(wrong, there, b"\x01" * 12)):
        with pytest.raises(AssertionError, match="checksum"):
            check(made)
    assert translated(wrong, there) == with_checksum_moved(translated(sent, there), at, by)
    assert translated(translated(wrong, there), back) == wrong


@given(all_ends, directions, data, st.booleans())
def test_translating_a_datagram_there_and_back_is_the_identity(
    ends: Ends, direction: Direction, data: bytes, with_checksum: bool
) -> None:
    there, back = records(ends, 0, direction)
    sent = udp(*ends.sent(direction), data, with_checksum=with_checksum)
    made = translate_datagram(sent, there)
    seen = read_udp(made)
    assert (seen.source, seen.destination, seen.data) == (*ends.made(direction), data)
    assert (seen.checksum != 0) == with_checksum
    assert translate_datagram(made, back) == sent


@given(all_ends, directions, st.booleans())
def test_a_datagram_s_sum_of_zero_is_all_ones_on_either_side(ends: Ends, direction: Direction, before: bool) -> None:
    """One datagram in 65536 has such a sum by chance. Here each has it, before its translation or after it."""
    there, back = records(ends, 0, direction)
    zero_between = ends.sent(direction) if before else ends.made(direction)
    data = udp(*zero_between, b"\0\0")[26:28]
    sent = udp(*ends.sent(direction), data)
    made = translate_datagram(sent, there)
    assert (sent if before else made)[26:28] == b"\xff\xff"
    assert made == udp(*ends.made(direction), data)
    assert translate_datagram(made, back) == sent


@given(all_ends, directions, data, st.sampled_from([10, 26]), st.integers(1, 65534))
def test_a_wrong_checksum_of_a_datagram_stays_wrong(ends: Ends, direction: Direction, data: bytes, at: int, by: int) -> None:
    there, _ = records(ends, 0, direction)
    wrong = with_checksum_moved(udp(*ends.sent(direction), data), at, by)
    assume(wrong[26:28] != b"\0\0")
    with pytest.raises(AssertionError, match="checksum"):
        (assert_ip_checksum if at == 10 else assert_udp_checksum)(translate_datagram(wrong, there))


@given(all_ends, directions, numbers, segments, st.booleans(), st.data())
def test_an_error_about_a_translated_segment_quotes_what_was_sent(
    ends: Ends, direction: Direction, shift: int, segment: Segment, has_option: bool, draw: st.DataObject
) -> None:
    has_option &= direction == Direction.INBOUND
    toa = bytes((TOA_KIND, 8)) + ends.client[4:] + ends.client[:4] if has_option else b""
    there, _ = records(ends, shift, direction)
    sent = segment.between(ends.sent(direction))
    made = with_options(sent, there, toa + segment.options)
    quoted_bytes = draw.draw(st.integers(28, len(made)), label="quoted bytes")

    source, destination = ends.sent(direction)
    raw = icmp_error(ROUTER_ADDRESS.packed, ends.made(direction)[0][:4], made[:quoted_bytes])
    answer = translate_error(raw, tables_with(*ends.keys, shift=shift), TOA_KIND)
    assert isinstance(answer, bytes)
    seen = read_icmp_error(answer)
    assert (seen.source, seen.destination) == (destination[:4], source[:4])
    # When the header is not quoted to its end, or does not show the option, the error quotes no more than every error has to.
    shows_option = quoted_bytes >= 48
    recognized = sent if shows_option else segment.between(ends.sent(direction), toa)
    whole_header = quoted_bytes >= 40 + len(toa) + len(segment.options)
    assert seen.quoted == recognized[: quoted_bytes - len(toa) if whole_header else 28]
    if quoted_bytes == len(made):
        read_tcp(seen.quoted)


@given(all_ends, directions, data, st.booleans(), st.data())
def test_an_error_about_a_translated_datagram_quotes_what_was_sent(
    ends: Ends, direction: Direction, data: bytes, with_checksum: bool, draw: st.DataObject
) -> None:
    there, _ = records(ends, 0, direction)
    sent = udp(*ends.sent(direction), data, with_checksum=with_checksum)
    made = translate_datagram(sent, there)
    quoted_bytes = draw.draw(st.integers(28, len(made)), label="quoted bytes")
    raw = icmp_error(ROUTER_ADDRESS.packed, ends.made(direction)[0][:4], made[:quoted_bytes])
    answer = translate_error(raw, tables_with(*ends.keys, protocol=PROTO_UDP), TOA_KIND)
    assert isinstance(answer, bytes)
    assert read_icmp_error(answer).quoted == sent[:quoted_bytes]
