"""Cookies that the kernel has sent: no shard has seen their SYNs, and each knows them all the same."""

from appliance.model import verdicts
from appliance.model.syn_offer import SynOffer
from appliance.proxy.cookie import COOKIE_LIFE_S, CookieJar
from appliance.wire.flow import flow_key
from tests.support.addresses import C0, CLIENT, VIP
from tests.support.lane_maps import FakeMaps
from tests.support.proxied import GET
from tests.support.world import World, plan

AUTO = plan(synproxy="auto", synproxy_defer=0)


def kernel_cookie(world: World) -> int:
    """The cookie in the kernel's answer to a client's SYN at this moment."""
    jar = CookieJar(bytes.fromhex(world.plan.cookie_secret))
    return jar.bake(flow_key(CLIENT, VIP), C0, SynOffer(1460, 7, True), world.now)


def returns(world: World, cookie: int) -> object:
    return world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET)


def test_a_service_that_always_asks_knows_them() -> None:
    world = World(plan(synproxy="always"), FakeMaps())
    assert returns(world, kernel_cookie(world)) is verdicts.TO_REAL_SERVER


def test_in_auto_they_are_good_from_the_first_one_while_cookies_are_for_everybody() -> None:
    world = World(AUTO, FakeMaps(), tcp_syncookies=2, synproxy_in_kernel=1)
    assert returns(world, kernel_cookie(world)) is verdicts.TO_REAL_SERVER


def test_in_auto_they_stay_good_when_cookies_are_for_everybody_no_more() -> None:
    world = World(AUTO, FakeMaps(), tcp_syncookies=2, synproxy_in_kernel=1)
    world.sleep(1)
    cookie = kernel_cookie(world)
    world.shared.set_tunables({"tcp_syncookies": 1})
    world.sleep(100)
    assert returns(world, cookie) is verdicts.TO_REAL_SERVER


def test_in_auto_a_stray_packet_is_no_bad_cookie_once_nobody_can_have_one() -> None:
    world = World(AUTO, FakeMaps(), tcp_syncookies=2, synproxy_in_kernel=1)
    world.sleep(1)
    world.shared.set_tunables({"tcp_syncookies": 1})
    assert returns(world, 77) is verdicts.BAD_COOKIE
    world.sleep(COOKIE_LIFE_S + 3)
    assert returns(world, 77) is verdicts.NO_SESSION


def test_they_stay_good_when_the_service_asks_nobody_any_more() -> None:
    """What its clients have is a connection for them."""
    world = World(plan(synproxy="always", synproxy_defer=0), FakeMaps(), synproxy_in_kernel=1)
    world.sleep(1)
    cookie = kernel_cookie(world)
    world.shard.change_services(plan(synproxy="never").services)
    world.sleep(100)
    assert returns(world, cookie) is verdicts.TO_REAL_SERVER


def test_in_auto_there_are_none_while_the_workers_answer() -> None:
    world = World(AUTO, FakeMaps(), tcp_syncookies=2, synproxy_in_kernel=0)
    assert returns(world, kernel_cookie(world)) is verdicts.NO_SESSION


def test_without_a_lane_the_kernel_sends_none() -> None:
    world = World(AUTO, tcp_syncookies=2, synproxy_in_kernel=1)
    assert returns(world, kernel_cookie(world)) is verdicts.NO_SESSION
