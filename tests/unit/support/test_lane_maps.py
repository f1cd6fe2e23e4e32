"""lane_maps.py: the stand-in of the kernel's maps, and that its check finds what is wrong."""

import pytest

from appliance.ipc.lane_layout import FLOW_BYTES
from appliance.sessions.lane import Lane
from appliance.state.session import Session
from tests.support.addresses import C0, R0
from tests.support.lane_maps import FakeMaps, check_lane
from tests.support.world import World


def test_both_flows_come_in_or_neither() -> None:
    maps = FakeMaps(256, room=3)
    a, b, c, d, x = (bytes([number]) * FLOW_BYTES for number in range(5))
    assert maps.insert(a + b, [5]) == []
    assert dict(maps.flows()) == {a: 10, b: 11}
    assert maps.insert(c + d, [6]) == [6], "no room"
    assert dict(maps.flows()) == {a: 10, b: 11}
    assert maps.insert(a + b + c + d, [6, 7]) == [7]
    maps.remove(a + x)
    assert dict(maps.flows()) == {b: 13}


def lane_of_one() -> tuple[World, Lane, Session]:
    world = World(None, FakeMaps())
    world.client.connects(C0, R0)
    world.reconcile()
    (session,) = world.sessions()
    return world, world.inside.lane, session


def test_a_sound_lane_passes() -> None:
    world, lane, session = lane_of_one()
    check_lane(lane, world.maps, [session])


def test_what_is_wrong_is_found() -> None:
    world, lane, session = lane_of_one()
    entry = session.entry or 0
    with pytest.raises(AssertionError, match="whose the entries are"):
        check_lane(lane, world.maps, [])
    lane.entries.in_use += 1
    with pytest.raises(AssertionError, match="how many"):
        check_lane(lane, world.maps, [session])
    lane.entries.in_use -= 1
    lane.entries._free[session.local_port & 255].append(entry)
    with pytest.raises(AssertionError, match="free, resting or in use"):
        check_lane(lane, world.maps, [session])
    lane.entries._free[session.local_port & 255].clear()
    value = world.maps.table.popitem()
    with pytest.raises(AssertionError, match="flows"):
        check_lane(lane, world.maps, [session])
    world.maps.table |= dict([value])
    lane.held.append((session, 0))
    with pytest.raises(AssertionError, match="held after its packet"):
        check_lane(lane, world.maps, [session])
    lane.held.clear()
    session.restart(7, 9)
    with pytest.raises(AssertionError, match="numbers"):
        check_lane(lane, world.maps, [session])
