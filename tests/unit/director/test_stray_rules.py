"""director/stray_rules.py without a kernel: for which services the kernel judges packets of no session, and how."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from appliance.director.stray_rules import ALLOWANCE, StrayRules
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.lane_layout import NO_LATCH, STRAY_RULE, front_door_key
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.ipc.stray_rule import StrayRule
from appliance.model.tunables import TUNABLES

WEB, MAIL, DNS = (front_door_key(bytes((203, 0, 113, 10)), port) for port in (80, 25, 53))


class Kernel:
    """As `edge.lane_kernel.LaneKernel`, in memory."""

    def __init__(self) -> None:
        self.rules: dict[bytes, bytes] = {}
        self.refuses = False
        self.steered = 0

    def steer(self) -> None:
        assert not self.rules or self.steered
        self.steered += 1

    def put_of_services(self, name: str, values: Mapping[bytes, bytes]) -> None:
        assert name == "stray_rules"
        if self.refuses:
            raise EdgeError("cannot write: no")
        self.rules |= values

    def remove_of_services(self, name: str, keys: Sequence[bytes]) -> None:
        assert name == "stray_rules"
        for key in keys:
            del self.rules[key]


class Scene:
    """The rules, their kernel, and the tunables."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        self.rules = StrayRules(lambda _: self.kernel.steer())
        self.as_kernel = cast("LaneKernel", self.kernel)
        self.tunables = {name: tunable.default for name, tunable in TUNABLES.items()} | {
            "synproxy_in_kernel": 1,
            "strays_in_kernel": 0,
        }
        self.set()

    def set(self, **tunables: int) -> None:
        self.tunables |= tunables
        self.rules.put_tunables(self.as_kernel, self.tunables.__getitem__)

    def put(self, *services: ServicePlan) -> None:
        self.narrow(*services)
        self.rules.widen(self.as_kernel)

    def narrow(self, *services: ServicePlan) -> None:
        """Each service in "auto" has the latch that its port says."""
        latches = {service.name: service.port for service in services if service.synproxy == "auto"}
        self.rules.narrow(self.as_kernel, services, latches)

    def rule(self, key: bytes = WEB) -> StrayRule:
        return StrayRule(*STRAY_RULE.unpack(self.kernel.rules[key]))


@pytest.fixture
def scene() -> Scene:
    return Scene()


def service(port: int = 80, synproxy: str = "always", vip: str = "203.0.113.10", **more: Any) -> ServicePlan:
    servers = (RealServerPlan("192.0.2.101", 8080, 1, 0),)
    return ServicePlan(f"at-{port}", vip, port, "rr", ("192.0.2.10",), servers, synproxy=synproxy, **more)


def test_a_service_whose_clients_all_have_cookies_has_a_rule(scene: Scene) -> None:
    scene.put(service(80), service(25, "auto"), service(53, "never"), service(81, protocol="udp", synproxy="never"))
    assert scene.kernel.rules.keys() == {WEB, MAIL}
    auto = StrayRule(cookies=False, defers=True, drops=False, reserved=0, allowance=ALLOWANCE, first_latch=25)
    assert scene.rule(MAIL) == auto, "its latches say whether its clients may have one"
    scene.set(tcp_syncookies=2)
    assert scene.kernel.rules.keys() == {WEB, MAIL}
    assert scene.rule(MAIL).first_latch == NO_LATCH, "each of its clients may have one"
    scene.set(synproxy_in_kernel=0)
    assert scene.kernel.rules == {}
    scene.set(synproxy_in_kernel=1)
    assert scene.kernel.steered


def test_limits_of_a_service_change_nothing(scene: Scene) -> None:
    """They are for new sessions."""
    scene.put(service(80, guarded=True))
    assert scene.kernel.rules.keys() == {WEB}


def test_a_rule_is_switched_off_and_on_by_a_tunable(scene: Scene) -> None:
    scene.put(service())
    scene.set(synproxy_in_kernel=0)
    assert scene.kernel.rules == {}
    scene.set(synproxy_in_kernel=1)
    assert scene.kernel.rules.keys() == {WEB}


def test_services_without_cookies_have_one_while_strays_end_in_the_kernel(scene: Scene) -> None:
    scene.put(service(80), service(25, "auto"), service(53, "never"))
    drops = StrayRule(cookies=False, defers=False, drops=True, reserved=0, allowance=ALLOWANCE)
    for in_kernel in (0, 1):
        scene.set(strays_in_kernel=1, synproxy_in_kernel=in_kernel)
        assert scene.kernel.rules.keys() == {WEB, MAIL, DNS}
        assert scene.rule(DNS) == drops
        assert scene.rule(MAIL) == drops._replace(defers=True, first_latch=25)
        assert scene.rule(WEB) == drops._replace(cookies=True, defers=True)
    assert scene.rule(WEB) == drops._replace(cookies=True, defers=True)
    assert scene.rule(DNS) == drops, "its clients have no cookies, whatever is awaited elsewhere"
    scene.set(defence_tcp_drop=0)
    assert scene.rule(WEB) == drops._replace(cookies=True, defers=True, drops=False)
    assert scene.kernel.rules.keys() == {WEB, MAIL}, "without the defence they are for the host, but for right cookies"
    assert not scene.rule(MAIL).drops
    scene.set(synproxy_in_kernel=0)
    assert not scene.kernel.rules


def test_one_in_auto_without_a_latch_has_none(scene: Scene) -> None:
    """There are only so many, and nobody says whether its clients may have cookies."""
    scene.set(strays_in_kernel=1)
    scene.rules.narrow(scene.as_kernel, [service(25, "auto")], {})
    scene.rules.widen(scene.as_kernel)
    assert scene.kernel.rules == {}


def test_one_with_another_latch_is_another_one(scene: Scene) -> None:
    """The shards do not keep that one yet."""
    scene.set(strays_in_kernel=1)
    scene.put(service(25, "auto"))
    scene.rules.narrow(scene.as_kernel, [service(25, "auto")], {"at-25": 7})
    assert scene.kernel.rules == {}
    scene.rules.widen(scene.as_kernel)
    assert scene.rule(MAIL).first_latch == 7


@pytest.mark.parametrize("before", ["auto", "always"])
def test_a_service_that_had_cookies_in_this_run_has_none(scene: Scene, before: str) -> None:
    scene.set(strays_in_kernel=1)
    scene.put(service(80, before))
    scene.put(service(80, "never"))
    assert scene.kernel.rules == {}


def test_it_says_what_a_shard_goes_by(scene: Scene) -> None:
    scene.put(service())
    for value in (0, 1):
        scene.set(synproxy_defer=value)
        assert scene.rule() == StrayRule(cookies=True, defers=bool(value), drops=False, reserved=0, allowance=ALLOWANCE)
        scene.put(service(synproxy_defer=1 - value))
        assert scene.rule().defers == 1 - value, "the service has its own value"
        scene.put(service())


def test_a_service_that_was_without_the_lane_has_none_any_more(scene: Scene) -> None:
    """Sessions of that time may live on, and the kernel knows none of them."""
    scene.put(service(80, lane=False), service(25))
    assert scene.kernel.rules.keys() == {MAIL}
    scene.put(service(80), service(25))
    assert scene.kernel.rules.keys() == {MAIL}


def test_a_vip_that_is_a_local_address_has_none(scene: Scene) -> None:
    """Packets to it may be of real servers."""
    scene.put(service(80, vip="192.0.2.10"))
    assert scene.kernel.rules == {}


def test_a_rule_goes_before_shards_change_and_comes_after(scene: Scene) -> None:
    scene.put(service(80))
    scene.narrow(service(80, synproxy_defer=0), service(25))
    assert scene.kernel.rules == {}
    scene.set(synproxy_defer=0)
    assert scene.kernel.rules == {}, "no tunable brings one in between"
    scene.rules.widen(scene.as_kernel)
    assert scene.kernel.rules.keys() == {WEB, MAIL}


def test_what_the_kernel_refuses_is_said_and_tried_again(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.kernel.refuses = True
    scene.put(service())
    assert "the kernel does not judge packets of no session as it should: cannot write: no" in caplog.messages
    scene.kernel.refuses = False
    scene.narrow(service())
    assert scene.kernel.rules.keys() == {WEB}, "by the next look at routes"
