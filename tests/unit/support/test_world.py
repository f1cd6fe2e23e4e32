"""The scripted world: what it says when a packet is not the expected one, and that its checks can fail."""

from collections.abc import Callable

import pytest

from appliance.ipc.queries import ROWS, Query, SessionFilter
from appliance.model import verdicts
from tests.support.addresses import C0, CLIENT, LIP1, R0, RS1, VIP
from tests.support.segments import tcp
from tests.support.world import World, plan


def connected() -> World:
    """A world with one established session."""
    world = World()
    world.client.connects(C0, R0)
    return world


class TestTranscript:
    """What a failing expectation prints."""

    def test_every_packet_is_in_it_with_its_verdict(self) -> None:
        world = World()
        world.client.sends("S", seq=C0)
        (line,) = world.transcript
        assert line.startswith("> ")
        assert "198.51.100.2:40000 > 203.0.113.10:80" in line
        assert line.endswith("<rewritten to_real_server>")

    def test_packets_of_the_shards_own_and_pauses_are_in_it(self) -> None:
        world = connected()
        world.sleep(1000)
        assert "  slept 1000 s" in world.transcript
        assert [line for line in world.transcript if line.startswith("< ") and line.endswith("(our own)")]

    def test_a_packet_that_is_not_the_expected_one_is_shown_beside_it(self) -> None:
        world = World()
        world.client.sends("S", seq=C0)
        with pytest.raises(AssertionError) as raised:
            world.rs.gets("SA", seq=C0 + 1)
        said = str(raised.value)
        assert f"{{'flags': 'S', 'seq': {C0}}} != {{'flags': 'AS', 'seq': {C0 + 1}}}" in said
        assert world.transcript[0] in said

    def test_a_packet_that_never_came_is_said_to_be_missing(self) -> None:
        world = World()
        world.client.sends("S", seq=C0)
        with pytest.raises(AssertionError, match=r"nothing on the wire for that end\n> .*<rewritten to_real_server>"):
            world.client.gets("SA")

    def test_a_packet_that_nobody_expected_is_not_quiet(self) -> None:
        world = World()
        world.assert_quiet()
        world.client.sends("S", seq=C0)
        with pytest.raises(AssertionError, match=r"not quiet:\s+> "):
            world.assert_quiet()


class TestEnds:
    """Both ends speak the client's sequence numbers."""

    def test_the_real_servers_end_learns_its_address_and_the_shift_from_the_syn(self) -> None:
        world = World()
        world.client.sends("S", seq=C0)
        world.rs.gets("S", seq=C0)
        assert (world.rs.here, world.rs.there[:4]) == (RS1, LIP1.packed)
        assert world.rs.isn == (C0 + world.rs.shift) % 2**32 != C0

    def test_fields_that_are_not_named_may_be_anything(self) -> None:
        world = World()
        world.client.sends("S", seq=C0, window=1234)
        assert world.rs.gets("S").seq == C0

    def test_the_order_of_flags_does_not_matter(self) -> None:
        world = connected()
        world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x")
        world.rs.gets("AP", data=b"x")

    def test_a_damaged_packet_is_not_got(self) -> None:
        world = connected()
        whole = tcp(CLIENT, VIP, "PA", seq=C0 + 1, ack=R0 + 1, data=b"x")
        assert world.put(whole[:-1] + b"y") is verdicts.TO_REAL_SERVER
        with pytest.raises(AssertionError, match="wrong TCP checksum"):
            world.rs.gets("PA")

    def test_packets_are_taken_oldest_first_and_the_newest_can_be_looked_at(self) -> None:
        world = connected()
        for data in (b"1", b"2"):
            world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=data)
        newest = world.last_to(RS1)
        assert newest
        assert newest.endswith(b"2")
        assert world.take(RS1).endswith(b"1")
        assert world.last_to(CLIENT) is None


class TestChecks:
    """What a world can be asked."""

    def test_an_empty_world_is_empty(self) -> None:
        world = connected()
        world.client.sends("R", seq=C0 + 1)
        world.sleep(100)
        world.assert_empty()

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda world: world.client.sends("S", seq=C0), id="a session"),
            pytest.param(lambda world: world.shared.session_counts.__setitem__(0, 1), id="the count that other shards read"),
            pytest.param(lambda world: world.inside.by_state.counts.__setitem__(1, 1), id="a gauge of a state"),
        ],
    )
    def test_a_world_in_which_something_is_left_is_not_empty(self, damage: Callable[[World], object]) -> None:
        world = World()
        world.assert_empty()
        damage(world)
        with pytest.raises(AssertionError):
            world.assert_empty()

    def test_time_moves_only_when_the_test_says_so_and_timers_fire_on_the_way(self) -> None:
        world = World()
        world.client.sends("S", seq=C0)
        (row,) = world.rows()
        assert (world.now, row.state) == (1000, "SYN_RECV")
        world.sleep(row.expires_s + 1)
        assert world.now == 1000 + row.expires_s + 1
        assert world.rows() == []

    def test_counters_have_names(self) -> None:
        world = connected()
        assert world.counter("handshake_packet") == 0
        world.put(b"")
        assert world.counter("short_header") + world.counter("bad_header") == 1
        with pytest.raises(KeyError, match="no_such_counter"):
            world.counter("no_such_counter")

    def test_the_state_is_that_of_the_only_session(self) -> None:
        assert connected().state() == "ESTABLISHED"
        with pytest.raises(ValueError, match="not enough values"):
            World().state()

    def test_gauges_are_those_that_are_not_zero(self) -> None:
        assert World().by_state() == {}
        assert list(connected().by_state().values()) == [1]

    def test_an_answer_ends_with_its_last_piece(self) -> None:
        pieces = list(connected().walk(Query(ROWS, SessionFilter())))
        assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]


class TestPlan:
    """The scenes."""

    def test_real_servers_have_weights_in_order_and_slots_of_their_own(self) -> None:
        web, dns = plan(weights=(1, 0), with_udp=True).services
        assert [each.weight for each in web.real_servers] == [1, 0]
        assert [each.slot for each in (*web.real_servers, *dns.real_servers)] == [0, 1, 2, 3]

    def test_the_udp_service_has_the_address_of_the_tcp_service_and_no_synproxy(self) -> None:
        web, dns = plan(with_udp=True, synproxy="always").services
        assert (dns.vip, dns.port) == (web.vip, web.port)
        assert (web.protocol, web.synproxy, dns.protocol, dns.synproxy) == ("tcp", "always", "udp", "never")

    def test_a_change_of_the_plan_is_known_to_all_sessions_at_once(self) -> None:
        world = connected()
        world.change(plan(weights=()))
        assert [session.needs_slow_path for session in world.sessions()] == [True]
