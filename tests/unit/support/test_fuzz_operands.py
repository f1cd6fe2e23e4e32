"""Bytes read as choices; and packets that are made, answered, damaged and mended by them."""

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.flow import Direction, destination_of, source_of
from tests.support.addresses import C0, CLIENT, R0, ROUTER_ADDRESS, VIP
from tests.support.fuzz_operands import (
    FIRST_NUMBERS,
    FLAGS,
    OFFSETS,
    OPTIONS,
    PAYLOAD_BYTES,
    WINDOWS,
    Operands,
    answer,
    changed,
    flawed,
    numbers_of,
    with_right_checksums,
)
from tests.support.proxied import proves
from tests.support.segments import icmp_error, read_icmp_error, read_tcp, read_udp, tcp, udp
from tests.support.world import World, plan

SEGMENT = tcp(CLIENT, VIP, "PA", seq=5, ack=6, data=b"data")


class TestOperands:
    """Read one after the other."""

    def test_bytes_are_taken_in_order_and_behind_the_last_one_there_are_zeros(self) -> None:
        operands = Operands(b"\1\2\3")
        assert (operands.byte(), operands.take(3), operands.byte()) == (1, b"\2\3\0", 0)

    def test_they_are_spent_with_the_last_byte(self) -> None:
        operands = Operands(b"\1\2")
        before, _, after = operands.are_spent, operands.take(2), operands.are_spent
        assert (before, after) == (False, True)
        assert Operands(b"").are_spent

    def test_a_byte_chooses_from_a_pool_and_goes_round(self) -> None:
        operands = Operands(bytes((0, 1, 2, 3)))
        assert [operands.of("abc") for _ in range(4)] == ["a", "b", "c", "a"]

    def test_one_byte_in_sixteen_is_a_flag_and_zero_is_none(self) -> None:
        operands = Operands(bytes(range(256)))
        assert [number for number in range(256) if operands.flag()] == list(range(15, 256, 16))

    def test_a_payload_has_bytes_that_differ(self) -> None:
        assert Operands(b"\3").payload() == bytes(range(PAYLOAD_BYTES[3]))

    def test_a_client_is_an_address_and_a_port(self) -> None:
        assert Operands(b"\0\0").client() == CLIENT
        assert Operands(b"\2\5").client() == ROUTER_ADDRESS.packed + (40_005).to_bytes(2, "big")

    def test_a_number_is_one_that_is_known_or_near_it(self) -> None:
        assert Operands(b"\1\0").number((7, 8)) == 8
        assert Operands(b"\0\1").number((2**32 - 1,)) == (2**32 - 1 + OFFSETS[1]) % 2**32


def test_zeros_are_the_usual_thing() -> None:
    """So a failing input shrinks towards an ordinary one."""
    usual = (FLAGS[0], PAYLOAD_BYTES[0], WINDOWS[0], OFFSETS[0], OPTIONS[0], FIRST_NUMBERS[0])
    assert usual == ("S", 0, 64_240, 0, b"", C0)


def test_options_fill_whole_words_and_no_more_than_there_is_room_for() -> None:
    assert all(len(options) % 4 == 0 and len(options) <= 40 for options in OPTIONS)


class TestNumbersOf:
    """Numbers that either end of a session would use."""

    def test_the_first_are_what_both_ends_send_and_acknowledge_next(self) -> None:
        world = World()
        world.client.connects(C0, R0)
        (session,) = world.sessions()
        client_seq, client_ack, rs_seq, rs_ack = numbers_of(session)[:4]
        assert (client_seq % 2**32, client_ack % 2**32) == (C0 + 1, R0 + 1)
        assert (rs_seq, rs_ack) == (R0 + 1, session.isn + 1)

    def test_a_cookie_is_among_them(self) -> None:
        world = World(plan(synproxy="always"))
        cookie = proves(world)
        assert cookie + 1 in numbers_of(world.sessions()[0])


class TestAnswer:
    """What the receiver of a packet sends back; all zeros is what it should."""

    @pytest.mark.parametrize(("flags", "expected"), [("S", "SA"), ("SA", "A"), ("PA", "A"), ("FA", "A")])
    def test_zeros_answer_as_a_host_would(self, flags: str, expected: str) -> None:
        raw = tcp(CLIENT, VIP, flags, seq=5, ack=6 if "A" in flags else 0, data=b"xy" if "P" in flags else b"")
        seen = read_tcp(answer(raw, Operands(b"")))
        assert (seen.source, seen.destination, set(seen.flags)) == (VIP, CLIENT, set(expected))
        assert seen.ack == 5 + ("S" in flags) + ("F" in flags) + 2 * ("P" in flags)
        assert seen.seq == (6 if "A" in flags else FIRST_NUMBERS[1])

    def test_other_bytes_answer_otherwise(self) -> None:
        assert read_tcp(answer(SEGMENT, Operands(b"\5"))).flags.strip("A") == "R"


class TestDamage:
    """Packets with something wrong, and with everything right again."""

    def test_few_packets_are_flawed(self) -> None:
        assert flawed(SEGMENT, Operands(b"\0\0")) == SEGMENT
        with pytest.raises(AssertionError, match="wrong TCP checksum"):
            read_tcp(flawed(SEGMENT, Operands(b"\x0f\0")))
        with pytest.raises(AssertionError, match="wrong IP header checksum"):
            read_tcp(flawed(SEGMENT, Operands(b"\0\x0f")))

    def test_some_bits_of_one_byte_are_turned_over_and_back(self) -> None:
        assert changed(b"abc", 1, 1) == b"acc"
        assert changed(changed(b"abc", 1, 255), 1, 255) == b"abc"
        assert changed(b"abc", 3, 255) == b"abc"

    @given(st.integers(20, len(SEGMENT) - 1), st.integers(0, 255))
    def test_a_damaged_segment_has_right_checksums_again(self, at: int, by: int) -> None:
        mended = with_right_checksums(changed(SEGMENT, at, by) if at not in (32, 33) else SEGMENT)
        assert read_tcp(mended).raw == mended

    def test_each_protocol_has_its_checksum_in_its_place(self) -> None:
        datagram, error = udp(CLIENT, VIP, b"data"), icmp_error(ROUTER_ADDRESS.packed, CLIENT[:4], SEGMENT)
        assert read_udp(with_right_checksums(changed(datagram, 28, 1))).data == b"eata"
        assert read_icmp_error(with_right_checksums(changed(error, 27, 1))).mtu == 1401

    @given(st.binary(max_size=60))
    def test_any_bytes_can_be_mended_and_keep_their_length(self, raw: bytes) -> None:
        mended = with_right_checksums(raw)
        assert len(mended) == len(raw)
        if len(raw) >= 20:
            assert dpkt.in_cksum(mended[:20]) == 0
            assert int.from_bytes(mended[2:4], "big") == len(raw)


def test_keys_of_a_session_are_its_ends() -> None:
    """What operations choose ends by."""
    world = World()
    world.client.connects(C0, R0)
    (session,) = world.sessions()
    assert (source_of(session.client_key), destination_of(session.client_key)) == (CLIENT, VIP)
    assert source_of(session.leaving_key(Direction.INBOUND)) == destination_of(session.server_key)
