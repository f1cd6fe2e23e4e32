"""Sessions of the lane that end, or fail, while somebody has them in his hands: nobody ends them twice, or waits for them."""

from math import inf

import pytest

from appliance.ipc.queries import CUT
from appliance.model import verdicts
from appliance.model.tcp_state import TcpState
from appliance.state.lane_entry import CELLS, STATE_CELL, STATE_MASK
from appliance.state.session import Session
from appliance.wire.flow import destination_of, source_of
from appliance.wire.seq import add
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.lane_maps import FakeMaps, check_lane
from tests.support.segments import tcp
from tests.support.shard_invariants import check_sessions, sessions_of
from tests.support.world import World, plan


def client(number: int) -> bytes:
    return CLIENT[:4] + (40_000 + number).to_bytes(2, "big")


def session_of(world: World, number: int) -> Session:
    return next(session for session in world.sessions() if source_of(session.client_key) == client(number))


def goes_to_time_wait(world: World, number: int, *, but_for_its_last_packet: bool = False) -> bytes:
    """Let a connection be closed by its real server; returns the packet with which it comes into TIME_WAIT."""
    world.put(tcp(client(number), VIP, "S", seq=C0))
    session = session_of(world, number)
    here, there, isn = source_of(session.server_key), destination_of(session.server_key), session.isn
    world.put(tcp(here, there, "SA", seq=R0, ack=add(isn, 1)))
    world.put(tcp(client(number), VIP, "A", seq=C0 + 1, ack=R0 + 1))
    world.put(tcp(here, there, "FA", seq=R0 + 1, ack=add(isn, 1)))
    world.put(tcp(client(number), VIP, "FA", seq=C0 + 1, ack=R0 + 2))
    last = tcp(here, there, "A", seq=R0 + 2, ack=add(isn, 2))
    if not but_for_its_last_packet:
        world.put(last)
    return last


def check(world: World) -> None:
    check_lane(world.inside.lane, world.maps, sessions_of(world.inside))
    check_sessions(world, are_settled=True)


@pytest.mark.parametrize("first", [0, 1])
def test_a_timer_that_fires_for_two_sessions_of_which_the_first_takes_the_place_of_the_second(first: int) -> None:
    world = World(None, FakeMaps(), tcp_max_tw_buckets=1, tcp_timeout_time_wait=30_000, tcp_timeout_last_ack=30_000)
    goes_to_time_wait(world, 0)
    last = goes_to_time_wait(world, 1, but_for_its_last_packet=True)
    world.reconcile()
    world.now += 0.05
    world.put(last)
    world.now += 30.5
    order = [session_of(world, number) for number in (first, 1 - first)]
    wheel = world.inside.wheel
    expired = wheel.expired
    wheel.expired = lambda now, limit: sorted(expired(now, limit), key=order.index)  # type: ignore[method-assign]
    while world.shard.on_tick(world.now, 10):
        pass
    world._collect_segments()
    check(world)


def test_a_cut_of_a_session_that_ends_while_others_are_looked_at() -> None:
    world = World(None, FakeMaps(), tcp_max_tw_buckets=1)
    lasts = [goes_to_time_wait(world, number, but_for_its_last_packet=True) for number in range(40)]
    world.reconcile()
    for last in lasts:
        world.put(last)
    world.walk_all(CUT)
    world.reconcile()
    world.sleep(0.3)
    check(world)
    assert not world.sessions()


def test_a_session_that_starts_anew_while_the_backlog_is_looked_at() -> None:
    world = World(plan(synproxy="auto"), FakeMaps(), tcp_max_tw_buckets=1, tcp_max_syn_backlog=16, synproxy_defer=0)
    goes_to_time_wait(world, 0)
    goes_to_time_wait(world, 1, but_for_its_last_packet=True)
    for number in range(16):
        world.put(tcp(client(100 + number), VIP, "S", seq=C0))
    world.reconcile()
    kernel_moves(world, session_of(world, 1), TcpState.TIME_WAIT)
    world.complete(client(100))
    assert world.put(tcp(client(0), VIP, "S", seq=C0 + 70_000)) is verdicts.TO_REAL_SERVER
    world.reconcile()
    check(world)


def kernel_moves(world: World, session: Session, state: TcpState) -> None:
    """Let the kernel move the state of a session, whatever packet that takes."""
    entry = session.entry or 0
    cells, at = world.maps.records.cast("I"), entry * CELLS + STATE_CELL
    cells[at] = cells[at] & ~STATE_MASK | state
    world.maps.changed[entry] = 1


def test_a_session_that_cannot_be_written_holds_up_no_others() -> None:
    world = World(None, FakeMaps())
    world.carries = lambda: False
    for number in range(2):
        world.put(tcp(client(number), VIP, "S", seq=C0))
    broken, other = session_of(world, 0), session_of(world, 1)
    world.inside.lane.hold(broken)
    broken.deadline = inf  # of which no moment can be made
    with pytest.raises(OverflowError):
        world.complete(client(1))
    assert world.complete(client(1)) is verdicts.TO_REAL_SERVER
    assert not world.maps.record(other.entry or 0).is_held
    assert world.maps.record(broken.entry or 0).is_held
