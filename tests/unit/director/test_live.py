"""live.py: what is told to whom, in which order, while services and addresses come and go; and that any failure is taken back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from appliance.config import loading
from appliance.config.changes import ReloadRefusedError
from appliance.config.loading import Config, RealServer, Service
from appliance.director.host import Host
from appliance.director.live import SETTLE_S, Live
from appliance.director.plans import RemovedServer, Slots
from appliance.director.supervisor import ShardProcess
from appliance.edge.errors import EdgeError
from appliance.ipc.plan import ServicePlan
from appliance.ipc.queries import ShardFailedError

SHIPPED = loading.load(Path(__file__).parents[3] / "etc/lvs.toml")
(WEB,) = SHIPPED.services
DNS = WEB.model_copy(update={"name": "dns", "port": 53, "protocol": "udp"})


class Scene:
    """A Live, and everybody around it. `steps` says who did what; whoever is in `refusing` refuses."""

    def __init__(self, running: Config) -> None:
        self.steps: list[str] = []
        self.refusing: set[str] = set()
        self.config = running
        self.slots = Slots(20)
        self.services = self.slots.take(running)
        shards = [cast("ShardProcess", FakeShard(number, self)) for number in range(2)]
        self.live = Live(
            cast("Host", FakeHost(self)), shards, self.slots, lambda: self.services, self._know, lambda: self.does("allow")
        )

    def does(self, step: str) -> None:
        self.steps.append(step)

    async def _know(self, services: tuple[ServicePlan, ...]) -> None:
        self.services = services
        self.does(f"know {names(services)}")

    async def change(self, wanted: Config, *, fails: bool = False) -> list[str]:
        """Change to this configuration; returns what was done. With `fails`, what comes in between fails."""
        self.steps.clear()
        services = self.slots.plan(wanted)
        async with self.live.prepared(self.config, wanted, services):
            self.does("prepared")
            if fails:
                raise EdgeError("later")
        self.slots.take(wanted)
        self.config = wanted
        await self.live.put(wanted, services)
        return self.steps


class FakeShard:
    def __init__(self, number: int, scene: Scene) -> None:
        self._number, self._scene = number, scene
        self.services: tuple[ServicePlan, ...] = ()

    async def change_services(self, services: tuple[ServicePlan, ...]) -> None:
        self._scene.does(f"shard {self._number}: {names(services)}")
        if f"shard {self._number}: {names(services)}" in self._scene.refusing:
            raise ShardFailedError(f"shard {self._number}: why")

    async def settled(self, within_s: float) -> None:
        assert within_s == SETTLE_S
        self._scene.does(f"shard {self._number}: settled")


class FakeHost:
    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def extend(self, config: Config) -> None:
        self._scene.does(f"host: also {served(config)}")
        if "host" in self._scene.refusing:
            raise EdgeError("nft: why")

    def shrink(self, config: Config, removed: Sequence[RemovedServer]) -> None:
        more = "".join(f" and {server.address}" for server in removed)
        self._scene.does(f"host: only {served(config)}{more}")
        if "host shrinks" in self._scene.refusing:
            raise EdgeError("nft: why")


def names(services: tuple[ServicePlan, ...]) -> str:
    return " ".join(f"{plan.name}:{plan.port}" + (f"({len(plan.local_addresses)})" * (plan.name == "pool")) for plan in services)


def served(config: Config) -> str:
    return " ".join(f"{service.name}:{service.port}" for service in config.services)


def having(*services: Service, **changes: Any) -> Config:
    return SHIPPED.model_copy(update={"services": services, **changes})


async def test_a_new_service_is_known_to_shards_before_its_packets_are_taken() -> None:
    steps = await Scene(having(WEB)).change(having(WEB, DNS))
    assert steps == [
        "know web:80 dns:53",
        "shard 0: web:80 dns:53",
        "shard 1: web:80 dns:53",
        "host: also web:80 dns:53",
        "prepared",
        "host: only web:80 dns:53",
    ]


async def test_a_service_that_goes_is_forgotten_by_shards_before_its_packets_are_left() -> None:
    steps = await Scene(having(WEB, DNS)).change(having(WEB))
    assert steps == [
        "host: also web:80",
        "prepared",
        "know web:80",
        "shard 0: web:80",
        "shard 1: web:80",
        "shard 0: settled",
        "shard 1: settled",
        "host: only web:80",
    ]


async def test_a_service_that_moves_is_at_both_places_in_between() -> None:
    steps = await Scene(having(WEB, DNS)).change(having(WEB.model_copy(update={"port": 81}), DNS))
    both, after = "web:80 dns:53 web:81", "web:81 dns:53"
    assert steps[:4] == [f"know {both}", f"shard 0: {both}", f"shard 1: {both}", "host: also web:81 dns:53"]
    assert steps[-6:-1] == [
        f"know {after}",
        *(f"shard {number}: {after}" for number in (0, 1)),
        "shard 0: settled",
        "shard 1: settled",
    ]


async def test_a_service_in_the_place_of_another_waits_until_that_one_goes() -> None:
    steps = await Scene(having(WEB)).change(having(WEB.model_copy(update={"name": "renamed"})))
    assert steps == [
        "host: also renamed:80",
        "prepared",
        "know renamed:80",
        "shard 0: renamed:80",
        "shard 1: renamed:80",
        "shard 0: settled",
        "shard 1: settled",
        "host: only renamed:80",
    ]


async def test_a_pool_has_old_and_new_addresses_in_between() -> None:
    pool = WEB.model_copy(update={"name": "pool"})
    new = {"default": (*SHIPPED.local_addresses["default"][1:], type(WEB.vip)("192.0.2.99"))}
    scene = Scene(having(pool))
    number = len(SHIPPED.local_addresses["default"])
    steps = await scene.change(having(pool, local_addresses=new))
    assert [step for step in steps if step.startswith(("shard 0", "host"))] == [
        "host: also pool:80",
        f"shard 0: pool:80({number + 1})",
        f"shard 0: pool:80({number})",
        "shard 0: settled",
        "host: only pool:80",
    ]
    assert scene.services[0].local_addresses == tuple(map(str, new["default"]))


async def test_another_weight_is_told_once_and_nobody_waits_for_sessions() -> None:
    first, *others = WEB.real_servers
    drained = WEB.model_copy(update={"real_servers": (first.model_copy(update={"weight": 0}), *others)})
    steps = await Scene(having(WEB)).change(having(drained))
    assert steps == ["know web:80", "shard 0: web:80", "shard 1: web:80", "prepared"], "and the host has nothing to do"


async def test_removed_real_servers_of_services_that_are_there_are_taken_for_their_last_sessions() -> None:
    server = RealServer.model_validate({"address": "192.0.2.150", "port": 8080})
    scene = Scene(having(WEB, DNS.model_copy(update={"real_servers": (server,)})))
    await scene.change(having(WEB.model_copy(update={"real_servers": WEB.real_servers[1:]})))
    assert scene.steps[-1] == f"host: only web:80 and {WEB.real_servers[0].address}"


async def test_what_changes_no_service_is_told_to_nobody() -> None:
    scene = Scene(having(WEB))
    assert await scene.change(having(WEB)) == ["prepared"]


BOTH = "web:80 dns:53"


@pytest.mark.parametrize(
    ("refusing", "error", "words"),
    [
        (f"shard 1: {BOTH}", ReloadRefusedError, "the services cannot be changed: shard 1: why"),
        ("host", EdgeError, "nft: why"),
        ("", EdgeError, "later"),
    ],
    ids=["shard", "host", "later"],
)
async def test_whatever_fails_is_taken_back_everywhere(refusing: str, error: type[Exception], words: str) -> None:
    scene = Scene(having(WEB))
    scene.refusing = {refusing}
    before = scene.services
    with pytest.raises(error, match=words):
        await scene.change(having(WEB, DNS), fails=not refusing)
    assert scene.steps[-5:] == ["know web:80", "shard 0: web:80", "shard 1: web:80", "allow", "host: only web:80"]
    assert scene.services == before
    assert scene.slots.removed(having(WEB)) == []
    scene.refusing = set()
    await scene.change(having(WEB, DNS))
    assert names(scene.services) == BOTH


async def test_a_shard_that_refuses_what_remains_is_told_the_old_services_again() -> None:
    scene = Scene(having(WEB, DNS))
    first, *others = WEB.real_servers
    drained = WEB.model_copy(update={"real_servers": (first.model_copy(update={"weight": 0}), *others)})
    scene.refusing = {f"shard 0: {BOTH}"}
    with pytest.raises(ReloadRefusedError):
        await scene.change(having(drained))
    assert scene.services[0].real_servers[0].weight == 100
    assert f"shard 1: {BOTH}" == scene.steps[-3]


async def test_taking_back_goes_on_when_it_is_refused_as_well(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(having(WEB))
    scene.refusing = {"host", "shard 0: web:80", "host shrinks"}
    with pytest.raises(EdgeError, match="nft: why"):
        await scene.change(having(WEB, DNS))
    assert caplog.messages == [
        "a change is not in force everywhere: shard 0: why",
        "what is not needed any more stays on the host until it can be removed: nft: why",
    ]
    assert names(scene.services) == "web:80"


async def test_a_host_that_cannot_be_cleaned_up_does_not_refuse_a_removal(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(having(WEB, DNS))
    scene.refusing = {"host shrinks"}
    await scene.change(having(WEB))
    assert names(scene.services) == "web:80"
    assert len(caplog.messages) == 1
