"""director/front_doors.py without a kernel: which services have a front door, when it opens and closes, and who has the keys."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from appliance.director.admissions import Admissions
from appliance.director.front_doors import FrontDoors
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.front_door import FrontDoor
from appliance.ipc.lane_layout import COOKIE_KEYS, FRONT_DOOR, NO_LATCH, front_door_key
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.model.syn_cookie import SLOT_S, SLOTS_PER_KEY, key_state
from appliance.model.tunables import TUNABLES
from appliance.policy.steering import shard_table
from tests.support.fake_admissions import FakeAdmissions

HOUR_S = SLOT_S * SLOTS_PER_KEY
SECRET = bytes(range(32))
WEB, MAIL = (front_door_key(bytes((203, 0, 113, 10)), port) for port in (80, 25))


class Kernel:
    """As `edge.lane_kernel.LaneKernel`, in memory."""

    def __init__(self) -> None:
        self.doors: dict[bytes, bytes] = {}
        self.rules: dict[bytes, bytes] = {}
        self.datagrams: dict[bytes, bytes] = {}
        self._of_services = {"front_doors": self.doors, "stray_rules": self.rules, "datagram_rules": self.datagrams}
        self.admissions = FakeAdmissions()
        self.keys: dict[int, tuple[int, tuple[int, ...]]] = {}
        self.refuses = False
        self.writes = 0

    def put_of_services(self, name: str, values: Mapping[bytes, bytes]) -> None:
        if self.refuses:
            raise EdgeError("cannot write: no")
        self.writes += len(values) * (name == "front_doors")
        self._of_services[name].update(values)

    def remove_of_services(self, name: str, keys: Sequence[bytes]) -> None:
        for key in keys:
            del self._of_services[name][key]

    def put_cookie_key(self, epoch: int, state: tuple[int, ...]) -> None:
        self.keys[epoch % COOKIE_KEYS] = epoch, state


class Scene:
    """Front doors, their kernel, and the tunables and the clock, which the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernel = Kernel()
        self.as_kernel = cast("LaneKernel", self.kernel)
        self.doors = FrontDoors(SECRET)
        self.tunables = {name: tunable.default for name, tunable in TUNABLES.items()} | {"synproxy_in_kernel": 1}
        self.early_rules = ""
        self.now = 10 * HOUR_S + 5.0
        monkeypatch.setattr("appliance.director.front_doors.time.monotonic", lambda: self.now)
        self.set()

    def set(self, **tunables: int) -> None:
        self.tunables |= tunables
        self.doors.put_tunables(self.as_kernel, self.tunables.__getitem__, self.early_rules)

    def see(self, early_rules: str) -> None:
        self.early_rules = early_rules
        self.set()

    def narrow(self, *services: ServicePlan, mtu: int = 1500, down: Sequence[int] = ()) -> None:
        self.doors.narrow(self.as_kernel, services, lambda slot: mtu + slot, frozenset(down))

    def widen(self) -> None:
        self.doors.widen(self.as_kernel)

    def put(self, *services: ServicePlan, **more: Any) -> None:
        self.narrow(*services, **more)
        self.widen()

    def door(self, key: bytes = WEB) -> FrontDoor:
        return FrontDoor(*FRONT_DOOR.unpack(self.kernel.doors[key]))


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def service(port: int = 80, synproxy: str = "always", weights: Sequence[int] = (1, 1), **more: Any) -> ServicePlan:
    servers = tuple(RealServerPlan("192.0.2.101", 8080 + slot, weight, slot) for slot, weight in enumerate(weights))
    return ServicePlan(f"at-{port}", "203.0.113.10", port, "rr", ("192.0.2.10",), servers, synproxy=synproxy, **more)


def test_a_service_that_always_asks_for_cookies_has_a_front_door(scene: Scene) -> None:
    scene.put(service(80), service(53, "never"), service(81, lane=False), service(82, guarded=True))
    assert scene.kernel.doors.keys() == {WEB}
    assert scene.door().first_latch == NO_LATCH


def test_a_service_in_auto_has_one_with_latches_and_without_while_cookies_are_for_everybody(scene: Scene) -> None:
    scene.put(service(80), service(25, "auto"), service(53, "never"))
    assert (scene.door(WEB).first_latch, scene.door(MAIL).first_latch) == (NO_LATCH, 0)
    scene.set(tcp_syncookies=2)
    assert (scene.door(WEB).first_latch, scene.door(MAIL).first_latch) == (NO_LATCH, NO_LATCH)
    scene.set(tcp_syncookies=0)
    assert scene.kernel.doors.keys() == {WEB}


def test_one_in_auto_that_is_without_the_lane_or_judged_by_rules_has_none(scene: Scene) -> None:
    scene.put(service(25, "auto", lane=False), service(80, "auto", guarded=True))
    assert scene.kernel.doors == {}


def test_the_kernel_knows_whose_clients_are_whose_before_there_are_latches(scene: Scene) -> None:
    scene.doors = FrontDoors(SECRET, Admissions(2, 77))
    scene.set()
    scene.put()
    before = scene.kernel.admissions.steering
    scene.put(service(25, "auto"), service(80, "auto"))
    assert (before, scene.kernel.admissions.steering) == (None, (77, shard_table(2)))
    assert {scene.door(key).first_latch for key in (WEB, MAIL)} == {0, 2}


def test_a_door_whose_latches_change_closes_before_shards_change(scene: Scene) -> None:
    """Until then the shards have the latches of before."""
    scene.put(service(80, "auto"))
    scene.narrow(service(25, "auto"), service(80, "auto"))
    assert scene.kernel.doors == {}
    scene.widen()
    assert (scene.door(MAIL).first_latch, scene.door(WEB).first_latch) == (0, 1)


def test_a_service_in_auto_for_which_there_is_no_latch_has_no_door(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.ipc.latches.LATCHES", 1)
    scene.put(service(80, "auto"), service(25, "auto"))
    assert scene.kernel.doors.keys() == {MAIL}
    scene.set(tcp_syncookies=2)
    assert scene.kernel.doors.keys() == {WEB, MAIL}


def test_it_is_switched_off_and_on_by_a_tunable(scene: Scene) -> None:
    scene.put(service())
    scene.set(synproxy_in_kernel=0)
    assert scene.kernel.doors == {}
    scene.set(synproxy_in_kernel=1)
    assert scene.kernel.doors.keys() == {WEB}


EARLY_RULE = "the chain early is there"


def test_rules_of_the_host_before_the_appliance_close_all_doors(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """They would not see the SYNs. Of strays and datagrams the same is true."""
    scene.set(strays_in_kernel=1, prepared_admissions=0)
    scene.put(service(), service(53, protocol="udp"))
    assert (len(scene.kernel.doors), len(scene.kernel.rules), len(scene.kernel.datagrams)) == (1, 1, 1)
    scene.see(EARLY_RULE)
    assert (scene.kernel.doors, scene.kernel.rules, scene.kernel.datagrams) == ({}, {}, {})
    scene.set()
    assert scene.kernel.doors == {}
    scene.see("")
    assert (len(scene.kernel.doors), len(scene.kernel.rules), len(scene.kernel.datagrams)) == (1, 1, 1)
    assert caplog.messages == [
        f"floods of packets without a session go to the workers: {EARLY_RULE}",
        "floods of packets without a session end in the kernel",
    ]


@pytest.mark.parametrize(("cookies", "strays", "told"), [(2, 2, 0), (0, 0, 0), (1, 0, 1), (0, 1, 1)])
def test_what_does_not_depend_on_such_rules_is_as_it_was(
    scene: Scene, caplog: pytest.LogCaptureFixture, cookies: int, strays: int, told: int
) -> None:
    scene.put(service())
    scene.set(synproxy_in_kernel=cookies, strays_in_kernel=strays, prepared_admissions=0)
    caplog.clear()
    scene.see(EARLY_RULE)
    assert len(scene.kernel.doors) == (cookies == 2)
    assert len(scene.kernel.rules) == (strays == 2)
    assert len(caplog.messages) == told


def test_a_door_closes_before_shards_change_and_opens_after(scene: Scene) -> None:
    scene.put(service(80))
    scene.narrow(service(25))
    assert scene.kernel.doors == {}
    scene.set(synproxy_sack=0)
    assert scene.kernel.doors == {}, "no tunable opens one in between"
    scene.widen()
    assert scene.kernel.doors.keys() == {MAIL}
    assert not scene.door(MAIL).sack


def test_a_look_at_routes_is_no_change_of_services(scene: Scene) -> None:
    """It narrows and does not widen; tunables count all the same."""
    scene.put(service(80))
    scene.narrow(service(80))
    scene.set(synproxy_in_kernel=0)
    assert scene.kernel.doors == {}
    scene.set(synproxy_in_kernel=1)
    assert scene.kernel.doors.keys() == {WEB}


def test_a_service_that_comes_to_ask_always_waits_for_its_shards(scene: Scene) -> None:
    scene.put(service(80, "auto"))
    scene.narrow(service(80, "always"))
    assert scene.kernel.doors == {}
    scene.widen()
    assert scene.kernel.doors.keys() == {WEB}
    scene.narrow(service(80, "auto"))
    assert scene.kernel.doors == {}


def test_terms_change_at_once_also_while_no_door_may_open(scene: Scene) -> None:
    scene.put(service(80))
    scene.narrow(service(80))
    scene.set(synproxy_synack_ttl=9)
    assert scene.door().ttl == 9


def test_what_is_offered_fits_the_narrowest_route_and_the_tunables(scene: Scene) -> None:
    scene.put(service(), mtu=1400)
    assert scene.door() == (1400 - 48, 1452, 4, 63, 1, 1, NO_LATCH)
    scene.put(service(), mtu=9000)
    assert scene.door().mss == 1452
    scene.set(synproxy_init_mss=0, fullnat_mss_adjust_entry=0, synproxy_wscale=0, synproxy_ack_skb_store_thresh=0)
    assert scene.door() == (9000 - 40, 0, 1, 63, 0, 1, NO_LATCH)
    scene.set(synproxy_synack_ttl=255)
    assert scene.door().ttl == 254, "as far as the field goes when the kernel forwards the answer of a shard"


def test_a_service_without_real_servers_goes_by_the_usual_mtu(scene: Scene) -> None:
    scene.put(service(weights=()))
    assert scene.door().mss == 1452


def test_nothing_is_answered_for_a_service_that_drops_new_sessions(scene: Scene) -> None:
    """Its real servers are down, and so it says nothing: a cookie would be an answer."""
    dropping = service(when_none_healthy="drop")
    scene.put(dropping)
    assert scene.kernel.doors
    scene.put(dropping, down=(0,))
    assert scene.kernel.doors, "one is left"
    scene.put(dropping, down=(0, 1))
    assert scene.kernel.doors == {}
    scene.put(service(when_none_healthy="refuse"), down=(0, 1))
    assert scene.kernel.doors, "clients are told, after they have proven themselves"


def test_what_has_not_changed_is_not_written_again(scene: Scene) -> None:
    scene.put(service(80), service(25))
    scene.put(service(80), service(25))
    scene.set()
    assert scene.kernel.writes == 2


def test_no_more_doors_than_the_kernel_has_room_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are always open come first."""
    monkeypatch.setattr("appliance.director.front_doors.FRONT_DOORS", 1)
    scene.put(service(80), service(25))
    assert len(scene.kernel.doors) == 1
    scene.put(service(25, "auto"), service(80))
    assert scene.kernel.doors.keys() == {WEB}


def test_what_the_kernel_refuses_is_said_and_tried_again(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.kernel.refuses = True
    scene.put(service())
    assert "the kernel does not answer SYNs as it should: cannot write: no" in caplog.messages
    scene.kernel.refuses = False
    scene.narrow(service())
    assert scene.kernel.doors.keys() == {WEB}, "by the next look at routes"


def test_the_kernel_has_the_key_of_this_hour_and_of_those_beside_it(scene: Scene) -> None:
    """It makes cookies with one of them, and checks those that were made with the one before."""
    assert scene.kernel.keys == {epoch % COOKIE_KEYS: (epoch, key_state(SECRET, epoch)) for epoch in (9, 10, 11)}


def test_a_key_stays_for_an_hour_after_its_own(scene: Scene) -> None:
    scene.now = 11 * HOUR_S - 0.1
    scene.doors.put_keys(scene.as_kernel)
    assert {epoch for epoch, _ in scene.kernel.keys.values()} == {9, 10, 11}
    scene.now = 11 * HOUR_S
    scene.doors.put_keys(scene.as_kernel)
    assert scene.kernel.keys == {epoch % COOKIE_KEYS: (epoch, key_state(SECRET, epoch)) for epoch in (10, 11, 12)}


def test_there_are_keys_right_after_the_machine_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.now = 0.5
    scene.doors.put_keys(scene.as_kernel)
    assert {epoch for epoch, _ in scene.kernel.keys.values()} >= {0, 1}
