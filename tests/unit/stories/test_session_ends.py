"""What a session remembers of its beginning and of its end: when it was opened, and whether a RST has ended it."""

import pytest

from appliance.model.tcp_state import STATE_NAMES
from appliance.state.session import Session
from tests.support.addresses import C0, R0
from tests.support.lane_maps import FakeMaps
from tests.support.proxied import opens
from tests.support.world import World, plan


def only(world: World) -> Session:
    world.reconcile()
    (session,) = world.sessions()
    return session


def state_and_reset(world: World) -> tuple[str, bool]:
    session = only(world)
    return STATE_NAMES[session.state], session.was_reset


@pytest.fixture(params=["python", "lane"])
def world(request: pytest.FixtureRequest) -> World:
    made = World(plan(), FakeMaps() if request.param == "lane" else None)
    made.now += 0.25
    made.client.connects(C0, R0)
    return made


def closes(world: World) -> None:
    """The real server first, so that the last ACK is the client's, or its RST."""
    world.rs.sends("FA", seq=R0 + 1, ack=C0 + 1)
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 2)
    world.rs.sends("A", seq=R0 + 2, ack=C0 + 2)


def test_a_connection_that_both_sides_have_closed_was_not_reset(world: World) -> None:
    closes(world)
    assert state_and_reset(world) == ("TIME_WAIT", False)


def test_a_rst_behind_both_fins_does_not_count(world: World) -> None:
    closes(world)
    world.client.sends("R", seq=C0 + 2)
    assert state_and_reset(world)[1] is False


def test_close_that_comes_of_the_last_ack_was_not_reset(world: World) -> None:
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 1)
    world.rs.sends("FA", seq=R0 + 1, ack=C0 + 2)
    world.client.sends("A", seq=C0 + 2, ack=R0 + 2)
    assert state_and_reset(world) == ("CLOSE", False)


@pytest.mark.parametrize("by_client", [True, False], ids=["client", "real server"])
def test_a_rst_of_either_side_counts_and_outlives_the_worker(world: World, by_client: bool) -> None:
    if by_client:
        world.client.sends("R", seq=C0 + 1)
    else:
        world.rs.sends("R", seq=R0 + 1)
    assert state_and_reset(world) == ("CLOSE", True)
    if world.maps.entries:
        world.restart()
        assert state_and_reset(world) == ("CLOSE", True)


@pytest.mark.parametrize("by_client", [True, False], ids=["client", "real server"])
def test_a_blind_rst_does_not_count(world: World, by_client: bool) -> None:
    if by_client:
        world.client.sends("R", seq=C0 + 1 + 5000)
    else:
        world.rs.sends("R", seq=R0 + 1 + 5000)
    assert state_and_reset(world) == ("ESTABLISHED", False)


def test_a_real_server_that_refuses_has_reset_it() -> None:
    world = World()
    world.client.sends("S", seq=C0)
    world.rs.gets("S")
    world.rs.sends("RA", seq=0, ack=C0 + 1)
    assert state_and_reset(world) == ("CLOSE", True)


def test_a_clients_rst_that_leaves_the_session_half_open_does_not_count() -> None:
    world = World()
    world.client.sends("S", seq=C0)
    world.client.sends("R", seq=C0 + 1)
    assert state_and_reset(world) == ("SYN_RECV", False)


def test_a_session_that_starts_anew_is_as_young_as_its_new_connection(world: World) -> None:
    opened_ms = only(world).opened_ms
    assert opened_ms == 1000_250
    world.client.sends("R", seq=C0 + 1)
    world.now += 2.5
    world.client.sends("S", seq=C0 + 100_000)
    session = only(world)
    assert (session.opened_ms, session.was_reset) == (1002_750, False)


def test_a_session_that_is_joined_stays_as_old_as_it_was() -> None:
    world = World(plan(synproxy="always", synproxy_defer=0))
    world.now += 0.5
    opens(world)
    assert STATE_NAMES[only(world).state] == "ESTABLISHED"
    assert only(world).opened_ms == 1000_500


def test_the_moment_is_in_the_record_and_outlives_the_worker() -> None:
    """48 bits of it: after more than the 49 days that 32 bits have room for."""
    world = World(plan(), FakeMaps())
    world.now = 5e6 + 0.123
    world.client.connects(C0, R0)
    assert only(world).opened_ms == 5_000_000_123
    world.restart()
    assert only(world).opened_ms == 5_000_000_123
