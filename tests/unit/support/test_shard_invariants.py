"""Each check of the invariants complains about a shard, or a packet, that was damaged in the one way that it is there for."""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any

import pytest

from appliance.model import verdicts
from appliance.model.counters import ACTIVE_CONNS
from appliance.model.tcp_state import TcpState
from appliance.model.verdict import Verdict
from appliance.state.by_state import YIELDING
from appliance.state.session_table import BUCKET_SHIFT
from appliance.wire.flow import destination_of, source_of
from tests.support import shard_invariants
from tests.support.addresses import C0, CLIENT, LIP1, R0, ROUTER_ADDRESS, RS1, RS1_ADDRESS, VIP
from tests.support.proxied import proves
from tests.support.segments import icmp_error, tcp, udp
from tests.support.shard_invariants import (
    SOUND,
    Off,
    check_claims,
    check_deadline,
    check_published,
    check_rewritten,
    check_sent,
    check_sessions,
    how_far_off,
    sessions_of,
)
from tests.support.tcp_options import TOA_KIND
from tests.support.world import World, plan

TH_SYN, TH_ACK, TH_RST = 0x02, 0x10, 0x04


class Crowd:
    """The first of two shards, with a session of TCP in each of three states and one of UDP."""

    def __init__(self) -> None:
        self.world = World(plan(shards=2, with_udp=True))
        self.world.client.connects(C0, R0)
        for port in (50_001, 50_002):
            self.world.put(tcp(CLIENT[:4] + port.to_bytes(2, "big"), VIP, "S", seq=C0))
        self.world.put(udp(CLIENT, VIP, b"question"))
        self.established, self.half_open, self.closing, self.datagrams = sessions = sessions_by_age(self.world)
        self._close()
        self.world._on_the_wire.clear()
        states = [session.state for session in sessions[:3]]
        assert states == [TcpState.ESTABLISHED, TcpState.SYN_RECV, TcpState.TIME_WAIT]

    def _close(self) -> None:
        """Both ends open and close the third session, the real server first."""
        client, vip = source_of(self.closing.client_key), destination_of(self.closing.client_key)
        rs, local = source_of(self.closing.server_key), destination_of(self.closing.server_key)
        rs_ack = self.closing.isn + 1
        self.world.put(tcp(rs, local, "SA", seq=R0, ack=rs_ack))
        self.world.put(tcp(client, vip, "A", seq=C0 + 1, ack=R0 + 1))
        self.world.put(tcp(rs, local, "FA", seq=R0 + 1, ack=rs_ack))
        self.world.put(tcp(client, vip, "FA", seq=C0 + 1, ack=R0 + 2))
        self.world.put(tcp(rs, local, "A", seq=R0 + 2, ack=rs_ack + 1))

    @property
    def sessions(self) -> Any:
        """Those of the shard, of which tests may damage anything."""
        return self.world.inside

    @property
    def pool(self) -> Any:
        """The local ports towards the real server."""
        (_, _, pool), *_ = self.sessions.local_ports("tcp")
        return pool

    def slot_of(self, session: Any) -> set[Any]:
        """The slot of the timer wheel that holds a session."""
        slot: set[Any] = next(slot for slot in self.sessions.wheel.slots if session in slot)
        return slot


def sessions_by_age(world: World) -> list[Any]:
    """All sessions of a world in the order of their clients' ports, UDP last."""
    return sorted(sessions_of(world.inside), key=lambda session: (session.service.protocol, session.client_key))


def out_of_the_other_half(crowd: Crowd) -> None:
    key = crowd.established.server_key
    del crowd.sessions.tcp.by_direction[1][hash(key) >> BUCKET_SHIFT][key]


def in_the_other_half_twice(crowd: Crowd) -> None:
    crowd.sessions.tcp.by_direction[1][0][b"another key!"] = crowd.established


def counted_in_another_state(crowd: Crowd) -> None:
    counts = crowd.sessions.by_state.counts
    counts[TcpState.ESTABLISHED] -= 1
    counts[TcpState.CLOSE] += 1


def in_another_shard(crowd: Crowd) -> None:
    crowd.world.plan = replace(crowd.world.plan, shard=1)
    crowd.world.shared.session_counts[1] = len(crowd.sessions)


def marked_at_another_port(crowd: Crowd) -> None:
    used, place = crowd.pool._used, crowd.pool._place[crowd.pool._index_of(crowd.established.local_port)]
    used[place], used[used.index(0)] = 0, 1


def told_to_come_too_late(crowd: Crowd) -> None:
    crowd.established.deadline = crowd.established.wheel_time - 1


DAMAGES: dict[str, Callable[[Crowd], object]] = {
    "a session is not under its key": out_of_the_other_half,
    "both halves of a table": in_the_other_half_twice,
    "by state": lambda crowd: crowd.sessions.by_state.counts.append(1),
    "the count that other shards read": lambda crowd: crowd.world.shared.session_counts.__setitem__(0, 7),
    "answers would reach another shard": in_another_shard,
    "SYN_SENT is a real server asked": lambda crowd: crowd.half_open.enter(TcpState.SYN_SENT),
    "a session that needs the slow path does not take it": lambda crowd: setattr(crowd.half_open, "needs_slow_path", False),
    "a session is on the slow path for no reason": lambda crowd: setattr(crowd.datagrams, "needs_slow_path", True),
    "gauges of states": counted_in_another_state,
    "the line of TIME_WAIT": lambda crowd: crowd.closing.real_server.orders[YIELDING].leave(crowd.closing),
    "the count of UDP that other shards read": lambda crowd: crowd.world.shared.udp_counts.__setitem__(0, 7),
    "the line of unconfirmed sessions": lambda crowd: crowd.datagrams.confirm(),
    "half open": lambda crowd: crowd.half_open.service.half_open.leave(crowd.half_open),
    "gauges of a real server": lambda crowd: crowd.established.counts.__setitem__(ACTIVE_CONNS, 7),
    "a session without a timer": lambda crowd: crowd.sessions.wheel.disarm(crowd.established),
    "a session that has ended is due": lambda crowd: crowd.sessions.wheel._due.add("a session that was there"),
    "the next look at the timers": lambda crowd: setattr(crowd.sessions.wheel, "next_look", lambda: None),
    "a session is looked at too late": told_to_come_too_late,
    "a session is in another slot of the wheel": lambda crowd: crowd.slot_of(crowd.established).remove(crowd.established),
    "a port is taken that no session has": lambda crowd: crowd.pool._outside.add(1),
    "ports in use": lambda crowd: setattr(crowd.pool, "in_use", 7),
    "a port of a session counts as free": marked_at_another_port,
    "a session has a port that no pool gave out": lambda crowd: crowd.sessions.local_ports("tcp")._pools.clear(),
}
"""What is damaged, by what is said of it."""


def test_a_shard_as_it_should_be_is_not_complained_about() -> None:
    check_sessions(World(), are_settled=True)
    check_sessions(Crowd().world, are_settled=True)


@pytest.mark.parametrize("complaint", DAMAGES)
def test_each_damage_to_a_shard_is_noticed(complaint: str) -> None:
    crowd = Crowd()
    DAMAGES[complaint](crowd)
    with pytest.raises(AssertionError, match=complaint):
        check_sessions(crowd.world, are_settled=True)


def test_a_port_that_two_sessions_have_is_noticed() -> None:
    crowd = Crowd()
    with pytest.raises(AssertionError, match="two sessions with one port"):
        shard_invariants._check_ports(crowd.sessions.local_ports("tcp"), [crowd.established, crowd.established])


def test_sessions_may_not_know_of_a_reload_before_they_are_settled() -> None:
    crowd = Crowd()
    crowd.datagrams.needs_slow_path = True
    check_sessions(crowd.world, are_settled=False)


def test_a_deadline_that_never_comes_is_noticed() -> None:
    crowd = Crowd()
    crowd.established.deadline = inf
    with pytest.raises(AssertionError, match="looked at too late"):
        check_sessions(crowd.world, are_settled=True)


def test_a_deadline_that_had_passed_when_it_was_set_is_looked_at_next() -> None:
    crowd = Crowd()
    crowd.established.deadline = crowd.world.now - 7
    crowd.sessions.wheel.arm(crowd.established)
    check_sessions(crowd.world, are_settled=True)


def test_a_session_whose_real_server_is_asked_for_it_is_in_syn_sent() -> None:
    world = World(plan(synproxy="always"))
    proves(world)
    check_sessions(world, are_settled=True)
    world.sessions()[0].enter(TcpState.SYN_RECV)
    with pytest.raises(AssertionError, match="SYN_SENT is a real server asked"):
        check_sessions(world, are_settled=True)


LOCAL = LIP1.packed + (5000).to_bytes(2, "big")
SENT, MADE = (
    tcp(source, destination, "PA", seq=seq, ack=1, data=b"data")
    for source, destination, seq in ((CLIENT, VIP, 5), (LOCAL, RS1, 9))
)
"""A packet of a client, and what the gateway makes of it."""
SYN_MADE = tcp(LOCAL, RS1, "S", seq=9)


def changed(raw: bytes, at: int, by: int = 0x55) -> bytes:
    return raw[:at] + bytes((raw[at] ^ by,)) + raw[at + 1 :]


class TestRewritten:
    """What became of a packet."""

    @pytest.mark.parametrize(
        ("raw", "verdict", "rewritten", "kept"),
        [
            (SENT, verdicts.TO_REAL_SERVER, MADE, set()),
            (changed(SENT, -1 % len(SENT)), verdicts.TO_REAL_SERVER, changed(MADE, -1 % len(MADE)), set()),
            (tcp(RS1, LOCAL, "A"), verdicts.TO_CLIENT, tcp(VIP, CLIENT, "A"), set()),
            (SENT, verdicts.TO_REAL_SERVER, SYN_MADE, set()),
            (SENT, verdicts.TO_REAL_SERVER, changed(SYN_MADE, 27), {how_far_off(changed(SYN_MADE, 27))}),
            (tcp(CLIENT, VIP, "S"), verdicts.COOKIE_SENT, tcp(VIP, CLIENT, "SA"), set()),
        ],
        ids=["sound", "as damaged as it came", "to the client", "a SYN for data", "a SYN of a damaged one", "a cookie"],
    )
    def test_what_is_right_is_not_complained_about(self, raw: bytes, verdict: Verdict, rewritten: bytes, kept: set[Off]) -> None:
        check_rewritten(raw, verdict, rewritten, kept)

    @pytest.mark.parametrize(
        ("complaint", "verdict", "rewritten"),
        [
            ("IP length", verdicts.TO_REAL_SERVER, MADE + b"x"),
            ("not a SYN-ACK with a cookie", verdicts.COOKIE_SENT, tcp(VIP, CLIENT, "A")),
            ("to or from somebody else", verdicts.TO_REAL_SERVER, tcp(LOCAL, CLIENT, "PA", data=b"data")),
            ("to or from somebody else", verdicts.TO_CLIENT, tcp(RS1, CLIENT, "PA", data=b"data")),
            ("flags changed on the way to a client", verdicts.TO_CLIENT, tcp(VIP, CLIENT, "S")),
            ("made anew, and no SYN", verdicts.TO_REAL_SERVER, tcp(LOCAL, RS1, "FA")),
            ("made anew, and not sound", verdicts.TO_REAL_SERVER, changed(SYN_MADE, 27)),
            ("a checksum was repaired or broken", verdicts.TO_REAL_SERVER, changed(MADE, 37)),
            ("data changed", verdicts.TO_REAL_SERVER, tcp(LOCAL, RS1, "PA", data=b"DATA")),
            ("TTL", verdicts.TO_REAL_SERVER, tcp(LOCAL, RS1, "PA", data=b"data", ttl=63)),
        ],
    )
    def test_each_fault_is_noticed(self, complaint: str, verdict: Verdict, rewritten: bytes) -> None:
        with pytest.raises(AssertionError, match=complaint):
            check_rewritten(SENT, verdict, rewritten, set())

    def test_a_damaged_packet_that_was_mended_is_noticed(self) -> None:
        with pytest.raises(AssertionError, match="a checksum was repaired or broken"):
            check_rewritten(changed(SENT, 37), verdicts.TO_REAL_SERVER, MADE, set())


ROUTER = ROUTER_ADDRESS.packed
ERROR_SENT, ERROR_MADE = icmp_error(ROUTER, LOCAL[:4], MADE), icmp_error(ROUTER, CLIENT[:4], SENT)


class TestTranslatedError:
    """What became of an ICMP error."""

    def test_what_is_right_is_not_complained_about(self) -> None:
        check_rewritten(ERROR_SENT, verdicts.ICMP_TRANSLATED, ERROR_MADE, set())

    @pytest.mark.parametrize(
        ("complaint", "rewritten"),
        [
            ("protocol or IP length", ERROR_MADE + b"x"),
            ("protocol or IP length", udp(ROUTER, CLIENT[:4] + b"\0\1")),
            ("ICMP checksum", changed(ERROR_MADE, 27)),
            ("an IP header checksum was repaired or broken", changed(ERROR_MADE, 8)),
            ("an IP header checksum was repaired or broken", icmp_error(ROUTER, CLIENT[:4], changed(SENT, 8))),
            ("a checksum in a quote was repaired or broken", icmp_error(ROUTER, CLIENT[:4], changed(SENT, 37))),
        ],
    )
    def test_each_fault_is_noticed(self, complaint: str, rewritten: bytes) -> None:
        with pytest.raises(AssertionError, match=complaint):
            check_rewritten(ERROR_SENT, verdicts.ICMP_TRANSLATED, rewritten, set())


class TestDeadline:
    """The time that a packet gives its session."""

    @pytest.mark.parametrize(
        ("verdict", "flags"),
        [(verdicts.TO_CLIENT, TH_ACK), (verdicts.TO_REAL_SERVER, TH_ACK), (verdicts.HANDSHAKE_PACKET, TH_SYN | TH_ACK)],
    )
    def test_a_packet_that_went_on_gives_all_the_time_of_the_state(self, verdict: Verdict, flags: int) -> None:
        crowd = Crowd()
        timeouts_s = crowd.sessions.tunables.timeouts_s
        check_deadline(crowd.established, verdict, flags, timeouts_s, crowd.world.now)
        crowd.established.deadline -= 1
        with pytest.raises(AssertionError, match="not the time of its state"):
            check_deadline(crowd.established, verdict, flags, timeouts_s, crowd.world.now)

    @pytest.mark.parametrize(
        ("verdict", "flags"),
        [(verdicts.TO_REAL_SERVER, TH_SYN), (verdicts.TO_REAL_SERVER, TH_RST), (verdicts.STORM, TH_ACK)],
    )
    def test_a_late_syn_a_rst_and_what_was_dropped_may_give_none(self, verdict: Verdict, flags: int) -> None:
        crowd = Crowd()
        crowd.established.deadline -= 1
        check_deadline(crowd.established, verdict, flags, crowd.sessions.tunables.timeouts_s, crowd.world.now)


class TestClaims:
    """Whom a real server is told about."""

    TOA = bytes((TOA_KIND, 8)) + CLIENT[4:] + CLIENT[:4]
    FORGED = bytes((TOA_KIND, 8)) + RS1[4:] + RS1[:4]

    @pytest.mark.parametrize(
        "options",
        [b"", TOA, bytes((253, 8)) + FORGED[2:], TOA + b"\0\0\0\0" + FORGED],
        ids=["none", "its own", "another kind", "behind the end"],
    )
    def test_a_client_may_be_named_once(self, options: bytes) -> None:
        check_claims(tcp(LOCAL, RS1, "A", options=options), CLIENT, TOA_KIND)

    @pytest.mark.parametrize("options", [FORGED, TOA + FORGED, FORGED + TOA, TOA + TOA])
    def test_any_other_claim_is_noticed(self, options: bytes) -> None:
        with pytest.raises(AssertionError, match="a client claims an address"):
            check_claims(tcp(LOCAL, RS1, "A", options=options), CLIENT, TOA_KIND)


class TestSent:
    """Packets of the shard's own."""

    @pytest.mark.parametrize(
        ("raw", "kept"),
        [
            (tcp(VIP, CLIENT, "R"), set()),
            (tcp(LOCAL, RS1, "R"), set()),
            (changed(SYN_MADE, 27), {how_far_off(changed(SYN_MADE, 27))}),
            (icmp_error(VIP[:4], CLIENT[:4], SENT), set()),
            (icmp_error(VIP[:4], CLIENT[:4], SENT[:28]), set()),
        ],
        ids=["to a client", "to a real server", "a damaged one again", "an error", "an error with a short quote"],
    )
    def test_what_is_right_is_not_complained_about(self, raw: bytes, kept: set[Off]) -> None:
        check_sent(raw, [SENT], kept)

    @pytest.mark.parametrize(
        ("complaint", "raw"),
        [
            ("IP length", tcp(VIP, CLIENT, "R") + b"x"),
            ("in the name of somebody else", tcp(RS1, CLIENT, "R")),
            ("wrong IP header checksum", changed(icmp_error(VIP[:4], CLIENT[:4], SENT), 8)),
            ("ICMP checksum", changed(icmp_error(VIP[:4], CLIENT[:4], SENT), 27)),
            ("an error about another packet", icmp_error(VIP[:4], CLIENT[:4], MADE)),
            ("a damaged packet of our own", changed(tcp(VIP, CLIENT, "R"), 27)),
        ],
    )
    def test_each_fault_is_noticed(self, complaint: str, raw: bytes) -> None:
        with pytest.raises(AssertionError, match=complaint):
            check_sent(raw, [SENT], set())


class TestHowFarOff:
    """Checksums are compared by their difference from the right one."""

    def test_a_sound_packet_is_not_off(self) -> None:
        for raw in (SENT, udp(CLIENT, VIP, b"data"), udp(CLIENT, VIP, b"data", with_checksum=False)):
            assert how_far_off(raw) == SOUND

    @pytest.mark.parametrize(("at", "is_head"), [(9, True), (8, True), (24, False), (41, False)])
    def test_header_and_segment_are_told_apart(self, at: int, is_head: bool) -> None:
        head, segment = how_far_off(changed(SENT, at, 1) if at != 9 else changed(SENT, 11, 1))
        assert (bool(head), bool(segment)) == (is_head, not is_head)

    def test_the_same_damage_is_the_same_distance_at_other_addresses(self) -> None:
        there = tcp(CLIENT, RS1_ADDRESS.packed + VIP[4:], "PA", seq=5, ack=1, data=b"data")
        assert how_far_off(changed(there, 41, 1)) == how_far_off(changed(SENT, 41, 1)) != SOUND


def test_a_counter_that_was_not_published_is_noticed() -> None:
    world = World(plan())
    world.client.connects(C0, R0)
    world.shard.publish_counts()
    check_published(world)
    world.inside.service("tcp", VIP).real_servers[0].counts[ACTIVE_CONNS] += 1  # type: ignore[union-attr]
    with pytest.raises(AssertionError):
        check_published(world)
