"""Real servers as a scheduler knows them, and the keys of clients."""

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.policy.schedulers.contract import Scheduler, Setup
from appliance.policy.schedulers.maglev_table import USUAL_PLACES, MaglevTables
from appliance.policy.schedulers.slow_start import SlowStart
from appliance.wire.flow import flow_key, local_endpoint
from tests.support.addresses import VIP


@dataclass(eq=False)
class Server:
    """A candidate. Two are never equal."""

    weight: int
    endpoint: bytes
    load: int = 0
    slow_start: SlowStart | None = None
    ready: int = 0


def servers(*weights: int, first: int = 0) -> tuple[Server, ...]:
    """Candidates with these weights, whose addresses follow each other; `first` is the number of the first one."""
    return tuple(
        Server(weight, local_endpoint((0xC000_0200 + number).to_bytes(4, "big"), 80))
        for number, weight in enumerate(weights, first)
    )


def setup(shard: int = 0, places: int = USUAL_PLACES) -> Setup:
    """What a scheduler of this shard is made with, which has tables of its own."""
    return Setup(shard, MaglevTables(), places)


def client_key(number: int, port: int = 40000) -> bytes:
    """The key of the client with this number. Each has an address of its own."""
    return flow_key(local_endpoint((0x0A00_0000 + number).to_bytes(4, "big"), port), VIP)


def picks(scheduler: Scheduler, candidates: Sequence[Server], times: int, now: float = 0.0) -> list[int | None]:
    """The indexes of the candidates that are picked, one after the other, each for another client."""
    found = (scheduler.pick(candidates, client_key(number), now) for number in range(times))
    return [None if server is None else candidates.index(server) for server in found]
