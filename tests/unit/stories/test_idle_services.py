"""What real servers cost that nobody uses: nothing, each time the counters are published."""

from dataclasses import replace

import pytest

from appliance.state.real_server import RealServer
from tests.support.addresses import C0, CLIENT, R0, RS1, RS2, VIP
from tests.support.segments import tcp, udp
from tests.support.shard_invariants import check_published
from tests.support.world import World, plan


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The endpoints of real servers whose counters were published, for the test to clear."""
    endpoints: list[bytes] = []
    publish = RealServer.publish

    def noted(real_server: RealServer) -> None:
        endpoints.append(real_server.endpoint)
        publish(real_server)

    monkeypatch.setattr(RealServer, "publish", noted)
    return endpoints


def publishes(world: World, published: list[bytes]) -> list[bytes]:
    published.clear()
    world.shard.publish_counts()
    check_published(world)
    return published


def test_only_real_servers_with_sessions_are_published(published: list[bytes]) -> None:
    world = World(plan(weights=(100, 100)))
    assert publishes(world, published) == [], "what they begin with is seen without it"
    world.client.connects(C0, R0)
    assert publishes(world, published) == [RS1]
    assert publishes(world, published) == [RS1], "as long as it has one"
    world.put(tcp(CLIENT[:4] + b"\x90\x01", VIP, "S", seq=C0))
    assert publishes(world, published) == [RS1, RS2]


def test_one_whose_last_session_has_ended_is_published_once_more(published: list[bytes]) -> None:
    world = World(plan(weights=(100, 100)))
    world.client.connects(C0, R0)
    world.client.sends("R", seq=C0 + 1)
    world.sleep(1000.0)
    assert len(world.inside) == 0
    assert publishes(world, published) == [RS1]
    assert publishes(world, published) == []
    assert world.destination(0)["conns"] == 1


def test_a_session_that_comes_and_goes_between_two_publications_is_seen(published: list[bytes]) -> None:
    world = World(plan(weights=(100,), with_udp=True), udp_timeout_unconfirmed=1000)
    world.put(udp(CLIENT, VIP, b"question"))
    world.sleep(5.0)
    assert len(world.inside) == 0
    assert publishes(world, published) == [RS1]
    assert world.destination(2)["conns"] == 1


def test_a_session_of_a_removed_real_server_is_still_seen(published: list[bytes]) -> None:
    whole = plan(weights=(100, 100))
    (web,) = whole.services
    world = World(whole)
    world.client.connects(C0, R0)
    world.change(replace(whole, services=(replace(web, real_servers=web.real_servers[1:]),)))
    assert publishes(world, published) == [RS1]
    assert world.by_state()["orphan"] == 1
