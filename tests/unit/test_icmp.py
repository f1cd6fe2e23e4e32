"""nat/icmp.py: an error reaches the end that sent the packet it quotes, in that end's own terms. LVS behaviour 3.9."""

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import verdict
from tests.support.addresses import C0, CLIENT, R0, ROUTER_ADDRESS, RS1, VIP
from tests.support.scripted import World
from tests.support.segments import assert_ip_checksum, assert_tcp_checksum, icmp_error, tcp


def connected() -> tuple[World, bytes, bytes]:
    """A world with a session, and one packet of each direction as the ends' routers see them, after translation."""
    world = World()
    world.client.connects(C0, R0)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x" * 1200)
    to_rs = world.take(RS1)
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1201, data=b"y" * 1200)
    to_client = world.take(CLIENT)
    return world, to_rs, to_client


def assert_icmp(raw: bytes, *, source: bytes, destination: bytes, quoted: bytes, mtu: int) -> None:
    assert_ip_checksum(raw)
    assert dpkt.in_cksum(raw[20:]) == 0, "wrong ICMP checksum"
    assert (raw[12:16], raw[16:20]) == (source[:4], destination[:4])
    assert int.from_bytes(raw[26:28], "big") == mtu
    assert_ip_checksum(raw[28:48])
    assert raw[28:] == quoted


@pytest.mark.parametrize("quoted_bytes", [28, 60, 548, 1240])
def test_an_error_about_a_client_packet_reaches_the_client(quoted_bytes: int) -> None:
    world, to_rs, _ = connected()
    sent = tcp(CLIENT, VIP, "PA", seq=C0 + 1, ack=R0 + 1, data=b"x" * 1200)
    lip = to_rs[12:16]
    assert world.put(icmp_error(ROUTER_ADDRESS.packed, lip, to_rs[:quoted_bytes])) is verdict.ICMP_TRANSLATED
    raw = world.take(CLIENT)
    assert_icmp(raw, source=VIP, destination=CLIENT, quoted=sent[:quoted_bytes], mtu=1400)
    if quoted_bytes == len(sent):
        assert_tcp_checksum(raw[28:])


def test_an_error_about_a_real_server_packet_reaches_the_real_server() -> None:
    world, to_rs, to_client = connected()
    lip = to_rs[12:16] + to_rs[20:22]
    sent = tcp(RS1, lip, "PA", seq=R0 + 1, ack=C0 + 1201, data=b"y" * 1200)
    assert world.put(icmp_error(ROUTER_ADDRESS.packed, VIP[:4], to_client[:68])) is verdict.ICMP_TRANSLATED
    assert_icmp(world.take(RS1), source=lip, destination=RS1, quoted=sent[:68], mtu=1400)


def test_a_damaged_error_is_dropped() -> None:
    world, to_rs, _ = connected()
    error = bytearray(icmp_error(ROUTER_ADDRESS.packed, to_rs[12:16], to_rs[:60]))
    error[-1] ^= 1
    assert world.put(bytes(error)) is verdict.BAD_ICMP_CHECKSUM
    world.assert_quiet()


def test_what_is_about_no_session_is_left_to_the_host() -> None:
    world, to_rs, _ = connected()
    stranger = tcp(CLIENT, RS1, "A")
    assert world.put(icmp_error(ROUTER_ADDRESS.packed, to_rs[12:16], stranger)) is verdict.NOT_OURS
    echo = icmp_error(ROUTER_ADDRESS.packed, VIP[:4], to_rs[:60], kind=8, code=0)
    assert world.put(echo) is verdict.NOT_OURS


def test_an_error_does_not_keep_a_session_alive() -> None:
    world, to_rs, _ = connected()
    (before,) = world.shard.sessions(world.now)
    world.now += 5
    world.put(icmp_error(ROUTER_ADDRESS.packed, to_rs[12:16], to_rs[:60]))
    (after,) = world.shard.sessions(world.now)
    assert after.expires_s == pytest.approx(before.expires_s - 5)


@given(st.integers(0, 80))
def test_any_length_of_quote_gives_a_verdict(length: int) -> None:
    world, to_rs, _ = connected()
    raw = icmp_error(ROUTER_ADDRESS.packed, to_rs[12:16], to_rs[:length])
    expected = verdict.ICMP_TRANSLATED if length >= 28 else verdict.NOT_OURS
    assert world.put(raw) is expected
