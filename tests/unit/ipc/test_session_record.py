"""session_record.py: the bytes of each kind of session, that they come back as what they were, and what is refused."""

import struct
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc import session_record
from appliance.ipc.session_record import (
    FIELDS,
    OFFSETS,
    RECORD_BYTES,
    VERSION,
    WORDS_END,
    WORDS_START,
    Endpoint,
    Flags,
    SessionRecord,
    decode,
    encode,
)
from appliance.model.tcp_state import UDP_STATE, TcpState
from appliance.state.progress import WORDS_BYTES, Side
from appliance.wire.layout import PROTO_TCP, PROTO_UDP


def endpoint(address: str, port: int) -> Endpoint:
    return Endpoint(ip_address(address).packed, port)


TCP = SessionRecord(
    family=4,
    protocol=PROTO_TCP,
    state=TcpState.ESTABLISHED,
    flags=Flags.IS_OPENING | Flags.HAS_ANSWER,
    inbound_window_shift=0,
    outbound_window_shift=0,
    is_held=False,
    client=endpoint("198.51.100.2", 40000),
    vip=endpoint("203.0.113.10", 80),
    local=endpoint("192.0.2.10", 5000),
    real_server=endpoint("192.0.2.101", 8080),
    inbound_seq_delta=0x10101010,
    inbound_ack_delta=0,
    outbound_seq_delta=0,
    outbound_ack_delta=0xEFEFEFF0,
    client_isn=0x01020304,
    isn=0x11121314,
    cookie=None,
    rs_first_seq=0x31323334,
    slot=3,
    opened_ms=0x5051_52535455,
    last_seen_ns=900_000_000_000,
    client_acked=0x21222324,
    client_next_seq=0x1_01020405,
    client_window=502,
    inbound_packets=5,
    inbound_bytes=500,
    rs_acked=0x11121415,
    rs_next_seq=0x21222325,
    rs_window=509,
    outbound_packets=6,
    outbound_bytes=60_000,
)
PROXIED = TCP._replace(
    state=TcpState.SYN_SENT,
    flags=Flags.IN_FIRST_TABLE | Flags.HAS_COOKIE | Flags.WAS_RESET,
    inbound_window_shift=-7,
    outbound_window_shift=14,
    is_held=True,
    cookie=0xC0C1C2C3,
    rs_first_seq=None,
)
UDP = TCP._replace(protocol=PROTO_UDP, state=UDP_STATE, flags=Flags(0), rs_first_seq=None)
IPV6 = TCP._replace(
    family=6,
    client=endpoint("2001:db8::2", 40000),
    vip=endpoint("2001:db8:1::10", 80),
    local=endpoint("2001:db8:2::10", 5000),
    real_server=endpoint("2001:db8:2::101", 8080),
)

IPV4_ENDPOINTS = (
    "c6336402 000000000000000000000000 cb00710a 000000000000000000000000"
    "c000020a 000000000000000000000000 c0000265 000000000000000000000000"
    "9c40 0050 1388 1f90"
)
IPV6_ENDPOINTS = (
    "20010db8000000000000000000000002 20010db8000100000000000000000010"
    "20010db8000200000000000000000010 20010db8000200000000000000000101"
    "9c40 0050 1388 1f90"
)
IPV4_SUMS, IPV6_SUMS = "d0e1 494b 2f1e b6b4", "fdfe 7668 0201 8997"
DELTAS = "10101010 00000000 00000000 f0efefef 04030201 14131211"
WORDS = (
    "00282e8cd1000000  2423222100000000 0504020101000000 f601000000000000 0500000000000000 f401000000000000"
    "1514121100000000 2523222100000000 fd01000000000000 0600000000000000 60ea000000000000"
)


@pytest.mark.parametrize(
    ("record", "head", "endpoints", "numbers"),
    [
        (TCP, "04 06 01 03 0000 00 00 5150 00000000", IPV4_ENDPOINTS + IPV4_SUMS, "00000000 34333231"),
        (PROXIED, "04 06 02 1c 0000 f9 0e 5150 01000000", IPV4_ENDPOINTS + IPV4_SUMS, "c3c2c1c0 00000000"),
        (UDP, "04 11 0b 00 0000 00 00 5150 00000000", IPV4_ENDPOINTS + IPV4_SUMS, "00000000 00000000"),
        (IPV6, "06 06 01 03 0000 00 00 5150 00000000", IPV6_ENDPOINTS + IPV6_SUMS, "00000000 34333231"),
    ],
    ids=["TCP over IPv4", "proxied", "UDP", "IPv6"],
)
def test_the_bytes_of_a_record(record: SessionRecord, head: str, endpoints: str, numbers: str) -> None:
    """Other bytes are another VERSION."""
    assert VERSION == 3
    written = f"0300 {head} {endpoints} {DELTAS} {numbers} 03000000 55545352 {WORDS}".replace(" ", "") + "00" * 32
    assert encode(record).hex() == written
    assert decode(bytes.fromhex(written)) == record


def test_a_c_compiler_adds_no_padding() -> None:
    layout = session_record._LAYOUT.format
    assert struct.calcsize("@" + layout.removeprefix("<")) == RECORD_BYTES == 256
    assert WORDS_START % 8 == 0
    assert WORDS_END - WORDS_START == WORDS_BYTES


def test_the_words_are_those_of_progress() -> None:
    """The packet path of Python reads and writes them in place."""
    fields = [name for name, _ in FIELDS]
    words = fields[fields.index("client_acked") : fields.index("storm_ns")]
    ends = zip(("client", "rs"), ("inbound", "outbound"), strict=True)
    wanted = [f"{end}_{name}" if name in Side._fields[:3] else f"{way}_{name}" for end, way in ends for name in Side._fields]
    assert words == wanted


def unsigned(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


@st.composite
def records(draw: st.DrawFn) -> SessionRecord:
    family, protocol = draw(st.sampled_from((4, 6))), draw(st.sampled_from((PROTO_TCP, PROTO_UDP)))
    size = {4: 4, 6: 16}[family]
    endpoints = st.builds(Endpoint, st.binary(min_size=size, max_size=size), unsigned(16))
    cookie, first_seq = draw(st.none() | unsigned(32)), draw(st.none() | unsigned(32))
    flags = Flags(
        draw(
            st.sampled_from((0, Flags.IS_OPENING, Flags.IN_FIRST_TABLE, Flags.IS_OPENING | Flags.IN_FIRST_TABLE, Flags.WAS_RESET))
        )
    )
    flags |= (Flags.HAS_COOKIE if cookie is not None else 0) | (Flags.HAS_ANSWER if first_seq is not None else 0)
    return SessionRecord._make(
        (
            family,
            protocol,
            draw(st.sampled_from(TcpState)) if protocol == PROTO_TCP else UDP_STATE,
            flags,
            *(draw(st.integers(-14, 14)) for _ in range(2)),
            draw(st.booleans()),
            *(draw(endpoints) for _ in range(4)),
            *(draw(unsigned(32)) for _ in range(6)),
            cookie,
            first_seq,
            draw(unsigned(32)),
            draw(unsigned(48)),
            draw(unsigned(64)),
            *(draw(unsigned(bits)) for bits in 2 * (32, 64, 16, 64, 64)),
        )
    )


@given(records())
def test_what_is_written_is_read(record: SessionRecord) -> None:
    written = encode(record)
    assert len(written) == RECORD_BYTES
    assert decode(written) == record


@given(st.binary(min_size=RECORD_BYTES, max_size=RECORD_BYTES), st.data())
def test_bytes_are_either_refused_or_written_again_as_they_were(noise: bytes, data: st.DataObject) -> None:
    """But for what belongs to the kernel's program alone, which is not read."""
    start = data.draw(st.integers(0, RECORD_BYTES))
    mixed = encode(IPV6)[:start] + noise[start:]
    record = None
    with suppress(ValueError):
        record = decode(mixed)
    assert record is None or encode(record)[:WORDS_END] == mixed[:WORDS_END]


def changed(record: SessionRecord, field: str, value: bytes) -> bytes:
    data, offset = bytearray(encode(record)), OFFSETS[field]
    data[offset : offset + len(value)] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes and not 256"),
        (encode(TCP)[:-1], "255 bytes and not 256"),
        (encode(TCP) + b"\0", "257 bytes and not 256"),
        (changed(TCP, "version", b"\4\0"), "version 4 and not 3"),
        (changed(TCP, "version", b"\0\0"), "version 0 and not 3"),
        (changed(TCP, "family", b"\5"), "family 5 is neither 4 nor 6"),
        (changed(TCP, "protocol", b"\1"), "protocol 1 is neither TCP"),
        (changed(TCP, "state", b"\x0b"), "state 11 is out of range for protocol 6"),
        (changed(UDP, "state", b"\1"), "state 1 is out of range for protocol 17"),
        (changed(UDP, "state", b"\x0c"), "state 12 is out of range for protocol 17"),
        (changed(TCP, "flags", b"\x23"), "unknown bits in flags 0x23"),
        (changed(TCP, "state_reserved", b"\0\1"), "state_reserved is not zero"),
        (changed(TCP, "inbound_window_shift", b"\x0f"), "inbound_window_shift 15 is out of range -14..14"),
        (changed(TCP, "outbound_window_shift", b"\xf1"), "outbound_window_shift -15 is out of range -14..14"),
        (changed(TCP, "held", b"\2"), "held 2 is neither 0 nor 1"),
        (changed(TCP, "client_address", b"\0\0\0\0\1"), "reserved bytes 010000000000000000000000 behind an IPv4 address"),
        (changed(TCP, "cookie", b"\1"), "cookie 0x1 without HAS_COOKIE"),
        (changed(UDP, "rs_first_seq", b"\1"), "rs_first_seq 0x1 without HAS_ANSWER"),
        (changed(TCP, "client_acked", bytes(4) + b"\1"), "client_acked 4294967296 does not fit 32 bits"),
        (changed(TCP, "rs_acked", bytes(7) + b"\x80"), "rs_acked 9223372036854775808 does not fit 32 bits"),
        (changed(TCP, "rs_window", b"\0\0\1"), "rs_window 65536 does not fit 16 bits"),
        (changed(TCP, "inbound_ip_delta", b"\1\2"), "inbound_ip_delta 513 does not fit the endpoints"),
        (changed(TCP, "outbound_transport_delta", b"\1\2"), "outbound_transport_delta 513 does not fit the endpoints"),
    ],
)
def test_bytes_that_are_no_record_are_refused_with_the_reason(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode(data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"family": 5}, "family 5"),
        ({"family": 6}, "the address of client has 4 bytes and not 16"),
        ({"protocol": 1}, "protocol 1"),
        ({"state": 11}, "state 11"),
        ({"flags": Flags(0x20)}, "unknown bits in flags 0x20"),
        ({"cookie": 5}, "flags 0x3 do not fit 5: HAS_COOKIE"),
        ({"flags": Flags.HAS_COOKIE | Flags.HAS_ANSWER}, "flags 0xa do not fit None: HAS_COOKIE"),
        ({"rs_first_seq": None}, "flags 0x3 do not fit None: HAS_ANSWER"),
        ({"inbound_window_shift": 15}, "inbound_window_shift 15"),
        ({"local": Endpoint(b"\0\0\0\0", 65536)}, "the port of local, 65536, does not fit 16 bits"),
        ({"slot": -1}, "slot -1 does not fit 32 bits"),
        ({"opened_ms": 1 << 48}, "opened_ms 281474976710656 does not fit 48 bits"),
        ({"isn": 1 << 32}, "isn 4294967296 does not fit 32 bits"),
        ({"last_seen_ns": -1}, "last_seen_ns -1 does not fit 64 bits"),
        ({"outbound_bytes": 1 << 64}, "outbound_bytes 18446744073709551616 does not fit 64 bits"),
    ],
)
def test_a_record_that_cannot_be_written_is_refused_with_the_reason(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        encode(TCP._replace(**changes))
