"""director/admissions.py without a kernel: for which services prepared admissions are handed out, and from when on."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.director.admissions import Admissions
from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.admission_layout import RINGS
from appliance.ipc.admissions import first_rings, may_be_prepared
from appliance.ipc.lane_layout import front_door_key
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.model.tunables import TUNABLES
from appliance.policy.steering import shard_table
from tests.support.fake_admissions import FakeAdmissions

WEB, MAIL = (front_door_key(bytes((203, 0, 113, 10)), port) for port in (80, 25))
SEED = 77


class Scene:
    """The admissions of a gateway with two shards."""

    def __init__(self) -> None:
        self.rings = FakeAdmissions()
        self.kernel = cast("LaneKernel", SimpleNamespace(admissions=self.rings))
        self.admissions = Admissions(2, SEED)
        self.tunables = {name: tunable.default for name, tunable in TUNABLES.items()} | {"prepared_admissions": 1}
        self.early_rules = ""
        self.set()

    def set(self, **tunables: int) -> None:
        self.tunables |= tunables
        self.admissions.put_tunables(self.kernel, self.tunables.__getitem__, self.early_rules)

    def see(self, early_rules: str) -> None:
        """The host has this rule before the appliance."""
        self.early_rules = early_rules
        self.set()

    def put(self, *services: ServicePlan) -> None:
        self.admissions.narrow(self.kernel, tuple(services))
        self.admissions.widen(self.kernel)


def service(port: int = 80, **more: Any) -> ServicePlan:
    limits = {"max_conn": more.pop("server_max_conn", 0)}
    servers = (RealServerPlan("192.0.2.101", 8080, 1, port, **limits),)
    return ServicePlan(f"at-{port}", "203.0.113.10", port, more.pop("scheduler", "rr"), ("192.0.2.10",), servers, **more)


def test_a_plain_service_has_them_from_the_moment_its_shards_know_it() -> None:
    scene = Scene()
    scene.admissions.narrow(scene.kernel, (service(80), service(25)))
    assert scene.rings.there == {}
    scene.admissions.widen(scene.kernel)
    assert scene.rings.there == {MAIL: 0, WEB: 2}
    assert scene.rings.steering == (SEED, shard_table(2))


def test_a_service_whose_ring_becomes_another_has_none_in_between() -> None:
    """The ring of one that goes may be that of another one next."""
    scene = Scene()
    scene.put(service(80), service(25))
    scene.admissions.narrow(scene.kernel, (service(80),))
    assert scene.rings.there == {}
    scene.admissions.widen(scene.kernel)
    assert scene.rings.there == {WEB: 0}


@pytest.mark.parametrize(
    "more",
    [
        {"persistence_s": 60, "max_conn_per_client": 5},
        {"persistence_s": 60, "guarded": True},
        {"scheduler": "mh", "maglev_table": 131071},
        {"lane": False},
        {"guarded": True},
        {"protocol": "udp"},
        {"max_conn_per_client": 5},
    ],
)
def test_a_service_whose_decisions_depend_on_its_clients_has_none(more: dict[str, Any]) -> None:
    assert not may_be_prepared(service(80, **more))
    assert may_be_prepared(service(80))
    assert may_be_prepared(service(80, scheduler="wrr", synproxy="auto"))


def test_those_of_a_service_that_answers_all_with_cookies_are_for_clients_that_return_theirs() -> None:
    """While the kernel takes cookies back; a SYN never gets one."""
    scene = Scene()
    scene.set(synproxy_in_kernel=0)
    scene.put(service(80, synproxy="always"), service(25, synproxy="auto"))
    assert (scene.rings.there, scene.rings.for_proven) == ({MAIL: 0}, {})
    scene.set(synproxy_in_kernel=1)
    assert (scene.rings.there, scene.rings.for_proven) == ({MAIL: 0}, {MAIL: 0, WEB: 2}), "one in auto sends some"
    scene.set(tcp_syncookies=0)
    assert (scene.rings.there, scene.rings.for_proven) == ({MAIL: 0}, {WEB: 2})
    scene.set(tcp_syncookies=2)
    assert (scene.rings.there, scene.rings.for_proven) == ({}, {MAIL: 0, WEB: 2})
    scene.set(prepared_admissions=0)
    assert (scene.rings.there, scene.rings.for_proven) == ({}, {})


def test_no_cookie_is_taken_back_while_rules_of_the_host_have_to_see_it() -> None:
    """Unless it is said that they need not."""
    scene = Scene()
    scene.set(prepared_admissions=2)
    scene.put(service(80, synproxy="always"))
    assert scene.rings.for_proven == {WEB: 0}
    scene.see("the chain early is there")
    assert scene.rings.for_proven == {}
    scene.set(synproxy_in_kernel=2)
    assert scene.rings.for_proven == {WEB: 0}


def test_a_service_that_stops_to_answer_with_cookies_has_none_until_its_shards_know() -> None:
    scene = Scene()
    scene.set(synproxy_in_kernel=1)
    scene.put(service(80, synproxy="always"))
    scene.admissions.narrow(scene.kernel, (service(80),))
    assert (scene.rings.there, scene.rings.for_proven) == ({}, {})
    scene.admissions.widen(scene.kernel)
    assert scene.rings.there == {WEB: 0}


@pytest.mark.parametrize("more", [{"scheduler": "rr"}, {"scheduler": "sh"}, {"scheduler": "mh", "maglev_table": 131071}])
def test_with_persistence_one_has_some_for_the_clients_that_are_remembered(more: dict[str, Any]) -> None:
    assert may_be_prepared(service(80, persistence_s=1, **more))


@pytest.mark.parametrize("more", [{"scheduler": "sh"}, {"scheduler": "mh", "maglev_table": 251}, {"scheduler": "mh"}])
def test_one_that_looks_its_clients_up_in_a_table_that_fits_has_some(more: dict[str, Any]) -> None:
    assert may_be_prepared(service(80, **more))


def test_they_can_be_switched_off_and_are_on_at_first() -> None:
    assert TUNABLES["prepared_admissions"].default == 1
    scene = Scene()
    scene.put(service())
    scene.set(prepared_admissions=0)
    assert scene.rings.there == {}
    scene.set(prepared_admissions=1)
    assert scene.rings.there == {WEB: 0}


def test_rules_of_the_host_before_the_appliance_switch_them_off(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.put(service())
    assert scene.admissions.why_off == ""
    scene.see("the chain early is there")
    assert (scene.rings.there, scene.admissions.why_off) == ({}, "the chain early is there")
    scene.see("")
    assert scene.rings.there == {WEB: 0}
    assert caplog.messages == [
        "prepared admissions are off: the chain early is there",
        "prepared admissions are no longer kept off by rules",
    ]


def test_they_can_be_had_in_spite_of_such_rules(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.put(service())
    scene.set(prepared_admissions=2)
    scene.see("the chain early is there")
    assert (scene.rings.there, scene.admissions.why_off) == ({WEB: 0}, "")
    scene.set(prepared_admissions=0)
    assert (scene.rings.there, scene.admissions.why_off) == ({}, "prepared_admissions is 0")
    assert caplog.messages == []


def test_a_service_in_auto_has_none_while_cookies_are_for_everybody() -> None:
    scene = Scene()
    scene.put(service(80, synproxy="auto"), service(25))
    scene.set(tcp_syncookies=2)
    assert scene.rings.there == {MAIL: 0}
    scene.set(tcp_syncookies=1)
    assert scene.rings.there == {WEB: 2, MAIL: 0}


def test_what_the_kernel_refuses_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.rings.refuses = True
    scene.put(service())
    assert "cannot write: no" in caplog.text
    scene.rings.refuses = False
    scene.admissions.widen(scene.kernel)
    assert scene.rings.there == {WEB: 0}


def test_with_more_services_than_rings_the_last_ones_have_none() -> None:
    services = [service(port) for port in range(1, 1000)]
    rings = first_rings(services, 2)
    assert len(rings) == RINGS // 2
    assert max(rings.values()) + 1 == RINGS - 1
    names = sorted(plan.name for plan in services)
    assert first_rings(services[::-1], 64) == {name: 64 * place for place, name in enumerate(names[:16])}


def test_switched_on_between_narrow_and_widen_none_is_used_before_the_shards_know() -> None:
    scene = Scene()
    scene.set(prepared_admissions=0)
    scene.admissions.narrow(scene.kernel, (service(80),))
    scene.set(prepared_admissions=1)
    assert scene.rings.there == {}
    scene.admissions.widen(scene.kernel)
    assert scene.rings.there == {WEB: 0}
