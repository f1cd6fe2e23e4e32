"""support/by_client_scene.py: what the kernel opens is told by its client."""

from dataclasses import replace

from tests.support.by_client_scene import CLIENTS, ENTRIES, client, opened, until_scheduled
from tests.support.short_lived_scene import Scene
from tests.support.world import plan


def test_each_client_has_an_entry_of_its_own_once_there_is_a_schedule() -> None:
    usual = plan(weights=(1, 1))
    scene = Scene(replace(usual, services=(replace(usual.services[0], scheduler="sh"),)), entries=ENTRIES)
    assert opened(scene, 0) is None
    until_scheduled(scene)
    entries = [entry for number in CLIENTS if (entry := opened(scene, number)) is not None]
    assert entries
    assert len(set(entries)) == len(entries)
    assert len({client(number) for number in CLIENTS}) == len(CLIENTS)
