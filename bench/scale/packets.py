"""What a packet of an established session, and a new session, cost a shard with few services and with thousands beside them."""

import gc
import statistics
from collections.abc import Sequence
from time import thread_time
from typing import NamedTuple

from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.shard.shard import Shard
from bench.rig.conversation import Conversation, new_shard
from bench.scale.configuration import FIRST_REAL_SERVER, FIRST_VIP, PORT, SERVER_PORT

ROUNDS = 400
PACKETS_PER_ROUND = 600


class Ratio(NamedTuple):
    """With thousands, divided by the same with few: one value for each pair of rounds."""

    median: float
    lowest: float
    highest: float
    """Nine of ten lie between these two."""


def ratio(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """Of pairs of figures: with few, and with many."""
    ratios = sorted(many / few for few, many in pairs)
    twentieth = len(ratios) // 20
    return Ratio(statistics.median(ratios), ratios[twentieth], ratios[-1 - twentieth])


def idle_services(number: int, per_service: int) -> tuple[ServicePlan, ...]:
    """So many, each with real servers of its own, in the slots from 1 on."""
    return tuple(
        ServicePlan(f"idle-{one}", str(FIRST_VIP + one), PORT, "rr", ("192.0.2.10",), _servers(one, per_service))
        for one in range(number)
    )


def _servers(service: int, number: int) -> tuple[RealServerPlan, ...]:
    places = range(service * number, (service + 1) * number)
    return tuple(RealServerPlan(str(FIRST_REAL_SERVER + place), SERVER_PORT, 100, place + 1) for place in places)


def packet_costs(services: int, per_service: int) -> dict[str, Ratio]:
    """By kind of packet; rounds with one idle service and with `services` of them take turns in one process."""
    shards = [new_shard(idle=idle_services(number, per_service)) for number in (1, services)]
    connections = [Conversation().opened(shard) for shard in shards]
    small = [connection.client() for connection in connections]
    costs: dict[str, list[tuple[float, float]]] = {"a packet": [], "a new session": []}
    gc.disable()
    for number in range(ROUNDS):
        in_turn = (0, 1) if number % 2 else (1, 0)  # neither always finds what the other has just used
        took = {place: _cpu_us(shards[place], [small[place]] * PACKETS_PER_ROUND) for place in in_turn}
        costs["a packet"].append((took[0], took[1]))
        syns = [Conversation(1 + number * 20 + each).syn() for each in range(20)]
        took = {place: _cpu_us(shards[place], syns) for place in in_turn}
        costs["a new session"].append((took[0], took[1]))
    gc.enable()
    return {kind: ratio(pairs) for kind, pairs in costs.items()}


def _cpu_us(shard: Shard, packets: Sequence[bytes]) -> float:
    """Microseconds of CPU for each packet: what others do on the machine meanwhile counts less than in time on the wall."""
    start = thread_time()
    for raw in packets:
        shard.handle(raw, 1.0)
    return (thread_time() - start) / len(packets) * 1e6
