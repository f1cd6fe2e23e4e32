"""services.py: what a service hands to its scheduler."""

from collections.abc import Sequence

from appliance.model.verdicts import TO_REAL_SERVER
from appliance.policy.schedulers.contract import CandidateT
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
