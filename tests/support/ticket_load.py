"""Shards that prepare admissions, under a load of connections that come at random and have different lengths."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from random import Random
from typing import NamedTuple

from appliance.ipc.plan import Plan, RealServerPlan
from appliance.model.end_reasons import EndReason
from appliance.shard.shard import Shard
from appliance.state.services import VirtualService
from appliance.state.session import Session
from appliance.wire.flow import flow_key, pack_endpoint
from tests.support.addresses import VIP
from tests.support.lane_maps import FakeMaps
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN
from tests.support.ticket_kernel import TicketKernel
from tests.support.world import World, plan

LOOK_S = 0.01
_FIRST_CLIENT = IPv4Address("198.18.0.1")
_PORTS_OF_CLIENT = 60_000
_FIRST_PORT = 1024


def scene(scheduler: str, weights: Sequence[int], *, shard: int = 0, shards: int = 1) -> Plan:
    """A TCP service with real servers of these weights."""
    usual = plan(shard=shard, shards=shards)
    (web,) = usual.services
    real_servers = tuple(RealServerPlan(f"192.0.2.{101 + slot}", 8080, weight, slot) for slot, weight in enumerate(weights))
    service = replace(web, scheduler=scheduler, real_servers=real_servers)
    return replace(usual, services=(service,), destinations=len(real_servers))


class Outcome(NamedTuple):
    """What a load has come to."""

    by_kernel: float
    """The share of connections that the kernel has opened."""
    mean: float
    most: float
    """By how many connections a real server was away from its share of those that were open: the one that was farthest away at
    each look, as a mean over all looks, and the most of all."""
    returned: float
    """Admissions that were taken back, for each connection."""


class TicketLoad:
    """The shards of one plan, each a world of its own with shared counters."""

    def __init__(self, plans: Sequence[Plan], **tunables: int) -> None:
        """`plans` are those of all shards, in their order."""
        usual = {"prepared_admissions": 1, "tcp_max_syn_backlog": 100_000}
        first = World(plans[0], FakeMaps(16384), **usual | tunables)
        self.worlds = [first]
        for each in plans[1:]:
            world = World(each, FakeMaps(16384), prepared_admissions=1)
            world.shared = first.shared
            world.shard = Shard(each, first.shared, world.now, world.maps)
            self.worlds.append(world)
        self.kernels = [TicketKernel(world, shard) for shard, world in enumerate(self.worlds)]
        self.opened = self.by_kernel = 0
        self._ends: list[tuple[float, int, int, bytes]] = []

    def service(self, shard: int = 0) -> VirtualService[Session]:
        """The one service, as a shard knows it."""
        service = self.worlds[shard].inside.service("tcp", VIP)
        assert service is not None
        return service

    def put_syn(self, shard: int = 0) -> bytes:
        """A SYN of another client; returns the key of its flow."""
        number, self.opened = self.opened, self.opened + 1
        client = pack_endpoint(_FIRST_CLIENT + number // _PORTS_OF_CLIENT, _FIRST_PORT + number % _PORTS_OF_CLIENT)
        syn = tcp(client, VIP, "S", seq=number, options=LINUX_SYN)
        if self.kernels[shard].put(syn):
            self.by_kernel += 1
        else:
            self.worlds[shard].put(syn)
        return flow_key(client, VIP)

    def end(self, key: bytes, shard: int = 0) -> None:
        """A connection is over, and forgotten."""
        inside = self.worlds[shard].inside
        inside.prepared.take_over()
        session, _ = inside.tcp.find(key)
        if session is not None:
            inside.end(session, EndReason.EXPIRED)

    def look(self) -> None:
        """All shards look, once."""
        for world in self.worlds:
            world.shard.reconcile(1000, world.now)
            world._collect_segments()

    def ready(self) -> list[int]:
        """How many admissions are ready for each real server, in all shards."""
        real_servers = [self.service(shard).real_servers for shard in range(len(self.worlds))]
        return [sum(each.ready for each in same) for same in zip(*real_servers, strict=True)]

    def open(self) -> list[int]:
        """How many connections each real server has, in all shards."""
        for world in self.worlds:
            world.inside.prepared.take_over()
        real_servers = [self.service(shard).real_servers for shard in range(len(self.worlds))]
        return [sum(each.open_here for each in same) for same in zip(*real_servers, strict=True)]

    def returned(self) -> int:
        """How many admissions were taken back."""
        return sum(world.counter("tickets_returned") for world in self.worlds)

    def run(self, per_s: float, for_s: float, shares: Sequence[float], random: Random) -> Outcome:
        """Have so many connections a second come for so long: four of five have 0.05 s on average, and the others 2 s. What is
        counted begins when the first third of the time is over. `shares` are those that the real servers should have."""
        distances = list[float]()
        for look, now in enumerate(self._looks(per_s, for_s, random)):
            if look % 2:
                for world in self.worlds:
                    world.shard.publish_counts()
            if now > for_s / 3:
                opened = self.open()
                distances.append(max(abs(each - sum(opened) * share) for each, share in zip(opened, shares, strict=True)))
        mean = sum(distances) / len(distances)
        return Outcome(self.by_kernel / self.opened, mean, max(distances), self.returned() / self.opened)

    def _looks(self, per_s: float, for_s: float, random: Random) -> Iterator[float]:
        began, coming_s = self.worlds[0].now, random.expovariate(per_s)
        for look in range(1, int(for_s / LOOK_S)):
            until = look * LOOK_S
            while coming_s <= until:
                self._end_until(coming_s)
                shard = random.randrange(len(self.worlds))
                length_s = random.expovariate(1 / (0.05 if random.random() < 0.8 else 2))
                heapq.heappush(self._ends, (coming_s + length_s, self.opened, shard, self.put_syn(shard)))
                coming_s += random.expovariate(per_s)
            self._end_until(until)
            for world in self.worlds:
                world.now = began + until
            self.look()
            yield until

    def _end_until(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, _, shard, key = heapq.heappop(self._ends)
            self.end(key, shard)
