"""A worker ends, and its sessions with it: what both ends hear from the next one, and what nobody can make of that."""

import pytest

from appliance.ipc.plan import Plan
from appliance.model import verdicts
from appliance.model.verdict import Verdict
from appliance.policy.steering import shard_table
from appliance.shard.shard import Shard
from appliance.wire.flow import destination_of, source_of
from appliance.wire.seq import add
from tests.support.addresses import C0, CLIENT, LIP1, R0, RS1, RS2, VIP
from tests.support.lane_maps import FakeMaps
from tests.support.proxied import GET, asks, opens
from tests.support.segments import read_tcp, tcp
from tests.support.world import World, plan

IDLE_S = 900.0
"""How long an established session may be idle, by default."""

MOST_AT_ONCE, PER_S = 500, 1000


def after_a_crash(scene: Plan | None = None, maps: FakeMaps | None = None, /, **tunables: int) -> World:
    """A worker that comes after another one, and knows none of its sessions."""
    return World(scene or plan(has_predecessor=True), maps, **tunables)


def answers(world: World) -> int:
    """How many packets there are for the client, which are taken."""
    count = 0
    while world.last_to(CLIENT):
        world.take(CLIENT)
        count += 1
    return count


@pytest.mark.parametrize(
    ("flags", "data"), [("A", b""), ("A", b"x"), ("PA", b"data"), ("FA", b""), ("FPA", b"end"), ("UA", b"u")]
)
def test_a_client_that_goes_on_is_reset_in_the_number_that_it_waits_for(flags: str, data: bytes) -> None:
    world = after_a_crash()
    assert world.client.sends(flags, seq=C0 + 77, ack=R0 + 5, data=data) is verdicts.LOST_SESSION
    world.client.gets("R", seq=R0 + 5, ack=0, data=b"", source=VIP)
    world.assert_quiet()
    assert world.counter("lost_session") == 1
    world.assert_empty()


def test_a_first_worker_says_nothing() -> None:
    """It has lost nobody's session."""
    world = World()
    assert world.client.sends("PA", seq=C0 + 77, ack=R0 + 5, data=b"data") is verdicts.NO_SESSION
    world.assert_quiet()


@pytest.mark.parametrize("flags", ["R", "RA", "SA"])
def test_nothing_that_no_client_of_a_session_sends_is_answered(flags: str) -> None:
    """A RST answered with a RST could go on for ever; a SYN-ACK is what a stranger's host answers to a forged SYN."""
    world = after_a_crash()
    assert world.client.sends(flags, seq=C0 + 77, ack=R0 + 5) is verdicts.NO_SESSION
    world.assert_quiet()


def test_a_damaged_packet_is_not_answered() -> None:
    world = after_a_crash()
    raw = tcp(CLIENT, VIP, "A", seq=C0, ack=R0)
    assert world.put(raw[:34] + b"\x12\x34" + raw[36:]) is verdicts.NO_SESSION
    world.assert_quiet()


@pytest.mark.parametrize(
    ("destination", "verdict"),
    [
        (VIP[:4] + (81).to_bytes(2, "big"), verdicts.NO_SERVICE),
        (LIP1.packed + (20000).to_bytes(2, "big"), verdicts.NOT_OURS),
    ],
    ids=["no service", "a local address"],
)
def test_only_packets_to_a_service_are_answered(destination: bytes, verdict: Verdict) -> None:
    """A client has no business with a local address."""
    world = after_a_crash()
    assert world.put(tcp(CLIENT, destination, "PA", seq=C0, ack=R0, data=b"data")) is verdict
    world.assert_quiet()


def test_a_source_that_no_client_has_is_not_answered() -> None:
    world = after_a_crash()
    assert world.put(tcp(VIP, VIP, "A", seq=C0, ack=R0)) is verdicts.LAND
    world.assert_quiet()


def test_while_the_host_is_to_answer_the_shard_does_not() -> None:
    world = after_a_crash(defence_tcp_drop=0)
    assert world.client.sends("A", seq=C0, ack=R0) is verdicts.NOT_OURS
    world.assert_quiet()


@pytest.mark.parametrize("idle_s", [IDLE_S, 60.0])
def test_it_ends_when_no_lost_session_could_be_alive_any_more(idle_s: float) -> None:
    world = after_a_crash(tcp_timeout_established=int(1000 * idle_s))
    world.now += idle_s - 0.1
    assert world.client.sends("A", seq=C0, ack=R0) is verdicts.LOST_SESSION
    world.now += 0.1
    assert world.client.sends("A", seq=C0, ack=R0) is verdicts.NO_SESSION


def test_there_is_a_limit() -> None:
    world = after_a_crash()
    given = [world.client.sends("A", seq=C0, ack=turn) for turn in range(3 * MOST_AT_ONCE)]
    assert given.count(verdicts.LOST_SESSION) == world.counter("lost_session") == answers(world) == MOST_AT_ONCE
    world.now += 0.1
    given = [world.client.sends("A", seq=C0, ack=turn) for turn in range(3 * MOST_AT_ONCE)]
    assert abs(given.count(verdicts.LOST_SESSION) - PER_S // 10) <= 1
    assert given[-1] is verdicts.NO_SESSION


def test_no_answer_is_longer_than_what_it_answers() -> None:
    world = after_a_crash()
    question = tcp(CLIENT, VIP, "A", seq=C0, ack=R0)
    world.put(question)
    assert len(world.take(CLIENT)) == len(question) == 40


def test_a_session_that_is_known_never_comes_there() -> None:
    """Also with numbers that nobody has sent."""
    world = after_a_crash()
    world.client.connects(C0, R0)
    assert world.client.sends("A", seq=C0 + 500_000, ack=R0 + 700_000) is verdicts.TO_REAL_SERVER
    assert answers(world) == 0


def test_a_client_that_was_told_may_connect_again_from_the_same_port() -> None:
    world = after_a_crash()
    world.client.sends("PA", seq=C0 + 77, ack=R0 + 5, data=b"data")
    world.client.gets("R")
    world.client.connects(C0 + 5000, R0)


LOCAL = LIP1.packed + (20_000).to_bytes(2, "big")


@pytest.mark.parametrize(("flags", "data"), [("A", b""), ("PA", b"data"), ("FA", b""), ("SA", b"")])
def test_a_real_server_that_goes_on_is_reset_in_the_number_that_it_waits_for(flags: str, data: bytes) -> None:
    world = after_a_crash()
    assert world.put(tcp(RS1, LOCAL, flags, seq=R0, ack=777, data=data)) is verdicts.LOST_SESSION
    told = read_tcp(world.take(RS1))
    assert (told.source, told.destination, told.flags, told.seq, told.ack, told.data) == (LOCAL, RS1, "R", 777, 0, b"")
    world.assert_quiet()


@pytest.mark.parametrize(
    ("source", "destination", "flags"),
    [
        (RS1, LOCAL, "R"),
        (RS1, LOCAL, "RA"),
        (RS1, LOCAL, "S"),
        (RS1[:4] + b"\0\x16", LOCAL, "A"),
        (RS2, LOCAL, "A"),
        (RS1, LOCAL[:4] + (1234).to_bytes(2, "big"), "A"),
    ],
    ids=["RST", "RST and ACK", "SYN", "another port of its host", "no real server of a service", "no port for sessions"],
)
def test_all_else_to_a_local_address_is_left_to_the_host(source: bytes, destination: bytes, flags: str) -> None:
    world = after_a_crash()
    assert world.put(tcp(source, destination, flags, seq=R0, ack=777)) is verdicts.NOT_OURS
    world.assert_quiet()


def test_a_damaged_packet_of_a_real_server_is_left_to_the_host() -> None:
    world = after_a_crash()
    raw = tcp(RS1, LOCAL, "A", seq=R0, ack=777)
    assert world.put(raw[:34] + b"\x12\x34" + raw[36:]) is verdicts.NOT_OURS
    world.assert_quiet()


def test_a_connection_of_the_host_itself_is_not_touched() -> None:
    world = after_a_crash()
    segment = tcp(RS1, LOCAL, "A", seq=R0, ack=777)
    world.host_has = lambda key: key == segment[12:24]
    assert world.put(segment) is verdicts.NOT_OURS
    assert world.put(tcp(RS1, LOCAL[:5] + b"\x21", "A", seq=R0, ack=777)) is verdicts.LOST_SESSION


def test_a_first_worker_leaves_real_servers_to_the_host_and_so_does_one_after_the_time() -> None:
    assert World().put(tcp(RS1, LOCAL, "A", seq=R0, ack=777)) is verdicts.NOT_OURS
    world = after_a_crash()
    world.now += IDLE_S
    assert world.put(tcp(RS1, LOCAL, "A", seq=R0, ack=777)) is verdicts.NOT_OURS
    world.assert_quiet()


def test_both_sides_have_a_limit_of_their_own() -> None:
    world = after_a_crash()
    given = [world.put(tcp(RS1, LOCAL, "A", seq=R0, ack=turn)) for turn in range(MOST_AT_ONCE + 5)]
    assert given == [verdicts.LOST_SESSION] * MOST_AT_ONCE + [verdicts.NOT_OURS] * 5
    assert world.client.sends("A", seq=C0, ack=R0) is verdicts.LOST_SESSION


def test_without_an_answer_of_the_kernel_real_servers_are_left_to_the_host() -> None:
    scene = plan(has_predecessor=True)
    world = World(scene)
    world.shard = Shard(scene, world.shared, world.now)
    assert world.put(tcp(RS1, LOCAL, "A", seq=R0, ack=777)) is verdicts.NOT_OURS


class TestBehindSynproxy:
    """A client's packet may return a cookie, which keeps its meaning."""

    @pytest.mark.parametrize("synproxy", ["always", "auto"])
    @pytest.mark.parametrize("defer", [0, 1])
    @pytest.mark.parametrize("data", [b"", b"data"])
    def test_a_client_whose_session_is_lost_is_told(self, synproxy: str, defer: int, data: bytes) -> None:
        world = after_a_crash(plan(synproxy=synproxy, synproxy_defer=defer, has_predecessor=True))
        assert world.client.sends("A", seq=C0 + 77, ack=R0 + 5, data=data) is verdicts.LOST_SESSION
        world.client.gets("R", seq=R0 + 5)
        world.assert_quiet()
        assert world.counter("synproxy_null_ack") + world.counter("synproxy_bad_ack") == 1

    @pytest.mark.parametrize("synproxy", ["always", "auto"])
    def test_a_cookie_of_the_earlier_worker_still_opens_a_session(self, synproxy: str) -> None:
        before = World(plan(synproxy=synproxy), tcp_syncookies=2)
        cookie = asks(before).seq
        world = after_a_crash(plan(synproxy=synproxy, has_predecessor=True))
        world.client.isn = C0
        assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) is verdicts.TO_REAL_SERVER
        world.rs.gets("S", seq=C0)

    def test_a_service_without_synproxy_has_sent_no_cookies(self) -> None:
        cookie = asks(World(plan(synproxy="always"))).seq
        world = after_a_crash()
        assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) is verdicts.LOST_SESSION

    def test_after_the_life_of_a_cookie_a_service_in_auto_does_not_look_for_one(self) -> None:
        world = after_a_crash(plan(synproxy="auto", has_predecessor=True))
        world.now += 240
        world.client.sends("PA", seq=C0 + 1, ack=5, data=GET)
        assert world.counter("synproxy_bad_ack") == 0

    def test_a_client_that_has_proven_itself_and_sent_nothing_yet_is_left_alone(self) -> None:
        """Its ACK carries a cookie, and its data will open the session."""
        world = after_a_crash(plan(synproxy="always", has_predecessor=True))
        cookie = asks(world).seq
        for flags in ("A", "FA"):
            assert world.client.sends(flags, seq=C0 + 1, ack=cookie + 1) is verdicts.NULL_COOKIE_ACK
        assert world.client.sends("A", seq=C0, ack=cookie + 1) is verdicts.KEEPALIVE_ANSWERED
        assert answers(world) == 1
        assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) is verdicts.TO_REAL_SERVER

    @pytest.mark.parametrize("synproxy", ["never", "always"])
    def test_there_is_one_answer_also_with_abort_on_overflow(self, synproxy: str) -> None:
        world = after_a_crash(plan(synproxy=synproxy, has_predecessor=True), tcp_abort_on_overflow=1)
        assert world.client.sends("PA", seq=C0 + 77, ack=R0 + 5, data=b"data") is verdicts.LOST_SESSION
        assert answers(world) == 1

    def test_a_handshake_that_was_under_way_begins_once_more(self) -> None:
        """The client sends its data again, which still carries the cookie."""
        before = World(plan(synproxy="always"))
        cookie = asks(before).seq
        assert before.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) is verdicts.TO_REAL_SERVER
        world = after_a_crash(plan(synproxy="always", has_predecessor=True))
        world.client.isn = C0
        assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) is verdicts.TO_REAL_SERVER
        world.rs.gets("S", seq=C0)
        world.rs.sends("SA", seq=R0, ack=C0 + 1)
        world.rs.gets("PA", seq=C0 + 1, ack=R0 + 1, data=GET)


class TestBesideTheLane:
    """Sessions in the lane outlive the worker. After a change of the number of shards, a packet of theirs may come to a worker
    that does not have them."""

    @staticmethod
    def moved(world: World) -> World:
        """The world with its only session, and a worker of another shard than that which the session belongs to."""
        (session,) = world.sessions()
        owner = shard_table(2)[session.local_port & 0xFF]
        scene = plan(shard=1 - owner, shards=2, has_predecessor=True, synproxy=world.plan.services[0].synproxy)
        other = after_a_crash(scene, world.maps)
        other.carries = lambda: False
        other.shard.adopt(other.now)
        assert not other.sessions()
        return other

    @pytest.mark.parametrize("abort", [0, 1])
    def test_a_packet_of_a_session_of_another_shard_is_not_answered(self, abort: int) -> None:
        world = World(None, FakeMaps())
        world.client.connects(C0, R0)
        other = self.moved(world)
        other.shared.set_tunables({"tcp_abort_on_overflow": abort})
        assert other.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"data") is verdicts.NO_SESSION
        other.assert_quiet()

    def test_nor_is_one_of_a_proxied_session(self) -> None:
        world = World(plan(synproxy="always"), FakeMaps())
        cookie = opens(world)
        other = self.moved(world)
        assert other.client.sends("A", seq=C0 + 90, ack=cookie + 1) is verdicts.NULL_COOKIE_ACK
        assert other.client.sends("PA", seq=C0 + 90, ack=cookie + 900, data=b"data") is verdicts.BAD_COOKIE
        other.assert_quiet()

    def test_other_clients_are_told_beside_it(self) -> None:
        world = World(None, FakeMaps())
        world.client.connects(C0, R0)
        other = self.moved(world)
        stranger = CLIENT[:4] + (999).to_bytes(2, "big")
        assert other.put(tcp(stranger, VIP, "A", seq=C0, ack=R0)) is verdicts.LOST_SESSION

    def test_the_session_of_a_service_that_is_out_of_the_lane_is_lost_and_told(self) -> None:
        world = World(None, FakeMaps())
        world.inside.service("tcp", VIP).lane = False  # type: ignore[union-attr]
        world.client.connects(C0, R0)
        after = after_a_crash(None, world.maps)
        after.shard.adopt(after.now)
        assert after.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"data") is verdicts.LOST_SESSION

    def test_an_adopted_session_goes_on(self) -> None:
        world = World(None, FakeMaps())
        world.client.connects(C0, R0)
        (session,) = world.sessions()
        after = after_a_crash(None, world.maps)
        after.shard.adopt(after.now)
        after.carries = lambda: False
        assert after.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"data") is verdicts.TO_REAL_SERVER
        rs, local = source_of(session.server_key), destination_of(session.server_key)
        assert after.put(tcp(rs, local, "A", seq=R0 + 1, ack=add(session.isn, 5))) is verdicts.TO_CLIENT
        assert after.counter("lost_session") == 0
