"""What the packets of sessions say against their real servers, and what they do not, whoever sends them."""

import pytest

from appliance.model import verdicts
from appliance.wire.flow import destination_of, source_of
from appliance.wire.seq import add
from tests.support.addresses import C0, CLIENT, R0, RS1, VIP
from tests.support.lane_maps import FakeMaps
from tests.support.proxied import asks, proves
from tests.support.segments import icmp_error, tcp, udp
from tests.support.world import World, plan

MSS_1460 = bytes((2, 4, 5, 180))
MD5 = bytes((19, 18)) + bytes(16) + bytes(2)

ways = pytest.mark.parametrize("with_lane", [False, True], ids=["alone", "lane"])


def world_of(*, with_lane: bool = False, synproxy: str = "never", with_udp: bool = False) -> World:
    return World(plan(synproxy=synproxy, synproxy_defer=0, with_udp=with_udp), FakeMaps() if with_lane else None)


def errors(world: World, slot: int = 0) -> tuple[int, int]:
    counts = world.destination(slot)
    return counts["refused_conns"], counts["unanswered_conns"]


def asks_again(world: World, after_s: float = 1.0, ttl: int = 64, options: bytes = b"", data: bytes = b"") -> None:
    world.sleep(after_s)
    world.client.sends("S", seq=C0, data=data, ttl=ttl, options=options)


@ways
def test_a_syn_that_is_answered_with_rst_is_refused_once(with_lane: bool) -> None:
    world = world_of(with_lane=with_lane)
    world.client.sends("S", seq=C0)
    world.rs.gets("S")
    assert errors(world) == (0, 0)
    for _ in range(3):
        world.rs.sends("RA", seq=0, ack=C0 + 1)
    assert errors(world) == (1, 0)
    asks_again(world)
    world.rs.sends("RA", seq=0, ack=C0 + 1)
    assert errors(world) == (1, 0), "it is the same session"
    world.sleep(100)
    world.client.sends("S", seq=C0 + 5)
    world.rs.gets("S")
    world.rs.gets("S")
    world.rs.sends("RA", seq=0, ack=C0 + 6)
    assert errors(world) == (2, 0), "and this is another one"


@ways
def test_only_a_rst_with_the_number_of_the_syn_refuses_it(with_lane: bool) -> None:
    world = world_of(with_lane=with_lane)
    world.client.sends("S", seq=C0)
    world.rs.gets("S")
    world.rs.sends("RA", seq=0, ack=C0 + 2)
    world.rs.sends("R", seq=0)
    assert errors(world) == (0, 0)


@ways
def test_a_rst_to_a_session_that_was_accepted_is_no_error(with_lane: bool) -> None:
    world = world_of(with_lane=with_lane)
    world.client.connects(C0, R0)
    world.rs.sends("RA", seq=R0 + 1, ack=C0 + 1)
    assert errors(world) == (0, 0)


@ways
def test_a_real_server_that_says_nothing_until_its_client_asks_again(with_lane: bool) -> None:
    world = world_of(with_lane=with_lane)
    world.client.sends("S", seq=C0)
    asks_again(world)
    assert errors(world) == (0, 1)
    asks_again(world, 2.0)
    world.sleep(200)
    assert errors(world) == (0, 1), "one session, one error"
    world.assert_empty()


@ways
def test_or_until_the_time_of_the_session_is_over(with_lane: bool) -> None:
    world = world_of(with_lane=with_lane)
    world.client.sends("S", seq=C0)
    world.sleep(200)
    assert errors(world) == (0, 1)
    world.assert_empty()


@ways
def test_a_client_that_asks_again_at_once_proves_nothing(with_lane: bool) -> None:
    world = world_of(with_lane=with_lane)
    world.client.sends("S", seq=C0)
    for _ in range(5):
        asks_again(world, 0.1)
    assert errors(world) == (0, 0)


@ways
def test_a_forged_client_that_never_goes_on_says_nothing_against_a_real_server_that_answers(with_lane: bool) -> None:
    world = world_of(with_lane=with_lane)
    for number in range(20):
        client = CLIENT[:4] + (41_000 + number).to_bytes(2, "big")
        world.put(tcp(client, VIP, "S", seq=C0))
        session = next(each for each in world.sessions() if source_of(each.client_key) == client)
        world.put(tcp(RS1, destination_of(session.server_key), "SA", seq=R0, ack=add(session.isn, 1)))
        world.sleep(1.0)
        world.put(tcp(client, VIP, "S", seq=C0))
    world.sleep(200)
    assert errors(world) == (0, 0)
    world.assert_empty()


@pytest.mark.parametrize(
    ("ttl", "options", "data"),
    [(31, b"", b""), (64, MSS_1460 + MD5, b""), (64, b"", b"x")],
    ids=["too few hops", "an option that hosts refuse", "data"],
)
def test_the_silence_after_a_syn_that_no_host_sends_is_nobodys_fault(ttl: int, options: bytes, data: bytes) -> None:
    world = world_of()
    asks_again(world, 0.0, ttl, options, data)
    asks_again(world, 1.0, ttl, options, data)
    world.sleep(200)
    assert errors(world) == (0, 0)


def test_the_usual_options_are_no_such_thing() -> None:
    linux = MSS_1460 + bytes((4, 2, 8, 10)) + bytes(8) + bytes((1, 3, 3, 7))
    world = world_of()
    world.client.sends("S", seq=C0, options=linux)
    asks_again(world, options=linux)
    assert errors(world) == (0, 1)


def test_a_real_server_that_answers_for_an_old_connection_is_not_silent() -> None:
    world = world_of()
    world.client.sends("S", seq=C0)
    world.rs.gets("S")
    world.rs.sends("A", seq=R0, ack=C0 + 77)
    asks_again(world)
    world.sleep(200)
    assert errors(world) == (0, 0)


def test_behind_synproxy_a_refusal_counts() -> None:
    world = world_of(synproxy="always")
    proves(world)
    world.rs.sends("RA", seq=0, ack=C0 + 1)
    assert errors(world) == (1, 0)


def test_and_so_does_a_second_of_silence() -> None:
    world = world_of(synproxy="always")
    proves(world)
    world.sleep(0.8)
    assert errors(world) == (0, 0)
    world.sleep(0.4)
    assert errors(world) == (0, 1)
    world.sleep(200)
    assert errors(world) == (0, 1)


@pytest.mark.parametrize(("code", "refused"), [(1, 1), (3, 1), (13, 1), (4, 0)])
@pytest.mark.parametrize("synproxy", ["never", "always"])
def test_an_icmp_error_about_a_syn_is_a_refusal_unless_the_syn_was_too_long(code: int, refused: int, synproxy: str) -> None:
    world = world_of(synproxy=synproxy)
    if synproxy == "always":
        cookie = asks(world).seq
        world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=b"x")
    else:
        world.client.sends("S", seq=C0)
    syn = world.take(RS1)
    local = source_of(syn[12:24])
    wrong = bytearray(syn)
    wrong[27] ^= 1
    world.put(icmp_error(RS1[:4], local[:4], bytes(wrong), code=code, mtu=1400))
    assert errors(world) == (0, 0), "the number of another SYN"
    for _ in range(2):
        world.put(icmp_error(RS1[:4], local[:4], syn, code=code, mtu=1400))
    assert errors(world) == (refused, 0)


@pytest.mark.parametrize(("code", "refused"), [(3, 1), (1, 0), (4, 0)])
def test_a_closed_port_of_udp_is_a_refusal(code: int, refused: int) -> None:
    world = world_of(with_udp=True)
    world.put(udp(CLIENT, VIP, b"q"))
    datagram = world.take(RS1)
    assert world.put(icmp_error(RS1[:4], datagram[12:16], datagram, code=code, mtu=1400)) is verdicts.ICMP_TRANSLATED
    assert errors(world, slot=2) == (refused, 0)


def test_a_client_that_refuses_an_answer_says_nothing_against_its_real_server() -> None:
    world = world_of(with_udp=True)
    world.put(udp(CLIENT, VIP, b"q"))
    there = world.take(RS1)
    world.put(udp(destination_of(there[12:24]), source_of(there[12:24]), b"a"))
    answer = world.take(CLIENT)
    assert world.put(icmp_error(CLIENT[:4], VIP[:4], answer, code=3, mtu=0)) is verdicts.ICMP_TRANSLATED
    assert errors(world, slot=2) == (0, 0)
