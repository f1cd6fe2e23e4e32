"""Services in "auto" for which the kernel answers: when they engage and disengage, and who answers a SYN then."""

from collections.abc import Iterator
from dataclasses import replace
from struct import pack_into

import pytest

from appliance.ipc.lane_layout import LATCH
from appliance.ipc.plan import Plan
from appliance.model import verdicts
from appliance.model.syn_offer import SynOffer
from appliance.model.verdict import Verdict
from appliance.proxy.cookie import COOKIE_LIFE_S, CookieJar
from appliance.wire.flow import flow_key
from tests.support.addresses import C0, CLIENT, VIP
from tests.support.lane_maps import FakeMaps
from tests.support.proxied import GET, proves
from tests.support.segments import tcp
from tests.support.world import World, plan

AUTO = plan(synproxy="auto", synproxy_defer=0)
BACKLOG, LIFE_S = 16, 2.0


class Scene:
    """A shard with a lane, whose kernel answers when the test says so."""

    def __init__(self, scene: Plan = AUTO, **tunables: int) -> None:
        self.tunables = {"tcp_max_syn_backlog": BACKLOG, "tcp_timeout_syn_recv": int(1000 * LIFE_S), "synproxy_in_kernel": 1}
        self.maps = FakeMaps()
        self.world = World(scene, self.maps, **self.tunables | tunables)
        self._port = 20_000

    def latch(self, number: int = 0) -> tuple[int, int]:
        """How many cookies were sent there, and whether it is open."""
        cookies, is_open = LATCH.unpack_from(self.maps.latches, number * LATCH.size)[:2]
        return cookies, is_open

    def kept(self, number: int = 0) -> tuple[int, float]:
        """Whether a latch is kept, and until when a client may have a cookie, in seconds."""
        _, _, is_kept, until_ns, _, _ = LATCH.unpack_from(self.maps.latches, number * LATCH.size)
        return is_kept, until_ns / 1e9

    def answer(self, cookies: int, number: int = 0) -> None:
        """The kernel answers so many SYNs."""
        before, is_open = self.latch(number)
        assert is_open
        pack_into("<Q", self.maps.latches, number * LATCH.size, before + cookies)

    def syn(self) -> Verdict:
        """A SYN of another client comes up."""
        self._port += 1
        return self.world.put(tcp(self.client, VIP, "S", seq=C0))

    @property
    def client(self) -> bytes:
        return CLIENT[:4] + self._port.to_bytes(2, "big")

    def engage(self) -> None:
        assert [self.syn() for _ in range(BACKLOG)] == [verdicts.TO_REAL_SERVER] * BACKLOG
        assert self.latch() == (0, 0)
        assert self.syn() is verdicts.COOKIE_SENT
        assert self.latch() == (0, 1)

    def flood(self, seconds: float, per_s: int) -> None:
        """So many SYNs come each second, and the kernel answers them."""
        for _ in range(round(10 * seconds)):
            self.answer(per_s // 10)
            self.world.sleep(0.1)

    def returns_cookie(self, sent_at: float | None = None) -> Verdict:
        """Another client returns a cookie, that of this moment or an earlier one, and gives its connection up."""
        self._port += 1
        jar = CookieJar(bytes.fromhex(self.world.plan.cookie_secret))
        now = self.world.now if sent_at is None else sent_at
        cookie = jar.bake(flow_key(self.client, VIP), C0, SynOffer(1460, 7, sack=True), now)
        verdict = self.world.put(tcp(self.client, VIP, "PA", seq=C0 + 1, ack=cookie + 1, data=GET))
        self.world.put(tcp(self.client, VIP, "R", seq=C0 + 1 + len(GET), ack=cookie + 1))
        return verdict

    def edges(self) -> tuple[int, int]:
        """How often the service has engaged and disengaged."""
        counter = self.world.counter
        return counter("syncookies_engaged"), counter("syncookies_disengaged")


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    scene.engage()
    yield scene
    assert scene.edges() == tuple(scene.world.shared.cookie_edges(0, 0))


def test_while_the_kernel_answers_a_flood_it_neither_flaps_nor_ends(scene: Scene) -> None:
    """Its half-open sessions are over long before that."""
    scene.flood(10 * LIFE_S, per_s=1000)
    assert (scene.edges(), scene.world.sessions()) == ((1, 0), [])
    assert scene.syn() is verdicts.COOKIE_SENT, "one that comes up all the same"


def test_after_the_flood_it_disengages_without_any_packet(scene: Scene) -> None:
    scene.flood(2 * LIFE_S, per_s=1000)
    scene.world.sleep(LIFE_S / 4 - 0.2)
    assert scene.edges() == (1, 0), "three quarters of the backlog are not free yet"
    scene.world.sleep(0.4)
    assert (scene.edges(), scene.latch()[1]) == ((1, 1), 0)
    assert scene.syn() is verdicts.TO_REAL_SERVER


def test_without_a_flood_it_ends_when_the_half_open_sessions_are_over(scene: Scene) -> None:
    scene.world.sleep(LIFE_S - 0.3)
    assert scene.edges() == (1, 0)
    scene.world.sleep(0.6)
    assert (scene.edges(), scene.latch()[1]) == ((1, 1), 0)


def test_half_open_sessions_go_on_when_it_engages(scene: Scene) -> None:
    assert scene.world.by_state() == {"syn_recv": BACKLOG}


def test_clients_that_return_their_cookies_do_not_keep_it_engaged(scene: Scene) -> None:
    """However many there are. These are more than its backlog has room for in the long run."""
    turns = 0
    while scene.latch()[1] and turns < 100:
        scene.answer(5)
        for _ in range(5):
            scene.returns_cookie()
        scene.world.sleep(0.1)
        turns += 1
    assert scene.world.counter("synproxy_ok_ack") == 5 * turns
    assert turns < 10 * LIFE_S + 5


def test_a_client_that_comes_back_on_its_old_session_has_returned_its_cookie_as_well() -> None:
    world = Scene(tcp_syncookies=2).world
    for isn in (C0, C0 + 999_999):
        proves(world, seq=isn)
        world.rs.sends("RA", ack=isn + 1)
        assert world.by_state() == {"close": 1}
        world.client.gets("R")
    service = world.inside.service("tcp", VIP)
    assert service is not None
    assert service.latch is not None
    assert (service.latch.proven, world.counter("synproxy_ok_ack")) == (2, 2)


def test_a_cookie_of_the_kernel_is_good_after_it_has_disengaged(scene: Scene) -> None:
    scene.flood(COOKIE_LIFE_S + 5, per_s=100)
    sent_at = scene.world.now
    scene.world.sleep(2 * LIFE_S)
    assert scene.edges() == (1, 1)
    scene.world.sleep(COOKIE_LIFE_S - 61 - 2 * LIFE_S)
    assert scene.returns_cookie(sent_at) is verdicts.TO_REAL_SERVER
    scene.world.sleep(70)
    assert scene.returns_cookie(sent_at) is verdicts.NO_SESSION, "nobody can have one any more"


def test_tcp_syncookies_ends_it_at_once_and_cookies_for_everybody_do_not(scene: Scene) -> None:
    scene.world.shared.set_tunables({"tcp_syncookies": 2})
    scene.world.sleep(3 * LIFE_S)
    assert (scene.edges(), scene.latch()[1]) == ((1, 0), 1)
    scene.world.shared.set_tunables({"tcp_syncookies": 1})
    scene.flood(0.3, per_s=1000)
    scene.world.shared.set_tunables({"tcp_syncookies": 0})
    scene.world.sleep(0.2)
    assert (scene.edges(), scene.latch()[1]) == ((1, 1), 0)


def test_a_service_that_leaves_auto_or_goes_is_not_answered_for(scene: Scene) -> None:
    scene.world.change(plan(synproxy="never"))
    assert scene.latch()[1] == 0
    scene.world.change(AUTO)
    scene.world.sleep(3 * LIFE_S)
    assert scene.latch()[1] == 0
    scene.syn()
    assert scene.latch()[1] == 0


def test_a_service_that_leaves_the_lane_is_not_answered_for(scene: Scene) -> None:
    """It is engaged all the same, and answers by itself."""
    (web,) = AUTO.services
    scene.world.change(replace(AUTO, services=(replace(web, lane=False),)))
    assert scene.latch()[1] == 0
    assert scene.syn() is verdicts.COOKIE_SENT
    scene.world.change(AUTO)
    assert (scene.edges(), scene.latch()[1]) == ((1, 0), 1)


def test_a_shard_that_ends_closes_its_latches_and_so_does_the_one_that_follows(scene: Scene) -> None:
    scene.world.shard.close()
    assert scene.latch()[1] == 0
    for number in (0, 9):
        LATCH.pack_into(scene.maps.latches, number * LATCH.size, 5, 1, 1, 0, 0, b"")
    World(AUTO, scene.maps)
    assert [scene.latch(number) for number in (0, 9)] == [(5, 0), (5, 0)]


def test_another_latch_goes_on_where_the_one_before_was(scene: Scene) -> None:
    """Names decide which service has which: here another one comes before it."""
    scene.flood(2 * LIFE_S, per_s=1000)
    (web,) = AUTO.services
    mail = replace(web, name="mail", port=25, real_servers=tuple(replace(server, slot=1) for server in web.real_servers))
    scene.world.change(replace(AUTO, services=(web, mail)))
    assert [scene.latch(number)[1] for number in range(3)] == [0, 1, 0]
    scene.world.sleep(LIFE_S / 4 - 0.3)
    assert (scene.edges(), scene.latch(1)[1]) == ((1, 0), 1)
    scene.answer(1000, number=1)
    scene.world.sleep(LIFE_S / 4 - 0.2)
    assert scene.edges() == (1, 0)
    scene.world.sleep(0.6)
    assert (scene.edges(), scene.latch(1)[1]) == ((1, 1), 0)


def test_each_shard_has_its_own_latch_and_leaves_those_of_others_alone() -> None:
    scene = Scene(plan(synproxy="auto", shard=1, shards=2), tcp_max_syn_backlog=2 * BACKLOG)
    LATCH.pack_into(scene.maps.latches, 0, 0, 1, 0, 0, 0, b"")
    for _ in range(BACKLOG + 1):
        scene.syn()
    assert (scene.latch(0), scene.latch(1)) == ((0, 1), (0, 1))
    scene.world.sleep(3 * LIFE_S)
    assert (scene.latch(0), scene.latch(1)) == ((0, 1), (0, 0))


def test_where_the_workers_answer_it_disengages_in_the_same_way() -> None:
    scene = Scene(synproxy_in_kernel=0)
    scene.engage()
    scene.world.sleep(LIFE_S + 0.3)
    assert scene.edges() == (1, 1)
    world = World(AUTO, tcp_max_syn_backlog=1, tcp_timeout_syn_recv=1000)
    for port in (1, 2):
        world.put(tcp(CLIENT[:4] + port.to_bytes(2, "big"), VIP, "S", seq=C0))
    world.sleep(1.5)
    assert (world.counter("syncookies_engaged"), world.counter("syncookies_disengaged")) == (1, 1)


def test_no_more_are_looked_at_than_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """By turns: each one ends a little later."""
    monkeypatch.setattr("appliance.proxy.engagement._LOOKED_AT_ONCE", 1)
    (web,) = AUTO.services
    services = [
        replace(web, name=f"at-{port}", port=port, real_servers=tuple(replace(server, slot=slot) for server in web.real_servers))
        for slot, port in enumerate(range(81, 85))
    ]
    world = World(replace(AUTO, services=tuple(services)), FakeMaps(), tcp_max_syn_backlog=1, tcp_timeout_syn_recv=1000)
    for service in services:
        for port in (1, 2):
            world.put(tcp(CLIENT[:4] + port.to_bytes(2, "big"), VIP[:4] + service.port.to_bytes(2, "big"), "S", seq=C0))
    assert world.counter("syncookies_engaged") == len(services)
    world.shared.set_tunables({"tcp_syncookies": 0})
    ended = []
    for _ in services:
        world.sleep(0.1)
        ended.append(world.counter("syncookies_disengaged"))
    assert ended == [1, 2, 3, 4]


def test_the_latch_says_until_when_a_client_may_have_a_cookie_of_the_shard() -> None:
    """From before its first one is sent: the kernel judges by it what comes back."""
    scene = Scene(synproxy_in_kernel=0)
    assert scene.kept() == (1, scene.world.now), "none from before"
    scene.engage()
    assert scene.kept() == (1, scene.world.now + COOKIE_LIFE_S)
    scene.world.sleep(1.0)
    assert scene.kept()[1] == scene.world.now - 1.0 + COOKIE_LIFE_S
    scene.world.shard.close()
    assert scene.kept()[0] == 0


def test_while_the_kernel_answers_that_time_goes_on(scene: Scene) -> None:
    scene.world.sleep(1.2)
    assert scene.kept()[1] > scene.world.now + COOKIE_LIFE_S


def test_a_shard_that_follows_another_one_expects_cookies_of_it() -> None:
    scene = Scene(plan(synproxy="auto", has_predecessor=True))
    assert scene.kept() == (1, scene.world.now + COOKIE_LIFE_S)
    (web,) = AUTO.services
    mail = replace(web, name="mail", port=25, real_servers=tuple(replace(server, slot=1) for server in web.real_servers))
    scene.world.change(replace(AUTO, services=(web, mail)))
    assert [scene.kept(number) for number in range(2)] == 2 * [(1, scene.world.now + COOKIE_LIFE_S)]


def test_a_latch_that_no_service_has_any_more_says_nothing(scene: Scene) -> None:
    (web,) = AUTO.services
    scene.world.change(replace(AUTO, services=(replace(web, lane=False),)))
    assert scene.kept()[0] == 0
    scene.world.change(AUTO)
    assert scene.kept() == (1, scene.world.now + COOKIE_LIFE_S), "as before"
