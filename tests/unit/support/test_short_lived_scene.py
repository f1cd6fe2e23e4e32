"""tests/support/short_lived_scene.py: its sessions are as the kernel leaves them."""

import pytest

from appliance.model.tcp_state import TcpState
from appliance.state.lane_entry import is_closed, state_in
from tests.support.short_lived_scene import Scene


def test_a_busy_service_has_tickets_from_the_start() -> None:
    scene = Scene()
    assert scene.kernel.ready > 0
    assert (scene.short.young, scene.short.resting, scene.world.sessions()) == (0, 0, [])


@pytest.mark.parametrize(
    ("state", "acknowledged", "closed"),
    [
        (TcpState.ESTABLISHED, True, False),
        (TcpState.TIME_WAIT, True, True),
        (TcpState.TIME_WAIT, False, False),
        (TcpState.CLOSE, True, True),
    ],
)
def test_a_session_moves_as_far_as_is_said(state: TcpState, acknowledged: bool, closed: bool) -> None:
    scene = Scene()
    entry = scene.opens(1)
    assert scene.entry_of(1) == entry
    scene.moves(entry, state, acknowledged=acknowledged)
    assert state_in(scene.cells, entry) == state
    assert is_closed(scene.longs, scene.cells, entry) is closed


def test_what_is_over_is_taken_over_and_looked_at() -> None:
    scene = Scene()
    scene.is_over(1, 2)
    assert scene.short.young == 0
    scene.take_over_and_look()
    assert (scene.short.young, scene.short.resting, scene.conns()) == (0, 2, 2)
