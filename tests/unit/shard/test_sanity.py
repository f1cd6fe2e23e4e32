"""shard/sanity.py, and each verdict on malformed packets: which are dropped, and which must not be."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model import verdicts
from appliance.model.verdict import Action
from appliance.wire.integrity import is_damaged
from tests.support.addresses import C0, CLIENT, LIP1, R0, RS1, VIP
from tests.support.oracle import rfc1071_checksum
from tests.support.proxied import proves
from tests.support.segments import tcp, udp
from tests.support.world import World, plan

SENSIBLE = {"S", "SU", "SA", "R", "RA", "FA", "FAU", "A", "AU"}
"""Flags without PSH, as in `tcp_valid_flags` of the kernel."""

COMBINATIONS = ["".join(letters) for count in range(7) for letters in combinations("FSRPAU", count)]


def is_sensible(flags: str) -> bool:
    return {letter for letter in flags if letter != "P"} in map(set, SENSIBLE)


def damaged(raw: bytes) -> bytes:
    return raw[:-1] + bytes((raw[-1] ^ 0x55,))


@pytest.mark.parametrize("flags", COMBINATIONS)
def test_flags_that_no_host_sends_together_are_dropped_whoever_sends_them(flags: str) -> None:
    world = World(defence_tcp_drop=0)
    stray = tcp(CLIENT, VIP, flags, seq=C0)
    connected = World()
    connected.client.connects(C0, R0)
    of_session = [tcp(CLIENT, VIP, flags, seq=C0 + 1), tcp(connected.rs.here, connected.rs.there, flags, seq=R0 + 1)]
    if is_sensible(flags):
        assert world.put(stray) is not verdicts.BAD_FLAGS
        assert verdicts.BAD_FLAGS not in [connected.put(raw) for raw in of_session]
    else:
        assert world.put(stray) is verdicts.BAD_FLAGS
        assert world.counter("bad_flags") == 1
        assert [connected.put(raw) for raw in of_session] == [verdicts.BAD_FLAGS] * 2
        assert connected.state() == "ESTABLISHED", "and moves nothing"


@pytest.mark.parametrize("defence", [0, 1])
def test_such_flags_to_a_vip_count_for_the_defence_unless_there_is_a_session(defence: int) -> None:
    """The counters of LVS count as before, and the verdict has a name of its own."""
    world = World(defence_tcp_drop=defence)
    assert world.put(tcp(CLIENT, VIP, "F", seq=C0)) is verdicts.BAD_FLAGS
    assert world.counter("defence_tcp_drop") == defence
    world.put(tcp(CLIENT, LIP1.packed + VIP[4:], "F", seq=C0))
    world.client.connects(C0, R0)
    world.client.sends("SF", seq=C0 + 1)
    assert world.counter("defence_tcp_drop") == defence
    assert world.counter("bad_flags") == 3


def test_congestion_flags_are_allowed_with_all_others() -> None:
    """RFC 3168: a SYN with ECE and CWR asks for explicit congestion notification."""
    assert World().put(tcp(CLIENT, VIP, "SEW", seq=C0)) is verdicts.TO_REAL_SERVER


@given(st.binary(max_size=60), st.integers(1, 0xFFFE))
def test_a_packet_is_damaged_when_its_whole_sum_is_wrong(data: bytes, by: int) -> None:
    raw = tcp(CLIENT, VIP, "PA", seq=C0, ack=R0, data=data)
    assert not is_damaged(raw)
    wrong = (int.from_bytes(raw[36:38], "big") + by) % 0xFFFF
    bad = raw[:36] + wrong.to_bytes(2, "big") + raw[38:]
    pseudo = bad[12:20] + b"\0\6" + (len(bad) - 20).to_bytes(2, "big")
    assert is_damaged(bad) == (rfc1071_checksum(pseudo + bad[20:]) != 0)


class TestDamage:
    """A damaged packet that is only rewritten stays damaged. Nothing is made from a damaged packet, and nothing is done because
    of it."""

    @pytest.mark.parametrize("synproxy", ["never", "always"])
    def test_a_damaged_syn_opens_nothing_and_gets_no_cookie(self, synproxy: str) -> None:
        world = World(plan(synproxy=synproxy))
        assert world.put(damaged(tcp(CLIENT, VIP, "S", seq=C0, data=b"x"))) is verdicts.BAD_CHECKSUM
        assert world.counter("bad_checksum") == 1
        assert world.counter("synproxy_syn_cnt") == 0
        world.assert_quiet()
        world.assert_empty()

    def test_a_cookie_in_a_damaged_packet_opens_nothing(self) -> None:
        """It would become a SYN with a right checksum of damaged data."""
        world = World(plan(synproxy="always"))
        world.client.sends("S", seq=C0)
        cookie = world.client.gets("SA").seq
        proof = tcp(CLIENT, VIP, "PA", seq=C0 + 1, ack=cookie + 1, data=b"GET /")
        assert world.put(damaged(proof)) is verdicts.BAD_CHECKSUM
        world.assert_empty()
        assert world.put(proof) is verdicts.TO_REAL_SERVER

    @pytest.mark.parametrize("flags", ["S", "R", "RA"])
    def test_a_damaged_packet_neither_restarts_nor_ends_a_session(self, flags: str) -> None:
        world = World()
        world.client.connects(C0, R0)
        assert world.put(damaged(tcp(CLIENT, VIP, flags, seq=C0 + 1, data=b"x"))) is verdicts.BAD_CHECKSUM
        assert world.state() == "ESTABLISHED"
        world.assert_quiet()

    def test_a_damaged_cookie_does_not_restart_a_closing_session(self) -> None:
        world = World(plan(synproxy="always"))
        proves(world)
        world.rs.sends("RA", seq=0, ack=C0 + 1)
        world.client.gets("R")
        assert world.state() == "CLOSE"
        world.client.sends("S", seq=C0 + 900)
        cookie = world.client.gets("SA").seq
        proof = tcp(CLIENT, VIP, "PA", seq=C0 + 901, ack=(cookie + 1) % 2**32, data=b"GET /")
        world.put(damaged(proof))
        assert (world.state(), world.counter("synproxy_conn_reused")) == ("CLOSE", 0)
        world.put(proof)
        assert (world.state(), world.counter("synproxy_conn_reused")) == ("SYN_SENT", 1)

    def test_a_damaged_answer_of_a_real_server_does_not_open_the_session(self) -> None:
        """Its numbers would stay in the record of the session."""
        world = World(plan(synproxy="always"))
        proves(world)
        answer = tcp(world.rs.here, world.rs.there, "SA", seq=R0, ack=world.rs.isn + 1, data=b"x")
        assert world.put(damaged(answer)) is verdicts.BAD_CHECKSUM
        assert world.state() == "SYN_SENT"
        world.assert_quiet()

    def test_a_damaged_reset_does_not_end_an_attempt(self) -> None:
        world = World(plan(synproxy="always"))
        proves(world)
        reset = tcp(CLIENT, VIP, "R", seq=C0 + 1, data=b"x")
        world.put(damaged(reset))
        assert world.state() == "SYN_SENT"
        world.put(reset)
        world.assert_empty()

    @pytest.mark.parametrize("synproxy", ["never", "always"])
    def test_a_damaged_packet_is_not_answered(self, synproxy: str) -> None:
        world = World(plan(synproxy=synproxy), tcp_abort_on_overflow=1)
        stray = tcp(CLIENT, VIP, "PA", seq=C0, ack=R0, data=b"x")
        world.put(damaged(stray))
        world.assert_quiet()
        world.put(stray)
        world.client.gets("R", seq=R0)

    def test_damaged_data_of_a_session_is_passed_on_as_it_is(self) -> None:
        world = World()
        world.client.connects(C0, R0)
        bad = damaged(tcp(CLIENT, VIP, "PA", seq=C0 + 1, ack=R0 + 1, data=b"hello"))
        assert world.put(bad) is verdicts.TO_REAL_SERVER
        assert is_damaged(world.take(RS1))


@pytest.mark.parametrize(
    "source",
    [
        VIP,
        VIP[:4] + b"\x10\x00",
        LIP1.packed + b"\x10\x00",
        *(bytes((first, 1, 2, 3, 16, 0)) for first in (0, 127, 224, 240, 255)),
    ],
    ids=["itself", "VIP", "local address", "this network", "loopback", "multicast", "reserved", "broadcast"],
)
@pytest.mark.parametrize("defence", [0, 1])
def test_nobody_opens_a_session_from_an_address_that_no_client_has(source: bytes, defence: int) -> None:
    """A land attack. The kernel accepts such packets because of `accept_local`, which rewritten packets need."""
    world = World(plan(with_udp=True), defence_tcp_drop=defence, defence_udp_drop=defence)
    assert world.put(tcp(source, VIP, "S", seq=C0)) is verdicts.LAND
    assert world.put(udp(source, VIP, b"?")) is verdicts.LAND
    assert world.counter("land") == 2
    world.assert_empty()


@pytest.mark.parametrize("synproxy", ["always", "auto"])
def test_not_even_a_cookie_goes_to_an_address_of_the_gateway(synproxy: str) -> None:
    world = World(plan(synproxy=synproxy), tcp_syncookies=2)
    assert world.put(tcp(LIP1.packed + b"\x10\x00", VIP, "S", seq=C0)) is verdicts.LAND
    world.assert_quiet()


@pytest.mark.parametrize(("length", "opens"), [(0, False), (7, False), (8, True), (12, True), (13, False), (65535, False)])
def test_a_datagram_opens_a_session_only_with_a_length_it_can_have(length: int, opens: bool) -> None:
    world = World(plan(with_udp=True))
    raw = udp(CLIENT, VIP, b"ask!", with_checksum=False)
    raw = raw[:24] + length.to_bytes(2, "big") + raw[26:]
    assert (world.put(raw).action is Action.REWRITTEN) == opens
    assert world.counter("bad_header") == (not opens)


def test_every_reason_has_a_name_of_its_own_and_words() -> None:
    names = [reason.name for reason in verdicts.VERDICTS]
    assert len(names) == len(set(names))
    assert all(reason.summary for reason in verdicts.VERDICTS)
