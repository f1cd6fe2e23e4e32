"""wire/pcapng.py: pinned bytes, what dpkt makes of them, and files from strangers."""

import io
import struct
from contextlib import suppress

import dpkt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.wire.pcapng import (
    BLOCK_MAX,
    REMARK_MAX,
    Captured,
    CaptureFileError,
    Remark,
    file_head,
    packet_block,
    read_all,
    read_packets,
    remark_block,
)
from tests.support.addresses import CLIENT, VIP
from tests.support.segments import tcp

PACKET = tcp(CLIENT, VIP, "S")
HEAD = file_head(("in", "out"), 3840)
ONE = packet_block(1, 1_800_000_000.25, PACKET, 60, "drop no_session", is_outgoing=True)


def read(data: bytes) -> list[Captured]:
    return list(read_packets(io.BytesIO(data)))


def test_the_head_is_pinned() -> None:
    assert HEAD.hex() == (
        "0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000"
        "01000000280000006500000000 0f0000".replace(" ", "") + "02000200696e0000" "0900010006000000" "00000000" "28000000"
        "01000000280000006500000000 0f0000".replace(" ", "") + "020003006f757400" "0900010006000000" "00000000" "28000000"
    )  # fmt: skip


def test_a_packet_is_pinned() -> None:
    block = packet_block(1, 2**32 / 1e6 + 1, b"\x45\1\2", 60, "why", is_outgoing=False)
    assert block.hex() == (
        "06000000380000000100000001000000" "40420f00" "03000000" "3c000000"
        "45010200" "0100030077687900" "0200040001000000" "00000000" "38000000"
    )  # fmt: skip


def test_what_was_written_is_read_again() -> None:
    assert read(HEAD) == []
    assert read(HEAD + ONE) == [Captured(1_800_000_000.25, "out", PACKET, 60, "drop no_session")]


def test_the_queue_of_a_packet_is_pinned_and_read_again() -> None:
    block = packet_block(0, 0, b"", 0, "", is_outgoing=False, queue=7)
    assert block[-24:-4].hex() == "0200040001000000060004000700000000000000"
    assert [packet.queue for packet in read(HEAD + ONE + block)] == [None, 7]


def test_a_remark_is_pinned() -> None:
    assert remark_block(2**32 / 1e6 + 1, "why").hex() == (
        "05000000240000000000000001000000" "40420f00" "0100030077687900" "00000000" "24000000"
    )  # fmt: skip


@pytest.mark.parametrize("text", ["x", "x" * 70_000, "\u00e9" * (REMARK_MAX // 2)])
def test_remarks_of_any_length_stand_between_packets(text: str) -> None:
    """One comment has at most 65,535 bytes; a character may lie across two."""
    data = HEAD + ONE + remark_block(5.5, text) + ONE
    assert list(read_all(io.BytesIO(data))) == [*read(HEAD + ONE), Remark(5.5, text), *read(HEAD + ONE)]
    assert read(data) == read(HEAD + ONE + ONE)


def test_a_remark_of_no_interface_is_refused() -> None:
    with pytest.raises(CaptureFileError, match="block 2: there is no interface 0"):
        list(read_all(io.BytesIO(file_head((), 80) + remark_block(1.0, "x"))))


def test_dpkt_reads_what_was_written() -> None:
    assert list(dpkt.pcapng.Reader(io.BytesIO(HEAD + remark_block(1.0, "x") + ONE))) == [(1_800_000_000.25, PACKET)]
    block = dpkt.pcapng.EnhancedPacketBlockLE(ONE)
    assert [option.text for option in block.opts if option.code == 1] == ["drop no_session"]


def test_what_dpkt_wrote_is_read() -> None:
    file = io.BytesIO()
    dpkt.pcapng.Writer(file, linktype=dpkt.pcap.DLT_EN10MB).writepkt(bytes(12) + b"\x08\0" + PACKET, 1.5)
    assert read(file.getvalue()) == [Captured(1.5, "", PACKET, len(PACKET), "")]


@pytest.mark.parametrize("nano", [False, True])
def test_the_older_form_is_read(nano: bool) -> None:
    file = io.BytesIO()
    dpkt.pcap.Writer(file, nano=nano).writepkt(bytes(12) + b"\x08\0" + PACKET, 1.5)
    assert read(file.getvalue()) == [Captured(1.5, "", PACKET, len(PACKET), "")]


def test_what_is_no_ipv4_has_no_bytes() -> None:
    file = io.BytesIO()
    dpkt.pcap.Writer(file).writepkt(bytes(12) + b"\x08\6" + PACKET, 1.5)
    assert read(file.getvalue())[0].data == b""


def test_the_other_byte_order_is_read() -> None:
    section = struct.pack(">IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    interface = struct.pack(">IIHHII", 1, 20, 101, 0, 0, 20)
    packet = struct.pack(">IIIIIII", 6, 76 - 4, 0, 0, 1_500_000, 40, 40) + PACKET + struct.pack(">I", 72)
    assert read(section + interface + packet) == [Captured(1.5, "", PACKET, 40, "")]


def test_times_in_parts_of_two_are_read() -> None:
    interface = (
        struct.pack("<II", 1, 32)
        + struct.pack("<HHI", 101, 0, 0)
        + struct.pack("<HHI", 9, 1, 0x8A)
        + bytes(4)
        + struct.pack("<I", 32)
    )
    packet = struct.pack("<IIIIIII", 6, 72, 0, 0, 1536, 40, 40) + PACKET + struct.pack("<I", 72)
    assert read(HEAD[:28] + interface + packet)[0].at_s == 1.5


def block(kind: int, body: bytes, length: int | None = None) -> bytes:
    said = struct.pack("<I", 12 + len(body) if length is None else length)
    return struct.pack("<I", kind) + said + body + said


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (HEAD + packet_block(0, 260_000_000_000.0, b"", 0, "", is_outgoing=False), "behind the year 9999"),
        (b"", "neither pcapng nor pcap"),
        (b"GET / HTTP/1.1", "neither pcapng nor pcap"),
        (HEAD[:20], "block 1: it ends in the middle of a block"),
        (HEAD[:30], "block 2: it ends in the middle of a block"),
        (HEAD + ONE[:-1], "block 4: it ends in the middle of a block"),
        (HEAD[:8] + b"abcd" + HEAD[12:], "block 1: its byte order is unknown"),
        (HEAD + block(6, b"", 8), "block 4: its length is 8"),
        (HEAD + block(6, b"", 14), "block 4: its length is 14"),
        (HEAD + block(6, b"", BLOCK_MAX + 4), "block 4: its length is 1048580"),
        (HEAD + block(6, b"", 0xFFFFFFFC), "block 4: its length is 4294967292"),
        (HEAD + block(6, bytes(4)), "block 4: it is too short for what it is"),
        (HEAD + ONE[:-4] + bytes(4), "block 4: its two lengths differ"),
        (HEAD + block(6, struct.pack("<IIIII", 2, 0, 0, 0, 0)), "block 4: there is no interface 2"),
        (HEAD + block(6, struct.pack("<IIIII", 0, 0, 0, 4, 4)), "block 4: the packet has 4 bytes, and the block is shorter"),
        (HEAD + block(6, struct.pack("<IIIIIHH", 0, 0, 0, 0, 0, 1, 4)), "block 4: an option is longer than the block"),
        (
            HEAD[:28] + block(1, struct.pack("<HHI", 147, 0, 0)) + ONE.replace(b"\1\0\0\0", bytes(4), 1),
            "the link type 147 cannot be read",
        ),
        (HEAD[:28] + block(1, struct.pack("<HHI", 101, 0, 0)) * 1025, "more than 1024 interfaces"),
        (struct.pack("<I", 0xA1B2C3D4), "it ends in its header"),
        (struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 0, 101) + bytes(15), "packet 1: it ends in the middle"),
        (struct.pack("<IHHIIIIIIII", 0xA1B2C3D4, 2, 4, 0, 0, 0, 101, 0, 0, 9, 9), "packet 1: it ends in the middle"),
        (struct.pack("<IHHIIIIIIII", 0xA1B2C3D4, 2, 4, 0, 0, 0, 101, 0, 0, 1 << 31, 9), "packet 1: its length is 2147483648"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(data: bytes, words: str) -> None:
    with pytest.raises(CaptureFileError, match=words):
        read(data)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", HEAD[:28], HEAD, HEAD + ONE[:-4], struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 0, 1)]),
)
@example(bytes(16), HEAD)
def test_any_bytes_are_read_or_refused(garbage: bytes, begin: bytes) -> None:
    with suppress(CaptureFileError):
        read(begin + garbage)


@given(st.integers(0, len(HEAD + ONE) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(place: int, value: int) -> None:
    data = bytearray(HEAD + ONE)
    data[place] = value
    with suppress(CaptureFileError):
        read(bytes(data))
