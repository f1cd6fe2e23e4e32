"""A service in "auto" that is engaged: what it has ready is for clients that return their cookies (`sessions.readiness`)."""

import pytest

from appliance.model import verdicts
from appliance.model.end_reasons import EndReason
from appliance.state.services import VirtualService
from appliance.state.session import Session
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


@pytest.mark.parametrize("syncookies", [0, 1])
def test_a_syn_gets_a_cookie_when_the_kernel_has_just_filled_the_backlog(
    syncookies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so on another CPU, when the shard has found that the service has room."""
    scene = Scene(
        plan(weights=(1, 1), synproxy="auto"), tcp_max_syn_backlog=BACKLOG, tcp_syncookies=syncookies, conn_early_drop=0
    )
    has_room = scene.inside.has_backlog_room
    assert scene.kernel.ready > 0

    def late(service: VirtualService[Session], key: bytes, now: float) -> bool:
        number = 1000
        while scene.kernel.put(syn_of(number)):
            number += 1
        return has_room(service, key, now)

    monkeypatch.setattr(scene.inside, "has_backlog_room", late)
    assert scene.world.put(syn_of(1)) is (verdicts.COOKIE_SENT if syncookies else verdicts.SYN_BACKLOG_FULL)
    assert scene.service.is_engaged == bool(syncookies)
