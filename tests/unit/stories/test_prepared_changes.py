"""What a shard has prepared, when something changes by which it was decided: all of it is free again."""

from collections.abc import Callable

import pytest

from tests.support.endpoints import check_endpoints
from tests.support.short_lived_scene import Scene
from tests.support.world import plan


def change_weights(scene: Scene) -> None:
    scene.world.change(plan(weights=(1, 3)))


def drain(scene: Scene) -> None:
    scene.inside.changes.put_drained({scene.service.all_real_servers[0].slot})


def change_tunables(scene: Scene) -> None:
    scene.world.shared.set_tunables({"tcp_timeout_established": 5000})
    scene.world.shard.on_tick(scene.world.now, 10)


@pytest.mark.parametrize("change", [change_weights, drain, change_tunables])
@pytest.mark.parametrize("rests", [False, True])
def test_nothing_is_ready_and_nothing_is_lost(change: Callable[[Scene], None], rests: bool) -> None:
    scene = Scene()
    if rests:
        scene.is_over(1, 2)
        scene.take_over_and_look()
    assert scene.kernel.ready
    change(scene)
    assert scene.kernel.ready == 0
    check_endpoints(scene.inside)
