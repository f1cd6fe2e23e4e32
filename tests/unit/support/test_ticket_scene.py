"""support/ticket_scene.py: sessions in it are opened by the kernel, move in it, and are over as the shard sees it."""

from appliance.model.tcp_state import TcpState
from appliance.state.lane_entry import is_closed, state_in
from tests.support.ticket_scene import Scene


def test_a_session_is_open_and_then_over() -> None:
    scene = Scene()
    entry = scene.opens(1)
    assert state_in(scene.cells, entry) == TcpState.SYN_RECV
    scene.moves(entry, TcpState.ESTABLISHED)
    assert not is_closed(scene.longs, scene.cells, entry)
    scene.moves(entry, TcpState.TIME_WAIT, acknowledged=False)
    assert not is_closed(scene.longs, scene.cells, entry)
    scene.moves(entry, TcpState.TIME_WAIT)
    assert is_closed(scene.longs, scene.cells, entry)
    scene.look()
    assert (scene.short.young, scene.conns(), len(scene.local_ends())) == (1, 1, 1)
