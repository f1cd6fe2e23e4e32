"""UDP services in the shard: LVS behaviour 3.11."""

import pytest

from appliance.ipc.lane_layout import REFUSED_SOURCE
from appliance.ipc.plan import Plan
from appliance.model import verdicts
from appliance.model.verdict import Verdict
from appliance.sessions.room import HALF_OPEN_GRACE_S
from tests.support.addresses import CLIENT, LIP1, RS1, RS2, VIP
from tests.support.lane_maps import FakeMaps
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


def client(number: int) -> bytes:
    return CLIENT[:4] + (20_000 + number).to_bytes(2, "big")


def ask(world: World, number: int) -> Verdict:
    return world.put(udp(client(number), VIP, b"?"))


def answer(world: World) -> None:
    """Answer the oldest question on the wire."""
    there = read_udp(world.take(RS1))
    assert world.put(udp(there.destination, there.source, b"!")) is verdicts.TO_CLIENT


def clients(world: World) -> set[int]:
    return {int(row.client.rpartition(":")[2]) - 20_000 for row in world.rows()}


def dns(**tunables: int) -> World:
    return World(plan(with_udp=True), **tunables)


def converse(world: World, number: int) -> None:
    """Ask, answer, ask again: only a client that is there does that."""
    ask(world, number)
    answer(world)
    ask(world, number)
    world._on_the_wire.clear()


class TestUnconfirmed:
    """Sessions whose client has not sent again after an answer: short, and the first to go. Its source may be forged."""

    def test_a_session_ends_early_until_its_client_has_sent_again_after_an_answer(self) -> None:
        world = dns(udp_timeout_unconfirmed=2000, udp_timeout=10_000)
        converse(world, 1)
        ask(world, 2)
        answer(world)
        ask(world, 3)
        ask(world, 3)
        world.sleep(2.2)
        assert clients(world) == {1}
        world.sleep(7.6)
        assert clients(world) == {1}
        world.sleep(0.4)
        world.assert_empty()

    def test_each_datagram_prolongs_it_but_not_to_the_long_timeout(self) -> None:
        world = dns(udp_timeout_unconfirmed=2000)
        for _ in range(3):
            ask(world, 1)
            world.sleep(1.8)
        answer(world)
        world.sleep(1.8)
        assert clients(world) == {1}
        world.sleep(0.4)
        world.assert_empty()

    def test_it_is_never_longer_than_that_of_others(self) -> None:
        world = dns(udp_timeout=1000)
        ask(world, 1)
        world.sleep(1.2)
        world.assert_empty()

    def test_a_full_table_drops_the_oldest_of_them_and_none_that_is_confirmed(self) -> None:
        world = dns(conn_max=3)
        converse(world, 1)
        for number in range(2, 20):
            assert ask(world, number) is verdicts.TO_REAL_SERVER
            answer(world)
            world.now += 1
        assert clients(world) == {1, 18, 19}
        assert world.counter("unconfirmed_dropped") == 16
        assert world.counter("table_full") == 0

    def test_one_whose_answer_may_be_on_its_way_stays(self) -> None:
        world = dns(conn_max=1)
        ask(world, 1)
        world.now += HALF_OPEN_GRACE_S - 0.01
        assert ask(world, 2) is verdicts.TABLE_FULL
        world.now += 0.02
        assert ask(world, 2) is verdicts.TO_REAL_SERVER

    def test_with_early_drop_off_nobody_goes(self) -> None:
        world = dns(conn_max=1, conn_early_drop=0, fullnat_lport_max=5000)
        ask(world, 1)
        world.now += 1
        assert ask(world, 2) is verdicts.TABLE_FULL
        world.shared.set_tunables({"conn_max": 0})
        assert ask(world, 2) is verdicts.TO_REAL_SERVER, "on the other local address"
        world.now += 1
        assert ask(world, 3) is verdicts.LOCAL_PORTS_EXHAUSTED

    def test_when_all_ports_are_taken_the_oldest_of_them_gives_its_port(self) -> None:
        """Four ports towards the real server: two on each local address."""
        world = dns(fullnat_lport_min=5000, fullnat_lport_max=5001)
        converse(world, 1)
        for number in range(2, 20):
            assert ask(world, number) is verdicts.TO_REAL_SERVER
            world.now += 1
        assert clients(world) == {1, 17, 18, 19}
        assert (world.counter("unconfirmed_dropped"), world.counter("local_ports_exhausted")) == (15, 0)
        world.now -= 0.6
        assert ask(world, 20) is verdicts.TO_REAL_SERVER
        assert clients(world) == {1, 18, 19, 20}

    def test_a_port_outside_the_range_is_not_given_on(self) -> None:
        world = dns(fullnat_lport_min=5000, fullnat_lport_max=5000)
        ask(world, 1)
        ask(world, 2)
        world.now += 1
        world.shared.set_tunables({"fullnat_lport_min": 6000, "fullnat_lport_max": 6000})
        for number in (3, 4, 5):
            world._on_the_wire.clear()
            world.now += 1
            assert ask(world, number) is verdicts.TO_REAL_SERVER
            assert read_udp(world.take(RS1)).source[4:] == (6000).to_bytes(2, "big")
        assert clients(world) == {4, 5}, "looking for a port of the range, it has ended those outside, too"


class TestShares:
    """Neither protocol can take all of the table."""

    def fill_with_udp(self, world: World, count: int) -> None:
        for number in range(count):
            if ask(world, number) is verdicts.TO_REAL_SERVER:
                answer(world)
                ask(world, number)
            world._on_the_wire.clear()

    def test_udp_leaves_tcp_its_share_of_a_full_table(self) -> None:
        world = dns(conn_max=8)
        self.fill_with_udp(world, 10)
        assert world.by_state() == {"udp": 6}
        assert world.counter("table_full") == 4
        opened = [world.put(tcp(client(number), VIP, "S")) for number in range(3)]
        assert opened == [verdicts.TO_REAL_SERVER] * 2 + [verdicts.TABLE_FULL]

    def test_tcp_leaves_udp_its_share(self) -> None:
        world = dns(conn_max=8)
        for number in range(10):
            if world.put(tcp(client(number), VIP, "S")) is verdicts.TO_REAL_SERVER:
                world.complete(client(number))
        assert world.by_state() == {"established": 6}
        world._on_the_wire.clear()
        assert [ask(world, number) for number in range(3)] == [verdicts.TO_REAL_SERVER] * 2 + [verdicts.TABLE_FULL]

    def test_the_share_is_a_tunable_and_counts_at_once(self) -> None:
        world = dns(conn_max=8, conn_reserved=50)
        self.fill_with_udp(world, 10)
        assert world.by_state() == {"udp": 4}
        world.shared.set_tunables({"conn_reserved": 0})
        self.fill_with_udp(world, 10)
        assert world.by_state() == {"udp": 8}

    def test_nothing_is_kept_for_a_protocol_without_a_service(self) -> None:
        world = World(conn_max=8)
        opened = [world.put(tcp(client(number), VIP, "S")) for number in range(9)]
        assert opened == [verdicts.TO_REAL_SERVER] * 8 + [verdicts.TABLE_FULL]

    def test_over_its_share_a_protocol_drops_only_its_own(self) -> None:
        world = dns(conn_max=8)
        for number in range(6):
            world.put(tcp(client(number), VIP, "S"))
            world.complete(client(number))
        ask(world, 0)
        world.now += 1
        assert world.put(tcp(client(7), VIP, "S")) is verdicts.TABLE_FULL, "not in the place of the datagram's session"
        assert world.by_state() == {"established": 6, "udp": 1}

    def test_udp_over_its_share_does_not_end_half_open_sessions(self) -> None:
        world = dns(conn_max=8)
        self.fill_with_udp(world, 6)
        world.put(tcp(client(1), VIP, "S"))
        world.now += 1
        assert ask(world, 7) is verdicts.TABLE_FULL
        assert world.by_state() == {"udp": 6, "syn_recv": 1}

    def test_in_a_full_table_unconfirmed_sessions_go_before_half_open_ones(self) -> None:
        world = dns(conn_max=2)
        world.put(tcp(client(1), VIP, "S"))
        ask(world, 2)
        world.now += 1
        assert world.put(tcp(client(3), VIP, "S")) is verdicts.TO_REAL_SERVER
        assert world.by_state() == {"syn_recv": 2}

    def test_all_shards_count_together(self) -> None:
        world = World(plan(with_udp=True, shards=2), conn_max=8)
        world.shared.session_counts[1] = world.shared.udp_counts[1] = 5
        converse(world, 1)
        assert ask(world, 2) is verdicts.TABLE_FULL
        assert world.put(tcp(client(1), VIP, "S")) is verdicts.TO_REAL_SERVER
        world.shared.forget_sessions(1)
        assert ask(world, 2) is verdicts.TO_REAL_SERVER


class TestSourceLimit:
    """source_conn_max, source_conn_prefix."""

    def of(self, world: World, host: int, port: int) -> Verdict:
        return world.put(udp(bytes((198, 51, 100, host)) + port.to_bytes(2, "big"), VIP, b"?"))

    def test_a_network_has_no_more_sessions_than_it_may_and_others_are_served(self) -> None:
        world = dns(source_conn_max=3)
        assert [self.of(world, host, 1) for host in range(5)] == [verdicts.TO_REAL_SERVER] * 3 + [verdicts.SOURCE_LIMIT] * 2
        assert world.counter("source_limit") == 2
        assert world.put(udp(bytes((198, 51, 101, 1, 9, 9)), VIP, b"?")) is verdicts.TO_REAL_SERVER

    def test_datagrams_whose_source_may_be_forged_do_not_count_for_tcp(self) -> None:
        world = dns(source_conn_max=2)
        for port in range(3):
            self.of(world, 1, port)
        given = [world.put(tcp(client(number), VIP, "S")) for number in range(3)]
        assert given == [verdicts.TO_REAL_SERVER] * 2 + [verdicts.SOURCE_LIMIT]
        assert world.last_to(CLIENT) is None, "so that it tries again"

    def test_nobody_has_to_make_way_for_a_client_that_is_refused(self) -> None:
        world = World(tcp_max_syn_backlog=1, source_conn_max=1)
        world.put(tcp(client(1), VIP, "S"))
        world.now += 1
        assert world.put(tcp(client(2), VIP, "S")) is verdicts.SOURCE_LIMIT
        assert clients(world) == {1}

    def test_a_session_that_ends_makes_room(self) -> None:
        world = dns(source_conn_max=2, udp_timeout_unconfirmed=1000)
        assert [self.of(world, 1, port) for port in range(3)][2] is verdicts.SOURCE_LIMIT
        world.sleep(1.2)
        world.assert_empty()
        assert [self.of(world, 1, port) for port in range(3)] == [verdicts.TO_REAL_SERVER] * 2 + [verdicts.SOURCE_LIMIT]

    def test_sessions_that_there_are_go_on_and_zero_is_no_limit(self) -> None:
        world = dns(source_conn_max=0)
        assert {self.of(world, 1, port) for port in range(9)} == {verdicts.TO_REAL_SERVER}
        world.shared.set_tunables({"source_conn_max": 3})
        assert self.of(world, 1, 1) is verdicts.TO_REAL_SERVER
        assert self.of(world, 1, 10) is verdicts.SOURCE_LIMIT

    def test_the_limit_is_shared_out_among_the_shards(self) -> None:
        world = World(plan(with_udp=True, shards=2), source_conn_max=4)
        assert [self.of(world, 1, port) for port in range(3)] == [verdicts.TO_REAL_SERVER] * 2 + [verdicts.SOURCE_LIMIT]

    @pytest.mark.parametrize(("prefix", "together"), [(24, True), (32, False), (8, True)])
    def test_the_length_of_the_prefix_is_tunable(self, prefix: int, together: bool) -> None:
        world = dns(source_conn_max=1, source_conn_prefix=prefix)
        self.of(world, 1, 1)
        assert (self.of(world, 2, 1) is verdicts.SOURCE_LIMIT) == together

    def test_after_a_change_of_the_prefix_counts_are_never_too_high(self) -> None:
        world = dns(source_conn_max=2, udp_timeout_unconfirmed=1000)
        for host in range(2):
            self.of(world, host, 1)
        world.shared.set_tunables({"source_conn_prefix": 32})
        assert self.of(world, 0, 2) is self.of(world, 0, 3) is verdicts.TO_REAL_SERVER
        assert self.of(world, 0, 4) is verdicts.SOURCE_LIMIT
        world.sleep(1.2)
        world.assert_empty()

    def test_the_kernel_is_told_who_is_refused_and_who_has_a_session(self) -> None:
        """While it is to drop strays; and whatever happens, until the sessions are over."""
        maps = FakeMaps()
        world = World(plan(with_udp=True), maps, source_conn_max=2, udp_timeout_unconfirmed=1000, strays_in_kernel=0)
        assert [self.of(world, 1, port) for port in range(3)][2] is verdicts.SOURCE_LIMIT
        assert (maps.refused_sources, sum(maps.datagram_clients)) == ({}, 2)
        world.shared.set_tunables({"strays_in_kernel": 1})
        world.put(tcp(client(1), VIP, "S"))
        assert self.of(world, 1, 3) is verdicts.SOURCE_LIMIT
        (value,) = maps.refused_sources.values()
        assert REFUSED_SOURCE.unpack(value)[1] == world.shared.generation[0]
        assert sum(maps.datagram_clients) == 2, "clients of TCP are not counted"
        world.sleep(1.2)
        assert sum(maps.datagram_clients) == 0
