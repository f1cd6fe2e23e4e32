"""Services with persistence, whose sessions the kernel opens by itself for clients that are remembered."""

from dataclasses import replace
from typing import Any

import pytest

from appliance.model.counters import PERSISTENCE_HITS
from appliance.model.tcp_state import TcpState
from appliance.model.verdicts import TO_REAL_SERVER
from tests.support.addresses import VIP
from tests.support.by_client_scene import CLIENTS, ENTRIES, client, opened, until_scheduled
from tests.support.segments import tcp
from tests.support.short_lived_scene import Scene
from tests.support.tcp_options import LINUX_SYN
from tests.support.world import plan

LASTS_S = 60


def scene_of(scheduler: str = "rr", weights: tuple[int, ...] = (1, 1), **of_service: Any) -> Scene:
    """A service whose schedule the kernel has, and that remembers nobody."""
    usual = plan(weights=weights)
    service = replace(usual.services[0], scheduler=scheduler, persistence_s=LASTS_S, **of_service)
    scene = Scene(replace(usual, services=(service,)), entries=ENTRIES)
    until_ready(scene)
    return scene


def until_ready(scene: Scene) -> None:
    """As `until_scheduled`, with spare endpoints for each real server."""
    for _ in range(50):
        until_scheduled(scene)
        if all(scene.short.spares.number(each) for each in scene.service.candidates if each.weight):
            return
    pytest.fail("a real server has no spare endpoint")


def come_up(scene: Scene, number: int, port: int) -> int:
    """A client's SYN comes up; the slot of the real server that Python sends it to."""
    syn = tcp(client(number, port), VIP, "S", seq=number, options=LINUX_SYN)
    assert not scene.kernel.put(syn)
    assert scene.world.shard.handle(syn, scene.world.now) is TO_REAL_SERVER
    (slot,) = (each.real_server.slot for each in scene.world.sessions() if each.client_key.startswith(client(number, port)[:4]))
    return slot


def slot_of(scene: Scene, entry: int | None) -> int:
    assert entry is not None
    address = scene.world.maps.record(entry).real_server.address
    return next(each.slot for each in scene.service.all_real_servers if each.endpoint[:4] == address)


@pytest.mark.parametrize("scheduler", ["rr", "wrr", "lc", "wlc", "sh", "mh"])
def test_the_first_session_is_python_s_and_the_next_ones_go_where_that_went(scheduler: str) -> None:
    scene = scene_of(scheduler)
    assert [opened(scene, number) for number in CLIENTS] == [None] * len(CLIENTS)
    homes = {number: come_up(scene, number, 50000) for number in CLIENTS}
    assert len(set(homes.values())) == 2
    until_ready(scene)
    entries = {number: opened(scene, number, 50001) for number in CLIENTS}
    assert {number: slot_of(scene, entry) for number, entry in entries.items()} == homes
    assert scene.world.counter("persistence_hits") == 0
    scene.look()
    assert scene.world.counter("persistence_hits") == len(CLIENTS)
    assert scene.short.young == len(CLIENTS), "they need no place in the tables"
    scene.inside.prepared.take_in_all()
    assert {row.chosen for row in scene.world.rows() if row.client.endswith(":50001")} == {"persistence"}


def test_sessions_that_the_kernel_opens_count_as_hits_where_persistence_chose_and_only_there() -> None:
    scene = scene_of()
    home = come_up(scene, 1, 50000)
    until_ready(scene)
    assert slot_of(scene, opened(scene, 1, 50001)) == home
    scene.look()
    assert scene.world.shared.table(0, "queue")[PERSISTENCE_HITS] == 1
    by_address = Scene(
        replace(plan(weights=(1, 1)), services=(replace(plan(weights=(1, 1)).services[0], scheduler="sh"),)), entries=ENTRIES
    )
    until_scheduled(by_address)
    assert opened(by_address, 1) is not None
    by_address.look()
    assert by_address.world.shared.table(0, "queue")[PERSISTENCE_HITS] == 0


def test_a_session_of_the_kernel_lets_python_remember_for_longer() -> None:
    scene = scene_of()
    home = come_up(scene, 1, 50000)
    scene.world.now += LASTS_S - 1
    scene.look()
    until_ready(scene)
    assert slot_of(scene, opened(scene, 1, 50001)) == home
    scene.world.now += LASTS_S - 1
    scene.look()
    for turn in range(3):  # by turns, one of these would go elsewhere
        assert come_up_again(scene, 1, 50002 + turn) == home


def come_up_again(scene: Scene, number: int, port: int) -> int:
    syn = tcp(client(number, port), VIP, "S", seq=number, options=LINUX_SYN)
    assert scene.world.shard.handle(syn, scene.world.now) is TO_REAL_SERVER
    end = port.to_bytes(2, "big")
    (slot,) = (each.real_server.slot for each in scene.world.sessions() if each.client_key[8:10] == end)
    return slot


def test_slow_start_keeps_nobody_from_the_real_server_that_is_remembered() -> None:
    scene = scene_of()
    home = come_up(scene, 1, 50000)
    for real_server in scene.service.real_servers:
        real_server.slow_start_s = 600
        real_server.start_slowly(scene.world.now)
    assert any(each.slow_start for each in scene.service.candidates)
    scene.inside.prepared.take_back()
    until_ready(scene)
    assert slot_of(scene, opened(scene, 1, 50001)) == home


def test_one_whose_real_server_is_down_comes_up_and_is_remembered_elsewhere() -> None:
    scene = scene_of()
    home = come_up(scene, 1, 50000)
    until_ready(scene)
    scene.world.shard.change_health((home,))
    until_ready(scene)
    assert opened(scene, 1, 50001) is None
    other = come_up_again(scene, 1, 50002)
    assert other != home
    until_ready(scene)
    assert slot_of(scene, opened(scene, 1, 50003)) == other


def test_an_endpoint_goes_round_among_clients_that_are_remembered() -> None:
    scene = scene_of()
    homes = {number: come_up(scene, number, 50000) for number in CLIENTS}
    until_ready(scene)
    first = {entry for number in CLIENTS if (entry := opened(scene, number, 50001)) is not None}
    for entry in first:
        scene.moves(entry, TcpState.TIME_WAIT)
    scene.take_over_and_look()
    scene.look(0.05)  # the shard had read the lines a moment before they came
    assert scene.short.resting >= len(first)
    scene.look(1.0)
    again = set[int]()
    for turn in range(200):
        for number in CLIENTS:
            entry = opened(scene, number, 51000 + turn)
            if entry is not None:
                assert slot_of(scene, entry) == homes[number]
                again.add(entry)
        scene.look(0.01)
        if first <= again:
            return
    pytest.fail("some are not used again")


def test_slots_that_are_too_far_from_each_other_have_no_schedule() -> None:
    usual = plan(weights=(1, 1))
    near, far = usual.services[0].real_servers
    for slot, has_schedule in ((4095, True), (4096, False)):
        service = replace(usual.services[0], persistence_s=LASTS_S, real_servers=(near, replace(far, slot=slot)))
        scene = Scene(replace(usual, services=(service,), destinations=5000), entries=ENTRIES)
        if has_schedule:
            until_scheduled(scene)
        else:
            with pytest.raises(pytest.fail.Exception, match="no schedule"):
                until_scheduled(scene)
