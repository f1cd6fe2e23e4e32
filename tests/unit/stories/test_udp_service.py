"""UDP services in the shard: LVS behaviour 3.11."""

import pytest

from appliance.ipc.plan import Plan
from appliance.model import verdicts
from appliance.model.verdicts import Verdict
from tests.support.addresses import CLIENT, LIP1, RS1, RS2, VIP
from tests.support.segments import icmp_error, read_udp, tcp, udp
from tests.support.world import World, plan


def world_with_udp(**tunables: int) -> World:
    return World(plan(weights=(1, 1), with_udp=True), **tunables)


def test_a_question_reaches_a_real_server_and_the_answer_its_client() -> None:
    world = world_with_udp()
    assert world.put(udp(CLIENT, VIP, b"question")) is verdicts.TO_REAL_SERVER
    seen = read_udp(world.take(RS1))
    assert (seen.source[:4], seen.destination, seen.data) == (LIP1.packed, RS1, b"question")
    assert world.put(udp(RS1, seen.source, b"answer")) is verdicts.TO_CLIENT
    back = read_udp(world.take(CLIENT))
    assert (back.source, back.destination, back.data) == (VIP, CLIENT, b"answer")
    (row,) = world.rows()
    assert (row.protocol, row.state, row.service) == ("UDP", "UDP", "dns")
    assert world.destination(2)["in_packets"] == world.destination(2)["out_packets"] == world.destination(2)["conns"] == 1


def test_tcp_and_udp_between_the_same_ports_are_two_sessions() -> None:
    world = world_with_udp()
    world.put(udp(CLIENT, VIP, b"x"))
    world.put(tcp(CLIENT, VIP, "S"))
    assert sorted(row.protocol for row in world.rows()) == ["TCP", "UDP"]


def test_packets_of_both_directions_keep_a_session_alive_and_its_timeout_is_a_tunable() -> None:
    world = world_with_udp(udp_timeout=10_000)
    world.put(udp(CLIENT, VIP, b"x"))
    local = read_udp(world.take(RS1)).source
    for sender, receiver in ((CLIENT, VIP), (RS1, local)):
        world.sleep(9)
        world.put(udp(sender, receiver, b"x"))
        assert len(world.inside.udp) == 1
    world.shared.set_tunables({"udp_timeout": 1000})
    world.put(udp(CLIENT, VIP, b"x"))
    world.sleep(1.2)
    assert len(world.inside.udp) == 0
    world.assert_empty()


@pytest.mark.parametrize("speaker", ["client", "real server"])
def test_packets_of_one_direction_alone_keep_a_session_alive(speaker: str) -> None:
    """Syslog is spoken by clients only; a subscription is answered for ever."""
    world = world_with_udp(udp_timeout=10_000)
    world.put(udp(CLIENT, VIP, b"x"))
    local = read_udp(world.take(RS1)).source
    world.put(udp(RS1, local, b"x"))
    sender, receiver = (CLIENT, VIP) if speaker == "client" else (RS1, local)
    for _ in range(4):
        world.sleep(9)
        world.put(udp(sender, receiver, b"x"))
        assert len(world.inside.udp) == 1


@pytest.mark.parametrize(
    ("scene", "reason"),
    [
        (plan(weights=(0,), with_udp=True), verdicts.NO_REAL_SERVER),
        (plan(local_addresses=(), with_udp=True), verdicts.NO_LOCAL_ADDRESS),
    ],
)
def test_a_refused_client_is_told(scene: Plan, reason: Verdict) -> None:
    world = World(scene)
    assert world.put(udp(CLIENT, VIP, b"x")) is reason
    assert world.take(CLIENT)[20:22] == b"\x03\x03"


def test_unsolicited_answers_are_left_to_the_host() -> None:
    assert world_with_udp().put(udp(RS2, LIP1.packed + b"\x20\0", b"x")) is verdicts.NOT_OURS


def test_a_datagram_shorter_than_its_header_is_dropped() -> None:
    short = udp(CLIENT, VIP, b"")[:26]
    assert world_with_udp().put(short[:2] + b"\0\x1a" + short[4:]) is verdicts.SHORT_HEADER


def test_a_port_unreachable_reaches_the_client() -> None:
    world = world_with_udp()
    world.put(udp(CLIENT, VIP, b"x"))
    there = world.take(RS1)
    assert world.put(icmp_error(RS1[:4], there[12:16], there, code=3)) is verdicts.ICMP_TRANSLATED
    error = world.take(CLIENT)
    assert error[12:16] == VIP[:4]
    assert error[28 + 12 : 28 + 24] == CLIENT[:4] + VIP[:4] + CLIENT[4:] + VIP[4:]
