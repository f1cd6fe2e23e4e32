"""ring_figures.py: what is prepared, as it stands in memory."""

from dataclasses import replace

import pytest

from appliance.ipc.admission_layout import LINE, LINE_OFFSETS
from appliance.ipc.ring_figures import RingFigures, ring_figures
from tests.support.by_client_scene import CLIENTS, ENTRIES, opened, until_scheduled
from tests.support.lane_maps import FakeMaps
from tests.support.short_lived_scene import Scene
from tests.support.world import World, plan


def figures(scene: Scene, number: int = 0) -> RingFigures:
    return ring_figures(scene.world.maps.rings, scene.world.maps.lines, number)


def test_a_ring_that_nobody_uses_is_idle() -> None:
    world = World(None, FakeMaps(ENTRIES))
    found = ring_figures(world.maps.rings, world.maps.lines, 0)
    assert found == RingFigures(False, 0, "", 0, 0, 0, 0)
    assert found.is_idle


def test_before_there_are_pools_tickets_are_ready_and_there_is_no_way() -> None:
    scene = Scene()
    found = figures(scene)
    assert (found.is_open, found.way, found.places, found.pools) == (True, "", 0, 0)
    assert found.ready == len(next(iter(scene.inside.prepared.rings)).tickets) > 0
    assert not found.is_idle
    assert figures(scene, 1).is_idle, "those of others are not counted"


@pytest.mark.parametrize(
    ("more", "way", "places"),
    [
        ({"scheduler": "sh"}, "address", 4096),
        ({"scheduler": "mh", "maglev_table": 4093}, "address", 4093),
        ({"scheduler": "mh", "maglev_table": 8191}, "address", 8191),
        ({"persistence_s": 60}, "persistence", 2),
    ],
)
def test_endpoints_stand_in_the_pools_of_a_schedule(more: dict[str, str | int], way: str, places: int) -> None:
    usual = plan(weights=(1, 1))
    scene = Scene(replace(usual, services=(replace(usual.services[0], **more),)), entries=ENTRIES)  # type: ignore[arg-type]
    until_scheduled(scene)
    found = figures(scene)
    assert (found.way, found.places, found.pools) == (way, places, 2)
    assert found.in_line == len(scene.short.spares) > 0
    if way == "address":
        taken = sum(opened(scene, number) is not None for number in CLIENTS)
        assert figures(scene).in_line == found.in_line - taken < found.in_line


def test_a_pool_from_which_all_are_taken_is_empty() -> None:
    usual = plan(weights=(1,))
    scene = Scene(replace(usual, services=(replace(usual.services[0], scheduler="sh"),)), entries=ENTRIES)
    until_scheduled(scene)
    assert (figures(scene).pools, figures(scene).empty_pools) == (1, 0)
    for start in range(0, len(scene.world.maps.lines), LINE.size):
        line = scene.world.maps.lines[start : start + LINE.size].cast("Q")
        line[LINE_OFFSETS["head"] // 8] = line[LINE_OFFSETS["tail"] // 8]
    assert (figures(scene).empty_pools, figures(scene).in_line) == (1, 0)
