"""How many sessions there may be, and which end when there are too many: conn_max, early drop, tcp_max_tw_buckets."""

import pytest

from appliance.model import verdicts
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import TcpState
from appliance.model.verdict import Action, Verdict
from appliance.sessions.room import HALF_OPEN_GRACE_S
from appliance.shard.shard import Shard
from appliance.state.progress import progress_of
from appliance.state.session import Session
from appliance.wire.flow import destination_of, source_of
from appliance.wire.seq import add, is_before
from tests.support.addresses import C0, CLIENT, R0, RS1, VIP
from tests.support.segments import icmp_error, read_tcp, tcp, udp
from tests.support.world import World, plan


def client(number: int) -> bytes:
    return CLIENT[:4] + (20_000 + number).to_bytes(2, "big")


def asks(world: World, number: int) -> Verdict:
    return world.put(tcp(client(number), VIP, "S", seq=C0))


def establish(world: World, *numbers: int) -> None:
    for number in numbers:
        assert asks(world, number).action is Action.REWRITTEN
        world.complete(client(number))
    world._on_the_wire.clear()


def states(world: World) -> dict[str, str]:
    return {row.client.rpartition(":")[2]: row.state for row in world.rows()}


def two_shards(**tunables: int) -> tuple[World, World]:
    """Two shards of one appliance, which share memory."""
    scenes = [plan(shard=shard, shards=2) for shard in (0, 1)]
    first, second = World(scenes[0], **tunables), World(scenes[1])
    second.shared = first.shared
    second.shard = Shard(scenes[1], first.shared, second.now)
    return first, second


class TestConnMax:
    """New sessions are refused, existing ones go on."""

    def test_a_session_over_the_limit_is_refused_without_an_answer_and_counted(self) -> None:
        world = World(conn_max=2)
        establish(world, 1, 2)
        assert asks(world, 3) is verdicts.TABLE_FULL
        assert world.counter("table_full") == 1
        world.assert_quiet()
        assert len(world.rows()) == 2

    def test_established_sessions_go_on(self) -> None:
        world = World(conn_max=1)
        world.client.connects(C0, R0)
        assert asks(world, 3) is verdicts.TABLE_FULL
        world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"hello")
        world.rs.gets("PA", data=b"hello")

    def test_there_is_room_as_soon_as_one_ends(self) -> None:
        world = World(conn_max=2, tcp_timeout_close=1000)
        establish(world, 1, 2)
        assert asks(world, 3) is verdicts.TABLE_FULL
        world.put(tcp(client(1), VIP, "R", seq=C0 + 1))
        world.sleep(1.2)
        assert asks(world, 3) is verdicts.TO_REAL_SERVER

    def test_zero_is_no_limit_and_a_write_counts_for_the_next_packet(self) -> None:
        world = World(conn_max=1)
        establish(world, 1)
        assert asks(world, 2) is verdicts.TABLE_FULL
        world.shared.set_tunables({"conn_max": 0})
        assert asks(world, 2) is verdicts.TO_REAL_SERVER
        world.shared.set_tunables({"conn_max": 1, "conn_early_drop": 0})
        assert asks(world, 3) is verdicts.TABLE_FULL
        assert len(world.rows()) == 2, "a limit that is lowered ends nobody's session"

    def test_with_abort_on_overflow_the_client_gets_a_reset_or_an_unreachable(self) -> None:
        world = World(plan(with_udp=True), conn_max=1, tcp_abort_on_overflow=1)
        establish(world, 1)
        assert asks(world, 2) is verdicts.TABLE_FULL
        world.client.gets("RA", seq=0, ack=C0 + 1)
        assert world.put(udp(CLIENT, VIP, b"?")) is verdicts.TABLE_FULL
        assert world.take(CLIENT)[9] == 1, "ICMP port unreachable"

    def test_udp_is_refused_without_an_answer_as_well(self) -> None:
        world = World(plan(with_udp=True), conn_max=1)
        establish(world, 1)
        assert world.put(udp(CLIENT, VIP, b"?")) is verdicts.TABLE_FULL
        world.assert_quiet()

    @pytest.mark.parametrize("abort", [0, 1])
    def test_a_client_that_returns_its_cookie_may_try_again(self, abort: int) -> None:
        """The client believes that it is connected, and sends its data again until there is room; unless it is to be reset."""
        world = World(plan(synproxy="always", with_udp=True), conn_max=1, tcp_abort_on_overflow=abort)
        world.put(udp(CLIENT, VIP, b"?"))
        world._on_the_wire.clear()
        world.client.sends("S", seq=C0)
        cookie = world.client.gets("SA").seq
        assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=b"GET /") is verdicts.TABLE_FULL
        if abort:
            world.client.gets("R", seq=cookie + 1)
        world.assert_quiet()
        world.shared.set_tunables({"conn_max": 2})
        assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=b"GET /") is verdicts.TO_REAL_SERVER

    def test_all_shards_count_together(self) -> None:
        first, second = two_shards(conn_max=3)
        establish(first, 1, 2)
        establish(second, 3)
        assert asks(second, 4) is verdicts.TABLE_FULL
        assert asks(first, 5) is verdicts.TABLE_FULL
        first.shared.forget_sessions(0)  # as the director does when a worker has died
        assert asks(second, 4) is verdicts.TO_REAL_SERVER
        assert list(first.shared.session_counts) == [0, 2]


def later(world: World, number: int) -> Verdict:
    world.now += 1
    return asks(world, number)


class TestEarlyDrop:
    """A flood of half-open sessions cannot fill the table. Here each SYN comes a second after the one before."""

    def test_the_oldest_half_open_session_is_dropped_and_its_real_server_gets_a_reset(self) -> None:
        world = World(conn_max=3)
        establish(world, 1)
        later(world, 2)
        later(world, 3)
        world._on_the_wire.clear()
        assert later(world, 4) is verdicts.TO_REAL_SERVER
        assert states(world) == {"20001": "ESTABLISHED", "20003": "SYN_RECV", "20004": "SYN_RECV"}
        assert world.counter("half_open_dropped") == 1
        assert world.counter("table_full") == 0
        asked, told = (read_tcp(world.take(RS1)) for _ in range(2))
        assert (asked.flags, told.flags) == ("S", "R")
        world.assert_quiet()

    def test_a_client_that_had_an_answer_gets_a_reset(self) -> None:
        """The client believes that it is connected, and would wait for an answer to its request."""
        world = World(conn_max=1)
        world.client.sends("S", seq=C0)
        world.rs.gets("S")
        world.rs.sends("SA", seq=R0, ack=C0 + 1)
        world.client.gets("SA")
        later(world, 2)
        world.client.gets("R", seq=R0 + 1)
        world.take(RS1)
        world.rs.gets("R", seq=C0 + 1)

    def test_a_session_that_is_no_longer_half_open_is_safe(self) -> None:
        world = World(conn_max=2)
        later(world, 1)
        establish(world, 2)
        world.complete(client(1))
        assert later(world, 3) is verdicts.TABLE_FULL

    def test_a_retransmitted_syn_does_not_count_as_a_later_one(self) -> None:
        world = World(conn_max=2)
        later(world, 1)
        later(world, 2)
        later(world, 1)
        later(world, 3)
        assert set(states(world)) == {"20002", "20003"}

    def test_a_session_that_begins_anew_stands_at_the_end_of_the_line(self) -> None:
        world = World(conn_max=3)
        establish(world, 1)
        world.put(tcp(client(1), VIP, "R", seq=C0 + 1))
        later(world, 2)
        world.put(tcp(client(1), VIP, "S", seq=C0 + 5_000_000))
        later(world, 3)
        later(world, 4)
        assert set(states(world)) == {"20001", "20003", "20004"}

    def test_with_early_drop_off_a_new_session_is_refused(self) -> None:
        world = World(conn_max=2, conn_early_drop=0)
        later(world, 1)
        later(world, 2)
        assert later(world, 3) is verdicts.TABLE_FULL
        assert world.counter("half_open_dropped") == 0

    def test_a_session_whose_client_may_be_about_to_answer_is_not_dropped(self) -> None:
        world = World(conn_max=2)
        asks(world, 1)
        asks(world, 2)
        world.now += HALF_OPEN_GRACE_S - 0.01
        assert asks(world, 3) is verdicts.TABLE_FULL
        world.now += 0.02
        assert asks(world, 3) is verdicts.TO_REAL_SERVER
        assert asks(world, 4) is verdicts.TO_REAL_SERVER
        assert asks(world, 5) is verdicts.TABLE_FULL

    def test_another_service_loses_a_session_when_this_one_has_none_half_open(self) -> None:
        world = World(plan(with_udp=True), conn_max=2)
        later(world, 1)
        later(world, 2)
        world.now += 1
        assert world.put(udp(CLIENT, VIP, b"?")) is verdicts.TO_REAL_SERVER
        assert states(world) == {"20002": "SYN_RECV", "40000": "UDP"}

    @pytest.mark.parametrize(("weights", "dropped"), [((0,), 0), ((1,), 1)])
    def test_no_session_is_dropped_for_a_client_that_no_real_server_takes(self, weights: tuple[int, ...], dropped: int) -> None:
        """Otherwise a flood of a drained service would end the handshakes of other services."""
        world = World(conn_max=1)
        asks(world, 1)
        world.change(plan(weights=weights))
        later(world, 2)
        assert world.counter("half_open_dropped") == dropped

    def test_the_ports_of_the_dropped_are_free(self) -> None:
        world = World(plan(local_addresses=("192.0.2.10",)), conn_max=2, fullnat_lport_min=5000, fullnat_lport_max=5001)
        for number in range(50):
            assert later(world, number) is verdicts.TO_REAL_SERVER
        assert world.counter("half_open_dropped") == 48

    def test_a_proxied_session_whose_real_server_is_silent_is_dropped_as_well(self) -> None:
        world = World(plan(synproxy="always"), conn_max=1)
        for number in (1, 2):
            world.now += 1
            world.put(tcp(client(number), VIP, "S", seq=C0))
            cookie = read_tcp(world.take(CLIENT)).seq
            proof = tcp(client(number), VIP, "PA", seq=C0 + 1, ack=(cookie + 1) % 2**32, data=b"x")
            assert world.put(proof) is verdicts.TO_REAL_SERVER
        assert states(world) == {"20002": "SYN_SENT"}


def session_of(world: World, number: int) -> Session:
    return next(session for session in world.sessions() if session.client_key[8:10] == client(number)[4:])


def rest(world: World, *numbers: int) -> None:
    """Open and close a connection of each of these clients: it is in TIME_WAIT."""
    for number in numbers:
        asks(world, number)
        session = session_of(world, number)
        rs, local = source_of(session.server_key), destination_of(session.server_key)
        world.put(tcp(rs, local, "SA", seq=R0, ack=add(session.isn, 1)))
        world.put(tcp(client(number), VIP, "A", seq=C0 + 1, ack=R0 + 1))
        world.put(tcp(rs, local, "FA", seq=R0 + 1, ack=add(session.isn, 1)))
        world.put(tcp(client(number), VIP, "FA", seq=C0 + 1, ack=R0 + 2))
        world.put(tcp(rs, local, "A", seq=R0 + 2, ack=add(session.isn, 2)))
        assert session.state == TcpState.TIME_WAIT
    world._on_the_wire.clear()


class TestTimeWait:
    """The oldest session ends at once when there is one too many."""

    def test_the_oldest_ends_and_is_counted(self) -> None:
        world = World(tcp_max_tw_buckets=2)
        rest(world, 1, 2)
        assert world.counter("time_wait_overflows") == 0
        rest(world, 3)
        assert set(states(world)) == {"20002", "20003"}
        assert world.counter("time_wait_overflows") == 1
        world.assert_quiet()

    def test_sessions_over_a_lowered_limit_end_step_by_step(self) -> None:
        world = World()
        rest(world, *range(10))
        world.shared.set_tunables({"tcp_max_tw_buckets": 4})
        world.shard.on_tick(world.now, 5)
        assert len(world.rows()) == 5
        world.shard.on_tick(world.now, 5)
        assert set(states(world)) == {str(20_000 + number) for number in range(6, 10)}

    def test_a_session_that_left_the_state_has_left_the_line(self) -> None:
        world = World(tcp_max_tw_buckets=2)
        rest(world, 1, 2)
        world.put(tcp(client(1), VIP, "S", seq=C0 + 5_000_000))
        rest(world, 3)
        assert set(states(world)) == {"20001", "20002", "20003"}
        assert world.counter("time_wait_overflows") == 0

    def test_the_shared_limit_leaves_each_shard_its_latest_session(self) -> None:
        first, second = two_shards(tcp_max_tw_buckets=1)
        rest(first, 1, 2)
        first.shard.publish_counts()
        rest(second, 3, 4)
        assert set(states(first)) == {"20002"}
        assert set(states(second)) == {"20004"}


class TestPortsOfTimeWait:
    """When no port is free, the oldest session that rests gives its own away. Here there are three ports."""

    def few_ports(self, **tunables: int) -> World:
        return World(plan(local_addresses=("192.0.2.10",)), fullnat_lport_min=5000, fullnat_lport_max=5002, **tunables)

    def test_the_oldest_gives_its_port_and_the_next_number_lies_beyond_its_last(self) -> None:
        world = self.few_ports()
        rest(world, 1, 2, 3)
        oldest = session_of(world, 1)
        assert asks(world, 4) is verdicts.TO_REAL_SERVER
        assert set(states(world)) == {"20002", "20003", "20004"}
        newest = session_of(world, 4)
        assert newest.local_port == oldest.local_port
        assert is_before(progress_of(oldest).real_server.acked, newest.isn)
        assert (world.counter("time_wait_ports_taken"), world.counter("local_ports_exhausted")) == (1, 0)
        assert len(world._on_the_wire) == 1, "the SYN, and nothing to the client that has gone"

    def test_nobody_is_refused_as_long_as_there_is_one_that_rests(self) -> None:
        world = self.few_ports()
        for number in range(30):
            rest(world, number)
        assert world.counter("local_ports_exhausted") == 0
        assert world.counter("time_wait_ports_taken") == 27

    def test_sessions_in_other_states_keep_their_ports(self) -> None:
        world = self.few_ports()
        establish(world, 1, 2)
        rest(world, 3)
        assert asks(world, 4) is verdicts.TO_REAL_SERVER
        assert asks(world, 5) is verdicts.LOCAL_PORTS_EXHAUSTED
        assert states(world) == {"20001": "ESTABLISHED", "20002": "ESTABLISHED", "20004": "SYN_RECV"}

    def test_while_a_port_is_free_nobody_gives_one_away(self) -> None:
        world = self.few_ports()
        rest(world, 1, 2)
        asks(world, 3)
        assert world.counter("time_wait_ports_taken") == 0


def test_gauges_say_how_many_are_in_which_state() -> None:
    world = World(plan(with_udp=True, weights=(1,)))
    establish(world, 1, 2)
    asks(world, 3)
    world.put(udp(CLIENT, VIP, b"?"))
    assert world.by_state() == {"established": 2, "syn_recv": 1, "udp": 1}
    world.change(plan(with_udp=True, weights=()))
    assert world.by_state() == {"established": 2, "syn_recv": 1, "udp": 1, "orphan": 3}, "UDP has no connections to orphan"
    world.inside.end(world.sessions()[0], EndReason.CUT)
    assert sum(world.by_state().values()) == 6 - 1


def test_a_worker_starts_with_no_sessions_whatever_the_one_before_it_had() -> None:
    world = World()
    establish(world, 1, 2)
    world.by_state()
    world.shard = Shard(world.plan, world.shared, world.now)
    assert list(world.shared.session_counts) == [0]
    assert not any(world.shared.table(0, "states"))


def test_a_removed_real_server_is_told_to_a_bounded_number_of_sessions_at_once() -> None:
    world = World(plan(weights=(1, 1)), tcp_max_syn_backlog=1 << 20)
    for number in range(9000):
        asks(world, number)
    sessions = world.inside
    sessions.change_services(plan(weights=(1,)).services, gone=())  # this tells four thousand sessions
    assert sessions.changes.settle_some(), "four thousand more"
    assert not sessions.changes.settle_some(), "and the rest"


def test_while_they_are_few_sessions_know_at_once_that_their_real_server_is_gone() -> None:
    """The next packet after a reload is judged by the new plan."""
    world = World()
    world.client.connects(C0, R0)
    world.client.sends("A", seq=C0 + 1, ack=R0 + 2)  # the opening is over: only the removal puts the session on the slow path
    assert not world.sessions()[0].needs_slow_path
    world.shard.change_services(plan(weights=()).services)
    assert world.client.sends("PA", seq=C0 + 1, ack=R0 + 2, data=b"hello") is verdicts.REAL_SERVER_GONE


def test_icmp_to_a_session_that_was_dropped_is_about_none() -> None:
    world = World(conn_max=1)
    asks(world, 1)
    to_rs = world.take(RS1)
    later(world, 2)
    assert world.put(icmp_error(RS1[:4], to_rs[12:16], to_rs)) is verdicts.NOT_OURS
