"""What `lane_scene` says of a session is what its record has."""

import pytest

from appliance.model.tcp_state import TcpState
from appliance.state.lane_entry import CELLS, STATE_CELL, STATE_MASK
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.lane_maps import FakeMaps
from tests.support.lane_scene import asked, check, only, record
from tests.support.segments import udp
from tests.support.world import World, plan


def test_the_record_is_that_of_the_only_session() -> None:
    world = World(None, FakeMaps())
    world.client.connects(C0, R0)
    assert record(world) == record(world, only(world))
    assert record(world).client_isn == C0


def test_what_kernel_and_python_disagree_about_is_found() -> None:
    world = World(None, FakeMaps())
    world.client.connects(C0, R0)
    world.reconcile()
    check(world)
    cells, cell = world.maps.records.cast("I"), (only(world).entry or 0) * CELLS + STATE_CELL
    cells[cell] = cells[cell] & ~STATE_MASK | TcpState.CLOSE_WAIT
    world.maps.table.popitem()
    with pytest.raises(AssertionError):
        check(world)


def test_the_answer_to_a_datagram_comes_from_its_real_server() -> None:
    world = World(plan(with_udp=True), FakeMaps())
    world.put(asked(world))
    world.put(udp(CLIENT, VIP, b"q"))
    assert record(world).protocol == 17
