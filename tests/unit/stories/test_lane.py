"""Sessions in the lane: the kernel carries what Python decided, and Python knows what the kernel has seen before it acts."""

from tests.support.addresses import C0, R0
from tests.support.lane_maps import FakeMaps, check_lane
from tests.support.world import World


def lane_world(**tunables: int) -> World:
    return World(None, FakeMaps(), **tunables)


def test_everything_after_the_syn_is_carried_by_the_kernel() -> None:
    world = lane_world()
    world.client.connects(C0, R0)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"GET")
    world.rs.gets("PA", data=b"GET")
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 4, data=b"answer")
    world.client.gets("PA", data=b"answer")
    world.client.sends("FA", seq=C0 + 4, ack=R0 + 7)
    world.rs.sends("FA", seq=R0 + 7, ack=C0 + 5)
    world.client.sends("A", seq=C0 + 5, ack=R0 + 8)
    assert world.carried == 7
    world.reconcile()
    assert world.by_state() == {"close": 1}
    check_lane(world.inside.lane, world.maps, world.sessions())
