"""nat/icmp.py: an error reaches the end that sent the packet it quotes, and quotes it as that end sent it. LVS behaviour 3.9.

dpkt builds both versions of the quoted packet, the sender's and the gateway's. The gateway must turn an error about one into an
error about the other, byte for byte.
"""

import dpkt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.model import verdicts
from appliance.model.verdict import Verdict
from appliance.nat.icmp import translate_error
from appliance.wire.flow import flow_key
from appliance.wire.layout import PROTO_TCP, PROTO_UDP
from tests.support.addresses import CLIENT, LIP1, ROUTER_ADDRESS, RS1, VIP
from tests.support.segments import (
    SeenError,
    assert_tcp_checksum,
    assert_udp_checksum,
    icmp_error,
    read_icmp_error,
    tcp,
    udp,
)
from tests.support.session_tables import tables_with
from tests.support.tcp_options import TOA_KIND
from tests.support.world import World

LOCAL = LIP1.packed + (5000).to_bytes(2, "big")
ROUTER = ROUTER_ADDRESS.packed
CLIENT_KEY, SERVER_KEY = flow_key(CLIENT, VIP), flow_key(LOCAL, RS1)

SHIFT = 0x9ABC_DEF0
"""What is added to the client's numbers before the real server sees them; large, so that sums pass 2**32."""
SEQ, ACK = 0x8000_0001, 0x0000_1001

TOA = bytes((TOA_KIND, 8)) + CLIENT[4:] + CLIENT[:4]
OPTIONS = bytes.fromhex("0204 05b4 0103 0307")
"""MSS, NOP, window scale."""

TABLES = tables_with(CLIENT_KEY, SERVER_KEY, shift=SHIFT) | {
    PROTO_UDP: tables_with(CLIENT_KEY, SERVER_KEY, protocol=PROTO_UDP)[PROTO_UDP],
}


def answer(raw: bytes, option_kind: int | None = TOA_KIND) -> SeenError:
    """The error that the gateway passes on."""
    translated = translate_error(raw, TABLES, option_kind)
    assert isinstance(translated, bytes), translated
    return read_icmp_error(translated)


def refusal(raw: bytes) -> Verdict:
    """The verdict on an error that is not passed on."""
    verdict = translate_error(raw, TABLES, TOA_KIND)
    assert isinstance(verdict, Verdict), "passed on"
    return verdict


def moved(seq: int) -> int:
    """A number of the client's as the real server knows it."""
    return (seq + SHIFT) % 2**32


def sack(*edges: int) -> bytes:
    """NOP, NOP and a SACK option."""
    return b"\x01\x01" + bytes((5, 2 + 4 * len(edges))) + b"".join(edge.to_bytes(4, "big") for edge in edges)


def edited(raw: bytes, **fields: int) -> bytes:
    """The packet with fields of its IP header changed and that header's checksum right again."""
    packet = dpkt.ip.IP(raw)
    for name, value in fields.items():
        setattr(packet, name, value)
    packet.sum = 0
    packet.data = raw[20:]
    return bytes(packet)


def with_byte(raw: bytes, at: int, value: int) -> bytes:
    """The ICMP packet with one byte changed and the ICMP checksum right again."""
    changed = raw[20:22] + b"\0\0" + raw[24:at] + bytes((value,)) + raw[at + 1 :]
    checksum: int = dpkt.in_cksum(changed)
    return raw[:22] + checksum.to_bytes(2, "big") + changed[4:]


DATA = b"x" * 1201

FROM_CLIENT = tcp(CLIENT, VIP, "PA", seq=SEQ, ack=ACK, data=DATA)
TO_RS = tcp(LOCAL, RS1, "PA", seq=moved(SEQ), ack=ACK, data=DATA)
TO_RS_WITH_TOA = tcp(LOCAL, RS1, "PA", seq=moved(SEQ), ack=ACK, data=DATA, options=TOA)

_EDGES = (SEQ + 100, SEQ + 200, SEQ + 0x7FFF_0000, SEQ + 0x7FFF_1000)
FROM_RS = tcp(RS1, LOCAL, "A", seq=ACK, ack=moved(SEQ), data=DATA, options=sack(*map(moved, _EDGES)))
TO_CLIENT = tcp(VIP, CLIENT, "A", seq=ACK, ack=SEQ, data=DATA, options=sack(*_EDGES))


@pytest.mark.parametrize("quoted_bytes", [28, 40, 60, 548, len(TO_RS)])
def test_an_error_about_a_client_packet_reaches_the_client(quoted_bytes: int) -> None:
    seen = answer(icmp_error(ROUTER, LOCAL[:4], TO_RS[:quoted_bytes], code=1, mtu=0))
    assert seen == SeenError(VIP[:4], CLIENT[:4], 3, 1, 0, 0, FROM_CLIENT[:quoted_bytes])


@pytest.mark.parametrize("quoted_bytes", [28, 60, 548, len(TO_CLIENT)])
def test_an_error_about_a_real_server_packet_reaches_the_real_server(quoted_bytes: int) -> None:
    seen = answer(icmp_error(ROUTER, VIP[:4], TO_CLIENT[:quoted_bytes], code=1, mtu=0))
    assert seen == SeenError(LOCAL[:4], RS1[:4], 3, 1, 0, 0, FROM_RS[: quoted_bytes if quoted_bytes >= 60 else 28])


@pytest.mark.parametrize("quoted_bytes", [29, 31, 33, 37, 39, 40, 51, 59])
def test_of_a_header_that_is_quoted_in_part_only_whole_numbers_are_passed_on(quoted_bytes: int) -> None:
    seen = answer(icmp_error(ROUTER, VIP[:4], TO_CLIENT[:quoted_bytes]))
    assert seen.quoted == FROM_RS[:28]


def test_an_acknowledgement_number_without_the_flag_is_left_alone() -> None:
    seen = answer(icmp_error(ROUTER, VIP[:4], tcp(VIP, CLIENT, "R", seq=ACK, ack=77)))
    assert seen.quoted == tcp(RS1, LOCAL, "R", seq=ACK, ack=77)


def test_a_wrong_quoted_checksum_is_not_mended() -> None:
    damaged = TO_RS_WITH_TOA[:-1] + b"y"
    seen = answer(icmp_error(ROUTER, LOCAL[:4], damaged))
    assert seen.quoted == FROM_CLIENT[:-1] + b"y"
    with pytest.raises(AssertionError, match="checksum"):
        assert_tcp_checksum(seen.quoted)


@pytest.mark.parametrize("options", [b"", OPTIONS, OPTIONS * 4])
@pytest.mark.parametrize("flags", ["S", "PA", "FPA"])
def test_the_client_does_not_see_our_option(flags: str, options: bytes) -> None:
    sent = tcp(CLIENT, VIP, flags, seq=SEQ, ack=ACK, data=DATA, options=options)
    made = tcp(LOCAL, RS1, flags, seq=moved(SEQ), ack=ACK, data=DATA, options=TOA + options)
    assert answer(icmp_error(ROUTER, LOCAL[:4], made)).quoted == sent
    headers = 48 + len(options)
    assert answer(icmp_error(ROUTER, LOCAL[:4], made[:headers])).quoted == sent[: headers - 8]


@pytest.mark.parametrize("shown", [48, 50, 55])
def test_our_option_is_known_although_others_behind_it_are_not_quoted(shown: int) -> None:
    sent = tcp(CLIENT, VIP, "PA", seq=SEQ, ack=ACK, options=OPTIONS)
    made = tcp(LOCAL, RS1, "PA", seq=moved(SEQ), ack=ACK, options=TOA + OPTIONS)
    assert answer(icmp_error(ROUTER, LOCAL[:4], made[:shown])).quoted == sent[:28]


@pytest.mark.parametrize("shown", [28, 47])
def test_an_option_that_is_not_shown_whole_is_not_taken_out(shown: int) -> None:
    as_if_sent = tcp(CLIENT, VIP, "PA", seq=SEQ, ack=ACK, data=DATA, options=TOA)
    assert answer(icmp_error(ROUTER, LOCAL[:4], TO_RS_WITH_TOA[:shown])).quoted == as_if_sent[:28]


@pytest.mark.parametrize(
    "option",
    [
        bytes((253, 8)) + TOA[2:],
        bytes((TOA_KIND, 7)) + TOA[2:9] + b"\x01",
        TOA[:2] + b"\0\1" + TOA[4:],
        TOA[:4] + ROUTER,
        b"\x01\x01\x01\x01" + TOA,
    ],
    ids=["other kind", "other length", "other port", "other address", "not first"],
)
def test_options_that_are_not_ours_stay(option: bytes) -> None:
    sent = tcp(CLIENT, VIP, "PA", seq=SEQ, ack=ACK, data=DATA, options=option)
    made = tcp(LOCAL, RS1, "PA", seq=moved(SEQ), ack=ACK, data=DATA, options=option)
    assert answer(icmp_error(ROUTER, LOCAL[:4], made)).quoted == sent


def test_data_that_looks_like_our_option_stays() -> None:
    sent = tcp(CLIENT, VIP, "PA", seq=SEQ, ack=ACK, data=TOA)
    made = tcp(LOCAL, RS1, "PA", seq=moved(SEQ), ack=ACK, data=TOA)
    assert answer(icmp_error(ROUTER, LOCAL[:4], made)).quoted == sent


def test_our_option_stays_while_it_is_switched_off_and_towards_the_real_server() -> None:
    sent = tcp(CLIENT, VIP, "PA", seq=SEQ, ack=ACK, options=TOA)
    assert answer(icmp_error(ROUTER, LOCAL[:4], tcp(LOCAL, RS1, "PA", seq=moved(SEQ), ack=ACK, options=TOA)), None).quoted == sent
    sent = tcp(RS1, LOCAL, "PA", seq=ACK, ack=moved(SEQ), options=TOA)
    assert answer(icmp_error(ROUTER, VIP[:4], tcp(VIP, CLIENT, "PA", seq=ACK, ack=SEQ, options=TOA))).quoted == sent


@pytest.mark.parametrize(
    ("kind", "code", "mtu", "option_kind", "expected"),
    [
        (3, 4, 1500, TOA_KIND, 1492),
        (3, 4, 1500, None, 1500),
        (3, 4, 0, TOA_KIND, 0),
        (3, 4, 77, TOA_KIND, 69),
        (3, 4, 76, TOA_KIND, 68),
        (3, 4, 70, TOA_KIND, 68),
        (3, 4, 68, TOA_KIND, 68),
        (3, 4, 65535, TOA_KIND, 65527),
        (3, 1, 1500, TOA_KIND, 1500),
        (11, 4, 1500, TOA_KIND, 1500),
    ],
)
def test_towards_the_client_the_next_hop_mtu_leaves_room_for_the_option(
    kind: int, code: int, mtu: int, option_kind: int | None, expected: int
) -> None:
    raw = icmp_error(ROUTER, LOCAL[:4], TO_RS[:68], kind=kind, code=code, mtu=mtu)
    assert answer(raw, option_kind).mtu == expected


def test_towards_the_real_server_and_for_udp_the_next_hop_mtu_is_what_it_was() -> None:
    assert answer(icmp_error(ROUTER, VIP[:4], TO_CLIENT[:68], mtu=1400)).mtu == 1400
    assert answer(icmp_error(ROUTER, VIP[:4], TO_CLIENT[:68], mtu=60)).mtu == 60
    assert answer(icmp_error(ROUTER, LOCAL[:4], udp(LOCAL, RS1, b"x"), mtu=1400)).mtu == 1400


MPLS = bytes.fromhex("2000 d5f2 0008 0101 12345140")
"""RFC 4884 extensions: version, checksum, and one object of RFC 4950."""


@pytest.mark.parametrize("quote_words", [32, 33, 137])
def test_extensions_stay_where_the_length_says_they_are(quote_words: int) -> None:
    raw = icmp_error(ROUTER, LOCAL[:4], TO_RS_WITH_TOA[: 4 * quote_words], kind=11, quote_words=quote_words, extensions=MPLS)
    seen = answer(raw)
    assert (seen.quote_words, len(seen.quoted)) == (quote_words, 4 * quote_words + len(MPLS))
    assert seen.quoted == FROM_CLIENT[: 4 * quote_words - 8] + bytes(8) + MPLS


def test_a_short_packet_padded_for_extensions_stays_padded() -> None:
    made = tcp(LOCAL, RS1, "A", seq=moved(SEQ), ack=ACK, options=TOA)
    sent = tcp(CLIENT, VIP, "A", seq=SEQ, ack=ACK)
    seen = answer(icmp_error(ROUTER, LOCAL[:4], made, kind=11, quote_words=32, extensions=MPLS))
    assert seen.quoted == sent.ljust(128, b"\0") + MPLS
    datagram = icmp_error(ROUTER, LOCAL[:4], udp(LOCAL, RS1, b"q"), kind=11, quote_words=32, extensions=MPLS)
    assert answer(datagram).quoted == udp(CLIENT, VIP, b"q").ljust(128, b"\0") + MPLS


@pytest.mark.parametrize("quote_words", [1, 6, 255])
def test_an_impossible_length_of_the_quote_is_ignored(quote_words: int) -> None:
    raw = with_byte(icmp_error(ROUTER, LOCAL[:4], TO_RS_WITH_TOA[:548]), 25, quote_words)
    assert answer(raw) == SeenError(VIP[:4], CLIENT[:4], 3, 4, quote_words, 1392, FROM_CLIENT[:540])


def test_a_parameter_problem_keeps_its_pointer() -> None:
    raw = with_byte(icmp_error(ROUTER, LOCAL[:4], TO_RS[:28], kind=12, code=0), 24, 8)
    translated = translate_error(raw, TABLES, TOA_KIND)
    assert isinstance(translated, bytes)
    assert (read_icmp_error(translated).kind, translated[24]) == (12, 8)


@pytest.mark.parametrize("with_checksum", [True, False])
@pytest.mark.parametrize("data", [b"", b"odd", DATA])
def test_errors_about_datagrams_go_both_ways(data: bytes, with_checksum: bool) -> None:
    to_rs, to_client = (udp(*ends, data, with_checksum=with_checksum) for ends in ((LOCAL, RS1), (VIP, CLIENT)))
    from_client, from_rs = (udp(*ends, data, with_checksum=with_checksum) for ends in ((CLIENT, VIP), (RS1, LOCAL)))
    for quoted_bytes in (28, 29, len(to_rs)):
        seen = answer(icmp_error(RS1[:4], LOCAL[:4], to_rs[:quoted_bytes], code=3, mtu=0))
        assert seen == SeenError(VIP[:4], CLIENT[:4], 3, 3, 0, 0, from_client[:quoted_bytes])
        seen = answer(icmp_error(CLIENT[:4], VIP[:4], to_client[:quoted_bytes], code=3, mtu=0))
        assert seen == SeenError(LOCAL[:4], RS1[:4], 3, 3, 0, 0, from_rs[:quoted_bytes])


def test_a_quoted_datagram_s_checksum_never_becomes_no_checksum() -> None:
    plain = udp(CLIENT, VIP, b"\0\0")
    data = plain[26:28]  # makes the sum of the client's datagram 0
    seen = answer(icmp_error(ROUTER, LOCAL[:4], udp(LOCAL, RS1, data)))
    assert seen.quoted == udp(CLIENT, VIP, data)
    assert seen.quoted[26:28] == b"\xff\xff"
    assert_udp_checksum(seen.quoted)


def test_a_damaged_error_is_dropped() -> None:
    raw = bytearray(icmp_error(ROUTER, LOCAL[:4], TO_RS[:60]))
    raw[-1] ^= 1
    assert refusal(bytes(raw)) is verdicts.BAD_ICMP_CHECKSUM


@pytest.mark.parametrize(
    "raw",
    [
        icmp_error(ROUTER, LOCAL[:4], tcp(CLIENT, RS1, "A")),
        icmp_error(ROUTER, LOCAL[:4], FROM_CLIENT),
        icmp_error(ROUTER, LOCAL[:4], TO_RS, kind=8, code=0),
        icmp_error(ROUTER, LOCAL[:4], TO_RS, kind=5, code=1),
        icmp_error(ROUTER, LOCAL[:4], TO_RS[:27]),
        icmp_error(ROUTER, LOCAL[:4], b"\x46" + TO_RS[1:]),
        icmp_error(ROUTER, LOCAL[:4], edited(TO_RS, p=47)),
        icmp_error(ROUTER, LOCAL[:4], edited(TO_RS, offset=1)),
        icmp_error(ROUTER, LOCAL[:4], edited(TO_RS, mf=1, offset=8191)),
    ],
    ids=["stranger", "untranslated", "echo", "redirect", "too short", "IP options", "GRE", "fragment", "last fragment"],
)
def test_what_is_about_no_session_is_left_to_the_host(raw: bytes) -> None:
    assert refusal(raw) is verdicts.NOT_OURS


def test_an_error_is_not_about_a_session_of_the_other_protocol() -> None:
    only_tcp, only_udp = tables_with(CLIENT_KEY, SERVER_KEY), tables_with(CLIENT_KEY, SERVER_KEY, protocol=PROTO_UDP)
    about_tcp, about_udp = (icmp_error(ROUTER, LOCAL[:4], quoted) for quoted in (TO_RS, udp(LOCAL, RS1)))
    assert translate_error(about_udp, only_tcp, TOA_KIND) is verdicts.NOT_OURS
    assert translate_error(about_tcp, only_udp, TOA_KIND) is verdicts.NOT_OURS
    assert translate_error(about_udp, {PROTO_TCP: only_tcp[PROTO_TCP]}, TOA_KIND) is verdicts.NOT_OURS


def test_a_first_fragment_is_passed_on() -> None:
    made = edited(TO_RS_WITH_TOA[:576], mf=1, df=0, len=576)
    sent = edited(FROM_CLIENT[:568], mf=1, df=0, len=568)
    assert answer(icmp_error(ROUTER, LOCAL[:4], made, kind=11, code=1)).quoted == sent


def test_a_damaged_outer_header_is_not_mended() -> None:
    raw = bytearray(icmp_error(ROUTER, LOCAL[:4], TO_RS_WITH_TOA[:60]))
    raw[8] += 1
    with pytest.raises(AssertionError, match="IP header checksum"):
        answer(bytes(raw))


longest_header_with_toa = st.binary(min_size=8, max_size=8).map(lambda numbers: numbers + b"\xf0" + bytes(7) + TOA)


@given(
    odd_fields=st.binary(min_size=8, max_size=8),
    behind_ports=longest_header_with_toa | st.binary(min_size=4, max_size=200),
    protocol=st.sampled_from([PROTO_TCP, PROTO_UDP]),
    ends=st.sampled_from([(LOCAL, RS1), (VIP, CLIENT)]),
    kind=st.sampled_from([3, 4, 11, 12]),
    quote_words=st.integers(0, 60),
)
@example(bytes(8), bytes(8) + b"\x70" + bytes(7) + TOA, PROTO_TCP, (LOCAL, RS1), 3, 0)  # a total length below that of the headers
def test_any_quote_of_a_session_gives_a_right_error(
    odd_fields: bytes, behind_ports: bytes, protocol: int, ends: tuple[bytes, bytes], kind: int, quote_words: int
) -> None:
    """Anybody who knows the addresses of a session can send an error about it, and must not be able to make the gateway fail."""
    ip_header = b"\x45" + odd_fields[:5] + b"\0\0" + odd_fields[5:6] + bytes((protocol,)) + odd_fields[6:]
    raw = icmp_error(ROUTER, ends[0][:4], ip_header + flow_key(*ends) + behind_ports, kind=kind, quote_words=quote_words)
    seen = translate_error(raw, TABLES, TOA_KIND)
    assert isinstance(seen, bytes)
    packet = dpkt.ip.IP(seen)
    assert (packet.len, dpkt.in_cksum(seen[:20]), dpkt.in_cksum(seen[20:])) == (len(seen), 0, 0)
    assert 56 <= len(seen) <= len(raw)


@given(st.integers(0, 80))
def test_any_length_of_quote_gives_a_verdict(length: int) -> None:
    raw = icmp_error(ROUTER, LOCAL[:4], TO_RS[:length])
    if length < 28:
        assert refusal(raw) is verdicts.NOT_OURS
    else:
        assert answer(raw).quoted == FROM_CLIENT[: length if length >= 40 else 28]


def test_an_error_through_the_shard_is_counted_and_does_not_keep_its_session_alive() -> None:
    world = World()
    world.client.connects()
    world.client.sends("A")
    to_rs = world.take(RS1)
    (before,) = world.rows()
    world.now += 5
    assert world.put(icmp_error(ROUTER, to_rs[12:16], to_rs[:60])) is verdicts.ICMP_TRANSLATED
    assert read_icmp_error(world.take(CLIENT)).quoted[12:24] == CLIENT_KEY
    (after,) = world.rows()
    assert after.expires_s == pytest.approx(before.expires_s - 5)
    assert world.counter("icmp_translated") == 1
