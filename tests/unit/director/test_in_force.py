"""director/in_force.py: what listeners hear of changes, and when."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from appliance.config.loading import load
from appliance.director.in_force import WAITING_MAX, InForce, Run
from appliance.ipc.queries import CUT, Query, SessionFilter
from appliance.ipc.traced import Change
from appliance.model.tunables import TUNABLES
from tests.support.gateway import shared_state

CONFIG = load(Path(__file__).parents[3] / "etc" / "lvs.toml")
SLOTS = {("web", "192.0.2.101", 8080): 0, ("web", "192.0.2.102", 8080): 1}


class Scene:
    """What is in force, as the test sets it, and the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = SimpleNamespace(shared=shared_state(2, 4), health=SimpleNamespace(down={0}), drains=SimpleNamespace(slots=()))
        self.config = CONFIG
        self.in_force = InForce(cast("Run", self.run), lambda: self.config, lambda: SLOTS)
        self.now = 1.0
        monkeypatch.setattr("appliance.director.in_force.time.monotonic", lambda: self.now)

    def changes_at(self, now: float) -> None:
        self.now = now
        self.in_force.changed()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


async def test_the_first_is_all_that_is_in_force(scene: Scene) -> None:
    scene.run.shared.set_tunables({"conn_max": 77})
    [first] = await scene.in_force.listen("198.51.100.0/24").take(2.0)
    assert first.at_s == 1.0
    assert first.what.keys() == {"gateway", "sysctl", "local_addresses", "service", "down", "drained"}
    assert first.what["gateway"] == {"shards": CONFIG.gateway.shards}
    assert first.what["sysctl"] == {name: tunable.default for name, tunable in TUNABLES.items()} | {"conn_max": 77}
    assert (first.what["down"], first.what["drained"]) == ([["web", "192.0.2.101", 8080]], [])


async def test_later_ones_are_what_is_different_then_and_a_change_to_the_same_is_none(scene: Scene) -> None:
    listener = scene.in_force.listen("198.51.100.0/24")
    await listener.take(2.0)
    scene.run.drains.slots = (1,)
    scene.changes_at(3.0)
    scene.changes_at(4.0)
    scene.run.health.down = set()
    scene.changes_at(5.0)
    scene.run.health.down = {1}  # nobody has said that it is in force
    assert await listener.take(5.0) == [Change(3.0, {"drained": [["web", "192.0.2.102", 8080]]})]
    assert await listener.take(6.0) == [Change(5.0, {"down": []})]


async def test_sessions_that_were_ended_are_told_in_the_order_of_time(scene: Scene) -> None:
    listener = scene.in_force.listen("198.51.100.0/24")
    scene.now = 2.0
    scene.in_force.ended(Query(CUT, SessionFilter(service="web"), clients=("198.51.100.2",)))
    fields = {"client": "", "service": "web", "real_server": "", "state": "", "clients": ["198.51.100.2"]}
    first, ended = await listener.take(3.0)
    assert "service" in first.what
    assert ended == Change(2.0, {"ended": fields})


@pytest.mark.parametrize(
    ("listened", "client", "clients", "told"),
    [
        ("198.51.100.2", "", [], []),
        ("198.51.100.2", "", ["198.51.100.2", "198.51.100.3"], ["198.51.100.2"]),
        ("198.51.100.2:4000", "", ["198.51.100.2"], ["198.51.100.2"]),
        ("198.51.100.2", "", ["198.51.100.3"], None),
        ("198.51.100.2", "198.51.100.0/24", [], []),
        ("198.51.100.2", "198.51.100.2:5", [], []),
        ("198.51.100.0/30", "198.51.100.3", [], []),
        ("198.51.100.2", "198.51.100.3:4000", [], None),
        ("198.51.100.2", "198.51.100.3", ["198.51.100.2"], None),
    ],
)
async def test_nothing_is_told_of_clients_that_the_trace_is_not_about(
    scene: Scene, listened: str, client: str, clients: list[str], told: list[str] | None
) -> None:
    listener = scene.in_force.listen(listened)
    scene.in_force.ended(Query(CUT, SessionFilter(client), clients=clients))
    _, *found = await listener.take(2.0)
    fields = {"client": client, "service": "", "real_server": "", "state": "", "clients": told}
    assert [change.what for change in found] == ([] if told is None else [{"ended": fields}])


async def test_who_has_left_hears_nothing_and_others_go_on(scene: Scene) -> None:
    gone, other = scene.in_force.listen("198.51.100.0/24"), scene.in_force.listen("198.51.100.0/24")
    for listener in (gone, other):
        await listener.take(2.0)
    scene.in_force.leave(gone)
    scene.run.health.down = set()
    scene.changes_at(3.0)
    assert await gone.take(4.0) == []
    assert await other.take(4.0) == [Change(3.0, {"down": []})]


async def test_a_flood_of_changes_waits_in_bounded_room_and_the_last_one_counts(scene: Scene) -> None:
    listener = scene.in_force.listen("198.51.100.0/24")
    for number in range(3 * WAITING_MAX):
        scene.run.shared.set_tunables({"conn_max": 1000 + number})
        scene.changes_at(2.0 + number)
    found = await listener.take(1e9)
    assert len(found) == WAITING_MAX + 1
    assert found[-1].what["sysctl"]["conn_max"] == 999 + 3 * WAITING_MAX


async def test_sessions_that_end_push_no_state_out_that_is_in_force(scene: Scene) -> None:
    listener = scene.in_force.listen("198.51.100.0/24")
    for number in range(2 * WAITING_MAX):
        scene.run.shared.set_tunables({"conn_max": 1000 + number})
        scene.changes_at(2.0 + number)
    scene.in_force.ended(Query(CUT, SessionFilter()))
    found = await listener.take(1e9)
    assert len(found) == WAITING_MAX + 1
    assert found[-1].what["sysctl"]["conn_max"] == 999 + 2 * WAITING_MAX
