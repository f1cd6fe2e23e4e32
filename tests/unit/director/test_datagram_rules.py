"""director/datagram_rules.py without a kernel: for which services of UDP the kernel drops what their shards refuse."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from appliance.director.datagram_rules import DatagramRules
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.lane_layout import DATAGRAM_RULE, front_door_key
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.model.tunables import TUNABLES

DNS, LOG = (front_door_key(bytes((203, 0, 113, 10)), port) for port in (53, 514))


class Scene:
    """The rules, their kernel, and the tunables."""

    def __init__(self, shards: int = 1) -> None:
        self.in_kernel: dict[bytes, bytes] = {}
        self.refuses = False
        self.steered = 0
        self.as_kernel = cast("LaneKernel", self)
        self.rules = DatagramRules(shards, lambda _: self.steer())
        self.tunables = {name: tunable.default for name, tunable in TUNABLES.items()}
        self.set(strays_in_kernel=1)

    def steer(self) -> None:
        self.steered += 1

    def put_of_services(self, name: str, values: Mapping[bytes, bytes]) -> None:
        assert name == "datagram_rules"
        assert self.steered or not values
        if self.refuses:
            raise EdgeError("cannot write: no")
        self.in_kernel |= values

    def remove_of_services(self, name: str, keys: Sequence[bytes]) -> None:
        assert name == "datagram_rules"
        for key in keys:
            del self.in_kernel[key]

    def set(self, **tunables: int) -> None:
        self.tunables |= tunables
        self.rules.put_tunables(self.as_kernel, self.tunables.__getitem__)

    def put(self, *services: ServicePlan) -> None:
        self.rules.narrow(self.as_kernel, services)
        self.rules.widen(self.as_kernel)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def service(port: int = 53, protocol: str = "udp", vip: str = "203.0.113.10", **more: Any) -> ServicePlan:
    servers = (RealServerPlan("192.0.2.101", 53, 1, 0),)
    return ServicePlan(f"at-{port}", vip, port, "rr", ("192.0.2.10",), servers, protocol=protocol, synproxy="never", **more)


def test_services_of_udp_in_the_lane_have_one(scene: Scene) -> None:
    others = (service(80, "tcp"), service(81, lane=False), service(82, guarded=True), service(83, vip="192.0.2.10"))
    scene.put(service(53), service(514), *others)
    assert scene.in_kernel.keys() == {DNS, LOG}


@pytest.mark.parametrize(("name", "value"), [("strays_in_kernel", 0), ("source_conn_max", 0), ("tcp_abort_on_overflow", 1)])
def test_none_has_one_while_shards_refuse_nobody_or_answer(scene: Scene, name: str, value: int) -> None:
    scene.put(service())
    before = scene.tunables[name]
    scene.set(**{name: value})
    assert scene.in_kernel == {}
    scene.set(**{name: before})
    assert scene.in_kernel.keys() == {DNS}


@pytest.mark.parametrize(("prefix", "mask"), [(8, "ff000000"), (24, "ffffff00"), (27, "ffffffe0"), (32, "ffffffff")])
def test_it_says_what_a_network_is_and_how_many_places_a_shard_has(prefix: int, mask: str) -> None:
    for shards, bits in ((1, 22), (2, 21), (3, 20), (64, 16)):
        scene = Scene(shards)
        scene.set(source_conn_prefix=prefix)
        scene.put(service())
        assert DATAGRAM_RULE.unpack(scene.in_kernel[DNS]) == (bytes.fromhex(mask), bits)


def test_a_rule_goes_before_shards_change_and_comes_after(scene: Scene) -> None:
    scene.put(service(53))
    scene.rules.narrow(scene.as_kernel, [service(514)])
    assert scene.in_kernel == {}
    scene.set(source_conn_prefix=16)
    assert scene.in_kernel == {}, "no tunable brings one in between"
    scene.rules.widen(scene.as_kernel)
    assert scene.in_kernel.keys() == {LOG}


def test_what_the_kernel_refuses_is_said_and_tried_again(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.refuses = True
    scene.put(service())
    assert "the kernel does not judge datagrams of no session as it should: cannot write: no" in caplog.messages
    scene.refuses = False
    scene.rules.narrow(scene.as_kernel, [service()])
    assert scene.in_kernel.keys() == {DNS}, "by the next look at routes"
