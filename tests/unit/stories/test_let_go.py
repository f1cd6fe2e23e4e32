"""Packets that came up because their session was held, and that Python judges when it has let go of the session.

If it held the session again for each of them, a stream that comes faster than Python judges it would never get out of its hands.
"""

from collections.abc import Callable
from unittest.mock import Mock

import pytest

from appliance.ipc.session_record import Flags
from appliance.model import verdicts
from appliance.model.tcp_state import IN, TcpState
from appliance.state.lane_entry import CELLS, IN_ITS_OPENING, STATE_CELL, STATE_MASK
from appliance.state.progress import progress_of
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.lane_maps import FakeMaps
from tests.support.lane_scene import asked, check, only, record
from tests.support.segments import udp
from tests.support.world import World, plan

SACK = b"\1\1\5\12" + (C0 + 50).to_bytes(4, "big") + (C0 + 60).to_bytes(4, "big")
IDLE_S = 100
Packet = Callable[[World], object]


def opened(synproxy: str = "never") -> World:
    """A world with one session, which is not in its opening any more."""
    world = World(plan(synproxy=synproxy), FakeMaps())
    world.client.connects(C0, R0)
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1, data=b"x")
    world.client.sends("A", seq=C0 + 1, ack=R0 + 2)
    world.reconcile()
    return world


def half_closed(synproxy: str) -> World:
    """One whose real server has sent its FIN."""
    world = opened(synproxy)
    world.rs.sends("FA", seq=R0 + 2, ack=C0 + 1)
    world.reconcile()
    assert world.state() == "FIN_WAIT"
    return world


def with_datagrams() -> tuple[World, bytes]:
    """One with a session of UDP that is confirmed, and the answer of its real server."""
    world = World(plan(with_udp=True), FakeMaps())
    answer = asked(world)
    world.put(answer)
    world.put(udp(CLIENT, VIP, b"q"))
    return world, answer


def coming_up(world: World, monkeypatch: pytest.MonkeyPatch) -> Mock:
    """All packets come up from now on. Returns what notes the holds."""
    world.carries = lambda: False
    hold = Mock(wraps=world.inside.lane.hold)
    monkeypatch.setattr(world.inside.lane, "hold", hold)
    return hold


def client_data(world: World) -> object:
    return world.client.sends("PA", seq=C0 + 1, ack=R0 + 2, data=b"GET")


def server_data(world: World) -> object:
    return world.rs.sends("A", seq=R0 + 2, ack=C0 + 1, data=b"answer")


def server_sack(world: World) -> object:
    return world.rs.sends("A", seq=R0 + 2, ack=C0 + 1, options=SACK)


@pytest.mark.parametrize("packet", [client_data, server_data, server_sack])
def test_a_packet_that_moves_nothing_holds_nothing(packet: Packet, monkeypatch: pytest.MonkeyPatch) -> None:
    world = opened()
    hold = coming_up(world, monkeypatch)
    world.now += IDLE_S
    before = progress_of(only(world))
    assert packet(world) in (verdicts.TO_CLIENT, verdicts.TO_REAL_SERVER)
    hold.assert_not_called()
    after = progress_of(only(world))
    assert after.client.packets + after.real_server.packets == before.client.packets + before.real_server.packets + 1
    assert record(world).last_seen_ns == pytest.approx(world.now * 1e9)
    assert after.deadline == pytest.approx(world.now + world.inside.lane.timeouts_s[TcpState.ESTABLISHED])
    check(world)


@pytest.mark.parametrize(
    "packet",
    [
        lambda world: world.client.sends("FA", seq=C0 + 1, ack=R0 + 2),
        lambda world: world.client.sends("R", seq=C0 + 1),
        lambda world: world.rs.sends("RA", seq=R0 + 2, ack=C0 + 1),
        lambda world: world.client.sends("S", seq=C0 + 900),
        lambda world: world.rs.sends("SA", seq=R0, ack=C0 + 1),
    ],
    ids=["FIN", "RST", "RST of a real server", "SYN", "SYN-ACK"],
)
def test_a_packet_that_may_move_something_holds_its_session(packet: Packet, monkeypatch: pytest.MonkeyPatch) -> None:
    world = opened()
    hold = coming_up(world, monkeypatch)
    packet(world)
    hold.assert_called_once()


@pytest.mark.parametrize("synproxy", ["never", "auto"])
def test_an_acknowledgement_on_a_session_that_closes_may_be_a_cookie(synproxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the session is held, unless its service never sends cookies."""
    world = half_closed(synproxy)
    hold = coming_up(world, monkeypatch)
    client_data(world)
    assert hold.called == (synproxy != "never")


def test_a_session_in_time_wait_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    world = half_closed("never")
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 3)
    world.rs.sends("A", seq=R0 + 3, ack=C0 + 2)
    world.reconcile()
    assert world.state() == "TIME_WAIT"
    hold = coming_up(world, monkeypatch)
    world.rs.sends("A", seq=R0 + 3, ack=C0 + 2)
    hold.assert_called_once()


def test_what_the_kernel_has_moved_is_taken_over_first(monkeypatch: pytest.MonkeyPatch) -> None:
    world = opened()
    hold = coming_up(world, monkeypatch)
    cell, cells = (only(world).entry or 0) * CELLS + STATE_CELL, world.maps.records.cast("I")
    cells[cell] = cells[cell] & ~STATE_MASK | TcpState.FIN_WAIT
    server_data(world)
    hold.assert_called_once()
    assert only(world).state == TcpState.FIN_WAIT


@pytest.mark.parametrize("knows", ["Python", "the kernel"])
def test_a_session_in_its_opening_is_held(knows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is, as long as one of the two does not know that its opening is over."""
    world = World(plan(synproxy="never"), FakeMaps())
    world.client.connects(C0, R0)
    world.reconcile()
    assert record(world).flags & Flags.IS_OPENING
    assert only(world).state == TcpState.ESTABLISHED
    if knows == "Python":
        only(world).opening, only(world).first_table = None, IN
    else:
        cell, cells = (only(world).entry or 0) * CELLS + STATE_CELL, world.maps.records.cast("I")
        cells[cell] &= ~IN_ITS_OPENING
    hold = coming_up(world, monkeypatch)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"GET")
    hold.assert_called_once()


def test_a_session_that_python_has_stays_held(monkeypatch: pytest.MonkeyPatch) -> None:
    world = opened()
    world.client.sends("S", seq=C0 + 9000)
    assert record(world).is_held
    hold = coming_up(world, monkeypatch)
    server_data(world)
    hold.assert_called_once()


def test_a_session_that_leaves_its_real_server_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    world = opened()
    hold = coming_up(world, monkeypatch)
    only(world).real_server.lets_go = True
    client_data(world)
    hold.assert_called_once()


def test_a_datagram_of_a_confirmed_session_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world, answer = with_datagrams()
    hold = coming_up(world, monkeypatch)
    world.now += IDLE_S
    assert world.put(answer) is verdicts.TO_CLIENT
    hold.assert_not_called()
    assert record(world).last_seen_ns == pytest.approx(world.now * 1e9)
    check(world)
    only(world).real_server.lets_go = True
    world.put(udp(CLIENT, VIP, b"q"))
    hold.assert_called_once()


def test_a_datagram_of_a_session_that_is_not_confirmed_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world, answer = with_datagrams()
    only(world).await_confirmation()
    hold = coming_up(world, monkeypatch)
    world.put(answer)
    hold.assert_called_once()
