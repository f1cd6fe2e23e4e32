"""wire/options.py compared with dpkt's parser, and on bytes that are not options."""

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire import options as opt
from tests.support.tcp_options import LINUX_SYN, MSS_1460, SACK_PERMITTED, TIMESTAMP, WSCALE_7, sack

bodies = st.binary(max_size=10)
known = st.builds(lambda kind, body: bytes((kind, 2 + len(body))) + body, st.sampled_from([2, 3, 4, 8, 34, 254]), bodies)
well_formed = st.lists(st.one_of(known, st.just(b"\x01")), max_size=8).map(b"".join)
any_bytes = st.binary(max_size=40)


@given(well_formed)
def test_walk_finds_what_dpkt_finds(options: bytes) -> None:
    found = [(kind, options[start + 2 : start + length]) for kind, start, length in opt.walk(options)]
    assert found == [(kind, body) for kind, body in dpkt.tcp.parse_opts(options) if kind != opt.NOP]


@pytest.mark.parametrize(
    "rest",
    ["00", "0000", "02", "0200", "0201", "0204", "020405", "08", "080a00000001", "ff"],
    ids=lambda rest: f"then {rest}",
)
def test_walk_stops_in_front_of_what_cannot_be_read(rest: str) -> None:
    options = SACK_PERMITTED + bytes.fromhex(rest)
    assert list(opt.walk(options)) == [(4, 0, 2)]


@pytest.mark.parametrize(
    "rest",
    [b"", b"\x01\x03\x03\x07", TIMESTAMP, WSCALE_7 + TIMESTAMP, b"\x08", b"\x00\x08\x0a"],
    ids=lambda rest: f"then {rest.hex()}",
)
def test_every_timestamp_of_a_syn_is_blanked_wherever_it_stands(rest: bytes) -> None:
    usual = MSS_1460 + SACK_PERMITTED + TIMESTAMP
    for options in (usual + rest, usual[:-1], usual[4:] + rest, MSS_1460 + TIMESTAMP + rest):
        blanked = opt.blank(options, opt.TIMESTAMP)
        found = [(kind, start) for kind, start, _ in opt.walk(options) if kind != opt.TIMESTAMP]
        assert [(kind, start) for kind, start, _ in opt.walk(blanked)] == found
        assert len(blanked) == len(options)


@given(any_bytes, st.integers(0, 255), st.integers(0, 2**32 - 1), st.integers(0, 65535))
def test_only_squeezing_changes_the_length_and_nothing_fails(options: bytes, kind: int, by: int, most: int) -> None:
    assert len(opt.blank(options, kind)) == len(opt.with_mss(options, most)) == len(opt.shift_sack(options, by)) == len(options)


@given(any_bytes, st.integers(2, 255).filter(lambda kind: kind != opt.NOP))
def test_blanked_options_are_nops_and_the_others_stay(options: bytes, kind: int) -> None:
    blanked = opt.blank(options, kind)
    before, after = list(opt.walk(options)), list(opt.walk(blanked))
    assert after == [found for found in before if found[0] != kind]
    for found, start, length in before:
        assert blanked[start : start + length] == (b"\x01" * length if found == kind else options[start : start + length])


def test_blanking_a_timestamp_leaves_ten_nops_in_its_place() -> None:
    assert opt.blank(LINUX_SYN, opt.TIMESTAMP) == MSS_1460 + SACK_PERMITTED + b"\x01" * 11 + WSCALE_7


def test_an_mss_is_written_over_the_one_that_is_there() -> None:
    assert opt.mss_of(LINUX_SYN) == 1460
    assert opt.with_mss(LINUX_SYN, 1452) == bytes.fromhex("020405ac") + LINUX_SYN[4:]


@pytest.mark.parametrize("options", [b"", WSCALE_7, bytes.fromhex("020305b4")])
def test_options_without_an_mss_are_left_unchanged(options: bytes) -> None:
    assert opt.mss_of(options) is None
    assert opt.with_mss(options, 500) == options


@pytest.mark.parametrize("options", [b"\x02\x04", b"\x02\x04\x05", b"\x01\x02\x04\x05"])
def test_an_mss_that_is_cut_short_is_ignored(options: bytes) -> None:
    assert opt.mss_of(options) is None
    assert opt.with_mss(options, 500) == options


def test_an_mss_behind_other_options_is_found() -> None:
    assert opt.mss_of(WSCALE_7 + b"\x01" + MSS_1460) == 1460
    assert opt.with_mss(WSCALE_7 + b"\x01" + MSS_1460, 1000) == WSCALE_7 + b"\x01" + bytes.fromhex("020403e8")


def test_sack_edges_move_and_wrap_around() -> None:
    before = b"\x01\x01" + sack(100, 200, 2**32 - 5, 2**32 - 1)
    assert opt.shift_sack(before, 10) == b"\x01\x01" + sack(110, 210, 5, 9)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=8), st.integers(0, 2**32 - 1))
def test_sack_there_and_back_is_the_identity(edges: list[int], by: int) -> None:
    options = sack(*edges)
    assert opt.shift_sack(opt.shift_sack(options, by), -by % 2**32) == options


def test_squeezing_drops_nops_first() -> None:
    options = b"\x01\x01" + TIMESTAMP + b"\x01\x01" + sack(1, 2, 3, 4) + b"\x01\x01\x01\x01"
    assert len(options) == 36
    assert opt.squeeze(options, 32) == TIMESTAMP + sack(1, 2, 3, 4)[:18]


def test_squeezing_then_drops_the_oldest_sack_blocks() -> None:
    options = b"\x01\x01" + TIMESTAMP + b"\x01\x01" + sack(1, 2, 3, 4, 5, 6)
    assert len(options) == 40
    squeezed = opt.squeeze(options, 32)
    assert squeezed == TIMESTAMP + sack(1, 2, 3, 4)
    assert opt.squeeze(options, 12) == TIMESTAMP + b"\0\0"


@given(any_bytes, st.sampled_from(range(0, 41, 4)))
def test_squeezed_options_fit_and_lose_nothing_but_sack_blocks(options: bytes, room: int) -> None:
    def others(of: bytes) -> list[bytes]:
        return [of[start : start + length] for kind, start, length in opt.walk(of) if kind != opt.SACK]

    squeezed = opt.squeeze(options, room)
    if squeezed is None:
        assert sum(map(len, others(options))) + 9 > room - 8, "there really was no room"
    else:
        assert len(squeezed) <= room
        assert len(squeezed) % 4 == 0
        assert others(squeezed) == others(options)
