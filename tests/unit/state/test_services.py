"""services.py: what a service hands to its scheduler."""

from array import array
from collections.abc import Sequence
from dataclasses import replace

from appliance.ipc.plan import Plan
from appliance.model.counters import ACTIVE_CONNS, DESTINATION_FIELDS, INACTIVE_CONNS, OPENING_CONNS
from appliance.model.verdicts import TO_REAL_SERVER
from appliance.policy.schedulers.contract import CandidateT
from appliance.policy.schedulers.maglev import Maglev
from appliance.shard.shard import Shard
from appliance.state.real_server import UNLISTED
from appliance.state.services import LOOK_ELSEWHERE_S, VirtualService
from appliance.state.session import Session
from appliance.wire.flow import flow_key
from tests.support.addresses import C0, CLIENT, RS1, RS2, VIP
from tests.support.world import World, plan


class LastOne:
    """A scheduler that always picks the last candidate, and keeps what it was given."""

    needs_load = needs_client = False

    def __init__(self) -> None:
        self.given: list[tuple[list[bytes], bytes]] = []

    def pick(self, candidates: Sequence[CandidateT], client_key: bytes, now: float) -> CandidateT | None:  # noqa: ARG002
        self.given.append(([candidate.endpoint for candidate in candidates], client_key))
        return candidates[-1]


def test_the_scheduler_gets_the_real_servers_and_the_clients_key() -> None:
    world = World(plan(weights=(100, 100)))
    service = world.inside.service("tcp", VIP)
    assert service is not None
    service.scheduler = scheduler = LastOne()
    assert world.client.sends("S", seq=C0) is TO_REAL_SERVER
    assert scheduler.given == [([RS1, RS2], flow_key(CLIENT, VIP))]
    assert world.last_to(RS2) is not None, "it got the session"


def choosing(scheduler: str, *weights: int, slow_start_s: int = 0, shard: int = 0, shards: int = 2) -> Plan:
    """A plan whose service has this scheduler."""
    scene = plan(weights=weights, shard=shard, shards=shards)
    [service] = scene.services
    real_servers = tuple(replace(real_server, slow_start_s=slow_start_s) for real_server in service.real_servers)
    return replace(scene, services=(replace(service, scheduler=scheduler, real_servers=real_servers),))


def web(world: World) -> VirtualService[Session]:
    service = world.inside.service("tcp", VIP)
    assert service is not None
    return service


def picked(world: World, times: int) -> list[bytes]:
    """The endpoints that the next sessions would go to, all of them of the same client."""
    found = (web(world).pick_real_server(flow_key(CLIENT, VIP), world.now) for _ in range(times))
    return [real_server.endpoint for real_server in found if real_server]


def test_another_scheduler_is_in_force_at_the_next_session() -> None:
    world = World(choosing("rr", 3, 1))
    assert picked(world, 4) == [RS1, RS2, RS1, RS2]
    world.change(choosing("wrr", 3, 1))
    assert sorted(picked(world, 4)) == [RS1, RS1, RS1, RS2]
    world.change(choosing("sh", 3, 1))
    assert len(set(picked(world, 4))) == 1


def test_the_scheduler_goes_on_where_it_was_when_nothing_of_its_service_has_changed() -> None:
    world = World(choosing("wrr", 3, 1))
    before = web(world).candidates
    found = []
    for _ in range(8):
        found += picked(world, 1)
        world.change(choosing("wrr", 3, 1))
    assert web(world).candidates is before
    assert sorted(found) == [*[RS1] * 6, *[RS2] * 2]
    world.change(choosing("wrr", 3, 2))
    assert web(world).candidates is not before


def test_the_load_of_a_real_server_is_that_of_all_shards() -> None:
    world = World(choosing("lc", 1, 1, shard=1, shards=3))
    world.now += 1.0
    assert picked(world, 2) == [RS2, RS1], "none has any: in turn, and the second shard begins with the second one"
    world.shared.destination(0, 0)[ACTIVE_CONNS] = 1
    world.shared.destination(2, 0)[ACTIVE_CONNS] = 1
    world.shared.destination(2, 1)[INACTIVE_CONNS] = 200
    assert picked(world, 2) == [RS2, RS1], "in turn: others are looked at now and then, and not for each session"
    world.now += LOOK_ELSEWHERE_S
    assert picked(world, 3) == [RS2] * 3
    world.shared.destination(2, 1)[OPENING_CONNS] = 3
    world.now += LOOK_ELSEWHERE_S
    assert picked(world, 3) == [RS1] * 3, "those that open count in full"


def test_sessions_of_its_own_count_at_once_and_when_they_close_hardly() -> None:
    world = World(choosing("lc", 1, 1, shards=1))
    real_servers = web(world).real_servers
    world.client.sends("S", seq=C0)
    first = next(real_server for real_server in real_servers if real_server.load)
    assert first.load == 256, "opening"
    assert world.destination(first.slot)["opening_conns"] == 1
    world.complete(CLIENT)
    assert first.load == 256
    assert world.destination(first.slot)["opening_conns"] == 0
    (other,) = (real_server.endpoint for real_server in real_servers if real_server is not first)
    assert set(picked(world, 5)) == {other}
    world.client.sends("R", seq=C0 + 1)
    assert first.load == 1


def test_a_session_that_ends_while_it_opens_is_no_load() -> None:
    world = World(choosing("lc", 1, shards=1))
    world.client.sends("S", seq=C0)
    assert world.destination()["opening_conns"] == 1
    world.sleep(100.0)
    assert not world.sessions()
    assert world.destination()["opening_conns"] == 0
    assert web(world).real_servers[0].load == 0


def test_a_real_server_starts_slowly_when_it_comes_back_and_not_at_the_start() -> None:
    """However it has come back."""
    world = World(choosing("rr", 1, 1, slow_start_s=10))
    assert [real_server.slow_start for real_server in web(world).real_servers] == [None, None]
    assert picked(world, 4) == [RS1, RS2] * 2
    for away in (choosing("rr", 1, 0, slow_start_s=10), choosing("rr", 1, slow_start_s=10)):
        world.change(away)
        world.sleep(20.0)
        world.change(choosing("rr", 1, 1, slow_start_s=10))
        assert picked(world, 50) == [RS1] * 50
        world.sleep(10.5)
        assert picked(world, 10).count(RS2) == 5


def test_another_weight_above_0_starts_nothing() -> None:
    world = World(choosing("rr", 1, 1, slow_start_s=10))
    world.change(choosing("rr", 1, 2, slow_start_s=10))
    assert picked(world, 4).count(RS2) == 2


def sticky(*weights: int, shard: int = 0, persistence_s: int = 60, mask: int = 32) -> Plan:
    """A plan of two shards whose service remembers its clients."""
    scene = choosing("rr", *weights, shard=shard)
    [service] = scene.services
    return replace(scene, services=(replace(service, persistence_s=persistence_s, persistence_mask=mask),))


def test_a_client_goes_to_one_real_server_in_every_shard_and_after_a_restart_of_one() -> None:
    world = World(sticky(1, 1))
    first = picked(world, 3)
    assert len(set(first)) == 1
    for scene in (sticky(1, 1, shard=1), sticky(1, 1), sticky(1, 1, shard=1)):
        other = Shard(scene, world.shared, world.now)._sessions.service("tcp", VIP)
        assert other is not None
        found = [other.pick_real_server(flow_key(CLIENT, VIP), world.now) for _ in range(3)]
        assert [real_server.endpoint for real_server in found if real_server] == first
    assert world.counter("persistence_hits") == 2 + 3, "those of the other shard are its own"


def test_the_clients_of_an_earlier_run_are_known_to_the_next_one() -> None:
    world = World(sticky(1, 1))
    first = picked(world, 1)
    other = World(sticky(1, 1, shard=1))
    other.shared.count_on_from(world.shared)
    assert picked(other, 1) == first
    assert other.counter("persistence_hits") == 1


def test_persistence_begins_and_ends_with_a_reload() -> None:
    world = World(choosing("rr", 1, 1))
    assert picked(world, 2) == [RS1, RS2]
    world.change(sticky(1, 1))
    assert picked(world, 3) == [RS1] * 3
    world.change(sticky(0, 1))
    assert picked(world, 3) == [RS2] * 3, "a drained real server keeps no client"
    world.change(sticky(1, 1))
    assert picked(world, 3) == [RS2] * 3
    world.change(choosing("rr", 1, 1))
    assert set(picked(world, 2)) == {RS1, RS2}


def test_a_client_is_forgotten_when_its_time_is_over() -> None:
    world = World(sticky(1, 1, persistence_s=60))
    assert picked(world, 1) == [RS1]
    world.now += 59.9
    assert picked(world, 1) == [RS1]
    world.now += 60.1
    assert picked(world, 1) == [RS2]


def test_the_table_of_a_service_is_built_between_packets() -> None:
    world = World(choosing("mh", 1, 1))
    scheduler = web(world).scheduler
    assert isinstance(scheduler, Maglev)
    picked(world, 1)
    steps = 1
    while world.shard.on_tick(world.now, 50):
        steps += 1
    assert steps > 20, "a step each"
    picked(world, 1)
    assert scheduler._table is not None


def test_a_real_server_of_adopted_sessions_counts_on_where_an_earlier_worker_of_its_place_was() -> None:
    """It is in no plan, until a reload brings it back."""
    world = World(plan(weights=(100,)))
    service = world.inside.service("tcp", VIP)
    assert service is not None
    assert service.real_server_of_adopted(RS1) is service.real_servers[0]
    unlisted = service.real_server_of_adopted(RS2)
    assert (unlisted.slot, unlisted.is_removed, unlisted.weight) == (UNLISTED, True, 0)
    assert service.real_server_of_adopted(RS2) is unlisted
    world.shard.publish_counts()
    world.shared.destination(0, 1)[:] = array("Q", (10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110))
    unlisted.counts[:] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    world.change(plan(weights=(100, 100)))
    assert world.destination(1) == dict(zip(DESTINATION_FIELDS, (11, 22, 33, 44, 55, 6, 7 + 11, 8, 99, 110, 6 + 7), strict=True))
    assert service.real_servers[1] is unlisted
    world.change(plan(weights=(100, 90)))
    assert world.destination(1)["conns"] == 55, "once"
