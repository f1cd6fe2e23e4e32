"""The steps of a client of SYNPROXY: each does what it says, and notices when the shard does not."""

import pytest

from appliance.model import verdicts
from tests.support.addresses import C0, R0
from tests.support.proxied import GET, asks, opens, proves
from tests.support.tcp_options import MSS_1460
from tests.support.world import World, plan

STEPS = pytest.mark.parametrize("step", [asks, proves, opens])


def proxied() -> World:
    return World(plan(synproxy="always"))


def test_a_client_that_asks_has_no_session() -> None:
    world = proxied()
    assert asks(world).ack == C0 + 1
    assert world.rows() == []


def test_a_client_that_proves_itself_has_a_session_whose_real_server_was_asked() -> None:
    world = proxied()
    cookie = proves(world)
    assert world.state() == "SYN_SENT"
    assert [session.cookie for session in world.sessions()] == [cookie]


def test_a_client_that_opens_has_an_established_session() -> None:
    world = proxied()
    cookie = opens(world, rs_options=MSS_1460)
    assert world.state() == "ESTABLISHED"
    assert world.client.sends("A", seq=C0 + 1 + len(GET), ack=cookie + 1) is verdicts.TO_REAL_SERVER
    world.rs.gets("A", ack=R0 + 1)


@STEPS
def test_every_step_fails_where_there_is_no_synproxy(step: object) -> None:
    assert callable(step)
    with pytest.raises(AssertionError, match="to_real_server"):
        step(World())
