"""tests/support/ticket_kernel.py: it hands out each ticket once, and only from an open ring."""

from tests.support.addresses import C0, CLIENT, VIP
from tests.support.lane_maps import FakeMaps
from tests.support.segments import tcp
from tests.support.ticket_kernel import TicketKernel
from tests.support.world import World, plan

SYN = tcp(CLIENT, VIP, "S", seq=C0)


def scene() -> tuple[World, TicketKernel]:
    world = World(plan(), FakeMaps(), prepared_admissions=1)
    service = world.inside.service("tcp", VIP)
    assert service is not None
    world.inside.prepared.miss(service)
    return world, TicketKernel(world)


def test_nothing_is_handed_out_of_a_ring_that_is_empty_or_closed() -> None:
    world, kernel = scene()
    assert not kernel.put(SYN)
    world.shard.reconcile(10, world.now)
    was_open = kernel.is_open
    world.inside.prepared.take_back()
    assert (was_open, kernel.is_open) == (True, False)
    assert not kernel.put(SYN)


def test_a_ticket_is_gone_when_it_was_taken() -> None:
    world, kernel = scene()
    world.shard.reconcile(10, world.now)
    before = kernel.ready
    assert kernel.put(SYN)
    assert kernel.ready == before - 1
    (client_flow, server_flow) = world.maps.table
    assert client_flow != server_flow


def test_one_that_comes_to_nothing_is_gone_as_well() -> None:
    world, kernel = scene()
    world.shard.reconcile(10, world.now)
    before, kernel.is_void = kernel.ready, True
    assert not kernel.put(SYN)
    assert kernel.ready == before - 1
    assert not world.maps.table
