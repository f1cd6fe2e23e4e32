"""services.py: what a service hands to its scheduler."""

from array import array
from collections.abc import Sequence

from appliance.model.counters import DESTINATION_FIELDS
from appliance.model.verdicts import TO_REAL_SERVER
from appliance.policy.schedulers.contract import CandidateT
from appliance.state.services import UNLISTED
from appliance.wire.flow import flow_key
from tests.support.addresses import C0, CLIENT, RS1, RS2, VIP
from tests.support.world import World, plan


class LastOne:
    """A scheduler that always picks the last candidate, and keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[list[bytes], bytes]] = []

    def pick(self, candidates: Sequence[CandidateT], client_key: bytes) -> CandidateT | None:
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
    world.shared.destination(0, 1)[:] = array("Q", (10, 20, 30, 40, 50, 60, 70))
    unlisted.counts[:] = [1, 2, 3, 4, 5, 6, 7]
    world.change(plan(weights=(100, 100)))
    assert world.destination(1) == dict(zip(DESTINATION_FIELDS, (11, 22, 33, 44, 55, 6, 7), strict=True))
    assert service.real_servers[1] is unlisted
    world.change(plan(weights=(100, 90)))
    assert world.destination(1)["conns"] == 55, "once"
