"""A service in "auto" that is engaged: what it has ready is for clients that return their cookies (`sessions.readiness`)."""

import pytest

from appliance.model import verdicts
from appliance.model.end_reasons import EndReason
from tests.support.short_lived_scene import Scene, syn_of
from tests.support.world import plan

BACKLOG = 200


def flooded(**tunables: int) -> Scene:
    scene = Scene(plan(weights=(1, 1), synproxy="auto"), tcp_max_syn_backlog=BACKLOG, **tunables)
    number = 0
    while scene.world.put(syn_of(number)) is not verdicts.COOKIE_SENT:
        number += 1
    scene.look()
    return scene


def is_for_proofs(scene: Scene) -> bool:
    (ring,) = scene.inside.prepared.rings
    return ring.is_for_proofs


def test_a_full_backlog_leaves_room_for_clients_that_return_their_cookies() -> None:
    scene = flooded(synproxy_in_kernel=1)
    assert len(scene.service.half_open) == BACKLOG
    for _ in range(50):
        scene.inside.prepared.miss(scene.service)
    scene.look()
    assert 0 < scene.inside.prepared.ready <= BACKLOG
    assert is_for_proofs(scene)


def test_none_are_ready_when_the_kernel_takes_no_cookies_back() -> None:
    scene = flooded(synproxy_in_kernel=0)
    for _ in range(50):
        scene.inside.prepared.miss(scene.service)
    scene.look()
    assert scene.inside.prepared.ready == 0


@pytest.mark.parametrize("in_kernel", [0, 1])
def test_afterwards_syns_get_them_again(in_kernel: int) -> None:
    scene = flooded(synproxy_in_kernel=in_kernel)
    for session in list(scene.world.sessions()):
        scene.inside.end(session, EndReason.EXPIRED)
    scene.world.now += 1000
    scene.world.shard.on_tick(scene.world.now, 1000)
    assert not scene.service.is_engaged
    for _ in range(50):
        scene.inside.prepared.miss(scene.service)
    scene.look()
    assert not is_for_proofs(scene)
    assert scene.kernel.put(syn_of(5000))
