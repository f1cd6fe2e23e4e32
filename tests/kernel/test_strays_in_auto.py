"""Packets of no session to a service in "auto": the kernel ends them as Python does, by what the latch of their shard says."""

import time
from collections.abc import Iterator

import pytest

from appliance.edge.lane_maps import KernelLaneMaps
from appliance.ipc.lane_layout import LATCHES
from appliance.ipc.stray_rule import StrayRule
from appliance.model.counters import BAD_ACK
from appliance.model.syn_cookie import SLOT_S, SLOTS, epoch_of
from appliance.model.syn_offer import SynOffer
from appliance.model.verdict import Verdict
from appliance.model.verdicts import BAD_COOKIE, COOKIE_SENT, HELD, NO_SESSION, TO_REAL_SERVER
from appliance.policy.defence import TCP
from appliance.policy.steering import HASH_SEED, shard_table
from appliance.proxy.cookie import CookieJar
from appliance.shard.shard import Shard
from appliance.wire.flow import flow_key, pack_endpoint
from appliance.wire.seq import add
from tests.kernel.lane import DROPPED, UP, Judged, Lane
from tests.support.addresses import C0, CLIENT, CLIENT_ADDRESS, VIP
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN
from tests.support.world import World, plan

BACKLOG, LIFE_S = 16, SLOT_S * SLOTS
RULE = StrayRule(cookies=False, defers=False, drops=True, reserved=0, allowance=0, first_latch=0)


class Scene:
    """A shard with its maps in the kernel, and the kernel's rule for its service in "auto"."""

    def __init__(self, lane: Lane, ago_s: float = 0.0, *, has_predecessor: bool = False, **tunables: int) -> None:
        """The shard begins so many seconds ago."""
        self.lane = lane
        scene = plan(synproxy="auto", synproxy_defer=0, has_predecessor=has_predecessor)
        maps = KernelLaneMaps(lane.worker_fds())
        self.world = World(scene, tcp_max_syn_backlog=BACKLOG, **tunables)
        self.world.now = time.monotonic() - ago_s
        self.world.shard = Shard(scene, self.world.shared, self.world.now, maps)
        lane.set_stray_rule(VIP, RULE)
        self.secret = bytes.fromhex(self.world.plan.cookie_secret)
        epoch = epoch_of(time.monotonic())
        for each in range(max(0, epoch - 1), epoch + 2):
            lane.set_cookie_key(self.secret, each)

    def engage(self) -> None:
        """Fill the backlog, so that the next SYN is answered with a cookie."""
        syns = [tcp(self.client(1000 + port), VIP, "S", seq=C0) for port in range(BACKLOG + 1)]
        verdicts = [self.world.shard.handle(syn, self.world.now) for syn in syns]
        assert verdicts == [TO_REAL_SERVER] * BACKLOG + [COOKIE_SENT]

    def come_to_now(self) -> None:
        """Half-open sessions end meanwhile, and so does the need for cookies, of which the shard knows within seconds."""
        begun, now = self.world.now, time.monotonic()
        looks = [begun + since_s for since_s in range(1, 6) if begun + since_s < now - 1]
        for self.world.now in (*looks, now - 0.4, now - 0.2, now):
            while self.world.shard.on_tick(self.world.now, 1000):
                pass

    def client(self, port: int = 40000) -> bytes:
        return pack_endpoint(CLIENT_ADDRESS, port)

    def cookie(self, client: bytes) -> int:
        return CookieJar(self.secret).bake(flow_key(client, VIP), C0, SynOffer(1460, 7, sack=True), self.world.now)

    def ends_as_in_python(self, raw: bytes) -> tuple[Verdict, Judged]:
        """Both verdicts on a packet, and neither has changed it."""
        judged = self.lane.put(raw, 0)
        assert judged.raw == raw
        return self.world.shard.handle(raw, time.monotonic()), judged


@pytest.fixture(autouse=True)
def closed_again(lane: Lane) -> Iterator[None]:
    lane.set()
    lane.clear()
    lane.forget_known_clients()
    lane.latches[:] = bytes(len(lane.latches))
    lane.set_steering(HASH_SEED, shard_table(1))
    yield
    lane.clear()
    lane.latches[:] = bytes(len(lane.latches))
    lane.set_stray_rule(VIP, None)
    lane.forget_cookie_keys()
    lane.forget_known_clients()


def wrong(flags: str = "PA", client: bytes = CLIENT) -> bytes:
    return tcp(client, VIP, flags, seq=C0 + 1, ack=77, data=b"data")


def test_while_nobody_has_a_cookie_a_stray_is_one_as_without_synproxy(lane: Lane) -> None:
    scene = Scene(lane)
    for flags in ("A", "PA", "FA", "R", "RA", "SA"):
        before = scene.world.counter("defence_tcp_drop")
        verdict, judged = scene.ends_as_in_python(wrong(flags))
        assert (verdict, judged.verdict, judged.counted) == (NO_SESSION, DROPPED, {"stray": 1}), flags
        assert scene.world.counter("defence_tcp_drop") == before + 1


@pytest.mark.parametrize(("ago_s", "is_over"), [(0.5, False), (10, False), (LIFE_S - 20, False), (LIFE_S + 20, True)])
def test_once_a_client_was_sent_a_cookie_each_may_return_one_for_as_long_as_it_is_good(
    lane: Lane, ago_s: float, is_over: bool
) -> None:
    """Also when the service has disengaged meanwhile."""
    scene = Scene(lane, ago_s, tcp_timeout_syn_recv=3000)
    scene.engage()
    assert lane.latch(0)["is_open"]
    scene.come_to_now()
    assert lane.latch(0)["is_open"] == (ago_s <= 1)
    verdict, judged = scene.ends_as_in_python(wrong())
    wanted = (NO_SESSION, {"stray": 1}) if is_over else (BAD_COOKIE, {"bad_cookie": 1})
    assert (verdict, judged.counted) == wanted
    verdict, judged = scene.ends_as_in_python(wrong("R"))
    assert (verdict, judged.counted) == (NO_SESSION, {"stray": 1}), "no reset returns a cookie"
    if not is_over:
        assert scene.world.shared.table(0, "ext")[BAD_ACK] == 1
        assert scene.world.shared.table(0, "ext")[TCP.place] == 1


def test_a_client_that_returns_its_cookie_gets_its_session(lane: Lane) -> None:
    """Its next packets go up as well, while the shard asks the real server."""
    scene = Scene(lane)
    scene.engage()
    client = scene.client(1000 + BACKLOG)
    cookie = scene.cookie(client)
    first = tcp(client, VIP, "A", seq=C0 + 1, ack=add(cookie, 1))
    second = tcp(client, VIP, "PA", seq=C0 + 1, ack=add(cookie, 1), data=b"more")
    assert scene.ends_as_in_python(first)[0] is TO_REAL_SERVER
    verdict, judged = scene.ends_as_in_python(second)
    assert (verdict, judged.verdict) == (HELD, UP)


def test_a_shard_that_follows_another_one_may_get_cookies_of_it(lane: Lane) -> None:
    """For as long as these are good. Its predecessor's sessions may be lost, so some packets have an answer."""
    scene = Scene(lane, has_predecessor=True)
    assert lane.put(wrong(), 0).counted == {"bad_cookie": 1}
    assert scene.world.shard.handle(wrong("A"), time.monotonic()).name in ("bad_cookie", "lost_session")
    Scene(lane, LIFE_S + 20, has_predecessor=True)
    assert lane.put(wrong(), 0).counted == {"stray": 1}


def test_all_go_up_while_the_shard_is_not_there(lane: Lane) -> None:
    scene = Scene(lane)
    assert lane.put(wrong(), 0).counted == {"stray": 1}
    scene.world.shard.close()
    assert lane.put(wrong(), 0).counted == {"up_no_session": 1}


def test_it_is_the_latch_of_the_clients_shard(lane: Lane) -> None:
    lane.set_stray_rule(VIP, RULE._replace(first_latch=10))
    lane.set_steering(HASH_SEED, shard_table(2))
    lane.set_latch(10, is_open=False, is_kept=True)
    clients = [pack_endpoint(CLIENT_ADDRESS, port) for port in range(2000, 2100)]
    counted = [lane.put(wrong(client=client), 0).counted for client in clients]
    assert 20 < counted.count({"stray": 1}) < 80
    assert counted.count({"stray": 1}) + counted.count({"up_no_session": 1}) == len(clients)
    lane.set_stray_rule(VIP, RULE._replace(first_latch=LATCHES))
    assert lane.put(wrong(), 0).counted == {"up_no_session": 1}, "one that is none"


def test_a_cookie_of_the_kernel_is_good_as_long(lane: Lane) -> None:
    """Whatever the shard says, which hears of it later."""
    scene, now = Scene(lane), time.monotonic()
    for last_cookie, wanted in ((now - 1, "bad_cookie"), (now - LIFE_S + 20, "bad_cookie"), (now - LIFE_S - 1, "stray")):
        lane.set_latch(0, is_open=False, is_kept=True, last_cookie=last_cookie)
        assert scene.lane.put(wrong(), 0).counted == {wanted: 1}
    lane.set_latch(0, is_open=True, is_kept=True)
    assert lane.put(wrong(), 0).counted == {"bad_cookie": 1}


def test_a_syn_is_not_judged_by_it(lane: Lane) -> None:
    scene = Scene(lane)
    assert scene.lane.put(tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN), 0).verdict == UP
