"""session_record.py: the bytes of each kind of session, that they come back as what they were, and what is refused."""

import struct
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc import session_record
from appliance.ipc.session_record import RECORD_BYTES, VERSION, Endpoint, Flags, SessionRecord, decode, encode
from appliance.model.tcp_state import UDP_STATE, TcpState
from appliance.wire.layout import PROTO_TCP, PROTO_UDP


def endpoint(address: str, port: int) -> Endpoint:
    return Endpoint(ip_address(address).packed, port)


TCP = SessionRecord(
    family=4,
    protocol=PROTO_TCP,
    state=TcpState.ESTABLISHED,
    flags=Flags.HAS_CLIENT_ACK,
    inbound_window_shift=0,
    outbound_window_shift=0,
    client=endpoint("198.51.100.2", 40000),
    vip=endpoint("203.0.113.10", 80),
    local=endpoint("192.0.2.10", 5000),
    real_server=endpoint("192.0.2.101", 8080),
    slot=3,
    cookie=None,
    client_isn=0x01020304,
    isn=0x11121314,
    inbound_seq_delta=0x10101010,
    inbound_ack_delta=0,
    outbound_seq_delta=0,
    outbound_ack_delta=0xEFEFEFF0,
    client_next_seq=0x01020405,
    client_ack=0x21222324,
    rs_next_seq=0x21222325,
    rs_ack=0x11121415,
    client_window=502,
    rs_window=509,
    deadline_ns=900_000_000_000,
    inbound_packets=5,
    outbound_packets=6,
    inbound_bytes=500,
    outbound_bytes=60_000,
)
PROXIED = TCP._replace(
    state=TcpState.SYN_SENT,
    flags=Flags.IS_OPENING | Flags.NEEDS_SLOW_PATH | Flags.IN_FIRST_TABLE | Flags.HAS_COOKIE,
    inbound_window_shift=-7,
    outbound_window_shift=14,
    cookie=0xC0C1C2C3,
)
UDP = TCP._replace(protocol=PROTO_UDP, state=UDP_STATE, flags=Flags(0))
IPV6 = TCP._replace(
    family=6,
    client=endpoint("2001:db8::2", 40000),
    vip=endpoint("2001:db8:1::10", 80),
    local=endpoint("2001:db8:2::10", 5000),
    real_server=endpoint("2001:db8:2::101", 8080),
)

IPV4_ENDPOINTS = (
    "c6336402 000000000000000000000000 409c"
    "cb00710a 000000000000000000000000 5000"
    "c000020a 000000000000000000000000 8813"
    "c0000265 000000000000000000000000 901f"
)
IPV6_ENDPOINTS = (
    "20010db8000000000000000000000002 409c"
    "20010db8000100000000000000000010 5000"
    "20010db8000200000000000000000010 8813"
    "20010db8000200000000000000000101 901f"
)
NUMBERS = (
    "04030201 14131211  10101010 00000000  00000000 f0efefef"
    "05040201 24232221 25232221 15141211  f601 fd01  00000000"
    "00282e8cd1000000  0500000000000000 0600000000000000  f401000000000000 60ea000000000000"
)


@pytest.mark.parametrize(
    ("record", "written"),
    [
        (TCP, f"0100 04 06 01 10 00 00 {IPV4_ENDPOINTS} 03000000 00000000 {NUMBERS}"),
        (PROXIED, f"0100 04 06 02 0f f9 0e {IPV4_ENDPOINTS} 03000000 c3c2c1c0 {NUMBERS}"),
        (UDP, f"0100 04 11 0b 00 00 00 {IPV4_ENDPOINTS} 03000000 00000000 {NUMBERS}"),
        (IPV6, f"0100 06 06 01 10 00 00 {IPV6_ENDPOINTS} 03000000 00000000 {NUMBERS}"),
    ],
    ids=["TCP over IPv4", "proxied", "UDP", "IPv6"],
)
def test_the_bytes_of_a_record(record: SessionRecord, written: str) -> None:
    """Other bytes are another VERSION."""
    assert VERSION == 1
    assert encode(record).hex() == written.replace(" ", "")
    assert decode(bytes.fromhex(written)) == record


def test_a_c_compiler_adds_no_padding() -> None:
    layout = session_record._LAYOUT.format
    assert struct.calcsize("@" + layout.removeprefix("<")) == RECORD_BYTES == 176
    assert RECORD_BYTES % 8 == 0


def unsigned(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


@st.composite
def records(draw: st.DrawFn) -> SessionRecord:
    family, protocol = draw(st.sampled_from((4, 6))), draw(st.sampled_from((PROTO_TCP, PROTO_UDP)))
    size = {4: 4, 6: 16}[family]
    endpoints = st.builds(Endpoint, st.binary(min_size=size, max_size=size), unsigned(16))
    cookie = draw(st.none() | unsigned(32))
    flags = Flags(draw(unsigned(5))) & ~Flags.HAS_COOKIE
    return SessionRecord._make(
        (
            family,
            protocol,
            draw(st.sampled_from(TcpState)) if protocol == PROTO_TCP else UDP_STATE,
            flags if cookie is None else flags | Flags.HAS_COOKIE,
            *(draw(st.integers(-14, 14)) for _ in range(2)),
            *(draw(endpoints) for _ in range(4)),
            draw(unsigned(32)),
            cookie,
            *(draw(unsigned(32)) for _ in range(10)),
            *(draw(unsigned(16)) for _ in range(2)),
            *(draw(unsigned(64)) for _ in range(5)),
        )
    )


@given(records())
def test_what_is_written_is_read(record: SessionRecord) -> None:
    written = encode(record)
    assert len(written) == RECORD_BYTES
    assert decode(written) == record


@given(st.binary(min_size=RECORD_BYTES, max_size=RECORD_BYTES), st.data())
def test_bytes_are_either_refused_or_written_again_as_they_were(noise: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, RECORD_BYTES))
    mixed = encode(IPV6)[:start] + noise[start:]
    record = None
    with suppress(ValueError):
        record = decode(mixed)
    assert record is None or encode(record) == mixed


def changed(record: SessionRecord, offset: int, value: bytes) -> bytes:
    data = bytearray(encode(record))
    data[offset : offset + len(value)] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes and not 176"),
        (encode(TCP)[:-1], "175 bytes and not 176"),
        (encode(TCP) + b"\0", "177 bytes and not 176"),
        (changed(TCP, 0, b"\2\0"), "version 2 and not 1"),
        (changed(TCP, 2, b"\5"), "family 5 is neither 4 nor 6"),
        (changed(TCP, 3, b"\1"), "protocol 1 is neither TCP"),
        (changed(TCP, 4, b"\x0b"), "state 11 is out of range for protocol 6"),
        (changed(UDP, 4, b"\1"), "state 1 is out of range for protocol 17"),
        (changed(UDP, 4, b"\x0c"), "state 12 is out of range for protocol 17"),
        (changed(TCP, 5, b"\x20"), "unknown bits in flags 0x20"),
        (changed(TCP, 6, b"\x0f"), "inbound_window_shift 15 is out of range -14..14"),
        (changed(TCP, 7, b"\xf1"), "outbound_window_shift -15 is out of range -14..14"),
        (changed(TCP, 12, b"\1"), "reserved bytes 010000000000000000000000 behind an IPv4 address are not zero"),
        (changed(TCP, 84, b"\1"), "cookie 0x1 without HAS_COOKIE"),
        (changed(TCP, 135, b"\1"), "reserved bytes 0x1000000 are not zero"),
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
        ({"cookie": 5}, "cookie 5 does not fit flags"),
        ({"flags": Flags.HAS_COOKIE}, "cookie None does not fit flags 0x8"),
        ({"inbound_window_shift": 15}, "inbound_window_shift 15"),
        ({"local": Endpoint(b"\0\0\0\0", 65536)}, "the port of local, 65536, does not fit 16 bits"),
        ({"slot": -1}, "slot -1 does not fit 32 bits"),
        ({"isn": 1 << 32}, "isn 4294967296 does not fit 32 bits"),
        ({"rs_window": 1 << 16}, "rs_window 65536 does not fit 16 bits"),
        ({"deadline_ns": -1}, "deadline_ns -1 does not fit 64 bits"),
        ({"outbound_bytes": 1 << 64}, "outbound_bytes 18446744073709551616 does not fit 64 bits"),
    ],
)
def test_a_record_that_cannot_be_written_is_refused_with_the_reason(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        encode(TCP._replace(**changes))
