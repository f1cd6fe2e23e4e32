"""What is known of a gateway after some answers of its API, as the rows of each view. Pure: it is told when an answer came."""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Any

from appliance.model.counters import EXT_COUNTERS, QUEUE_COUNTERS, VERDICT_COUNTERS
from appliance.top import answers
from appliance.top.answers import CARRIED, FIELDS, IN_BYTES, OUT_BYTES, PACKETS, SESSIONS, Attack, Clients, Condition, Counts
from appliance.top.meter import Meter, Rates, share
from appliance.top.rows import ClientRow, DropRow, ServerRow, ServiceRow, ShardRow, Summary

HEALTHZ, TRAFFIC, TABLE, ATTACK = "/healthz", "/stats/ip_vs_stats", "/stats/conntrack", "/stats/attack"
SERVICES, QUEUES, HEALTH, DROPS, CLIENTS = "/stats/ip_vs", "/stats/queues", "/health", "/stats/drops", "/conns/top"
EXT, LANE_STATS = "/stats/ext", "/stats/lane"
"""Paths of the API."""

FULL_QUEUE = ("queue_full_drops", "socket_drops")
"""What the kernel drops in front of a worker that does not keep up."""

LANE, ALL = "lane", "all"
"""The rows of the traffic that are no shard's."""

_MEANINGS = {counter.name: counter.summary for counter in (*EXT_COUNTERS, *VERDICT_COUNTERS, *QUEUE_COUNTERS)}
_OF_KERNEL = "_drops"
"""How the name of a counter ends that has packets dropped by the kernel."""


def _drawn(rates: Rates) -> float | None:
    return rates[PACKETS]


class Picture:
    """All that the answers so far say. `take` is given each of them, in any order, and whichever are asked for."""

    def __init__(self) -> None:
        self.condition = Condition("", (), "", ())
        self.attacks: tuple[Attack, ...] = ()
        self.clients = Clients(0, 0, ())
        self._services: tuple[answers.Service, ...] = ()
        self._standings: Mapping[tuple[str, str], answers.Standing] = {}
        self._table: tuple[int, int] | None = None
        self._shards = 0
        self._totals: dict[str, int] = {}
        self._of_services = Meter[str](FIELDS, _drawn)
        self._of_servers = Meter[tuple[str, str]](FIELDS, None)
        self._of_traffic = Meter[str](FIELDS, _drawn)
        self._of_cpus = Meter[int](1, None)
        self._of_queues = Meter[int](1, None)
        self._of_drops = {path: Meter[str](1) for path in (DROPS, QUEUES, EXT)}
        self._dropped: dict[str, dict[str, int]] = {path: {} for path in self._of_drops}

    def take(self, path: str, at_s: float, answer: Any) -> None:
        """Take the answer to a path, which came at a moment in seconds of a monotonic clock. Raises AnswerError."""
        _TAKERS[path](self, at_s, answer)

    def _take_healthz(self, at_s: float, answer: Any) -> None:
        self.condition = answers.condition(answer)
        times = {shard: (worker.cpu_s,) for shard, worker in enumerate(self.condition.shards) if worker.cpu_s is not None}
        self._of_cpus.sample(at_s, times)

    def _take_lane(self, _: float, answer: Any) -> None:
        """Nothing of it is shown: who asks has all that the lane carried counted at once, and not within a second. Rates would
        jump between nothing and twice as much."""
        answers.is_object(answer)

    def _take_traffic(self, at_s: float, answer: Any) -> None:
        shards, lane = answers.traffic(answer)
        rows = {str(shard): counts for shard, counts in enumerate(shards)} | {LANE: lane}
        self._shards = len(shards)
        self._of_traffic.sample(at_s, rows | {ALL: _sum(rows.values())})

    def _take_table(self, _: float, answer: Any) -> None:
        self._table = answers.table_of_sessions(answer)

    def _take_attacks(self, _: float, answer: Any) -> None:
        self.attacks = answers.attacks(answer)

    def _take_services(self, at_s: float, answer: Any) -> None:
        self._services = answers.services(answer)
        self._of_services.sample(at_s, {service.name: service.counts for service in self._services})
        servers = chain.from_iterable(service.servers for service in self._services)
        self._of_servers.sample(at_s, {(server.service, server.endpoint): server.counts for server in servers})

    def _take_standings(self, _: float, answer: Any) -> None:
        self._standings = answers.standings(answer)

    def _take_queues(self, at_s: float, answer: Any) -> None:
        rows = list(answers.counters(answer))
        dropped = [shards for name, _, shards, _ in rows if name in FULL_QUEUE]
        self._of_queues.sample(at_s, {shard: (sum(cells),) for shard, cells in enumerate(zip(*dropped, strict=False))})
        self._count_drops(QUEUES, at_s, {name: total for name, total, _, _ in rows if name.endswith(_OF_KERNEL)})

    def _take_drops(self, at_s: float, answer: Any) -> None:
        self._count_drops(DROPS, at_s, {name: total for name, total, _, _ in answers.counters(answer)})

    def _take_ext(self, at_s: float, answer: Any) -> None:
        """What the kernel dropped before any worker saw it; what workers dropped is among the reasons of /stats/drops."""
        self._count_drops(EXT, at_s, dict(answers.in_kernel(answer)))

    def _count_drops(self, path: str, at_s: float, totals: dict[str, int]) -> None:
        self._dropped[path] = totals
        self._of_drops[path].sample(at_s, {name: (total,) for name, total in totals.items()})

    def _take_clients(self, _: float, answer: Any) -> None:
        self.clients = answers.clients(answer)

    @property
    def summary(self) -> Summary:
        """The gateway as a whole."""
        opened, packets, in_bytes, out_bytes, carried = self._of_traffic.rates(ALL)
        sessions, most = self._table or (None, None)
        trend = self._of_traffic.trend(ALL)
        return Summary(opened, packets, _bits(in_bytes), _bits(out_bytes), share(carried, packets), sessions, most, trend)

    def service_rows(self) -> list[ServiceRow]:
        """All services."""
        return [self._service_row(service) for service in self._services]

    def _service_row(self, service: answers.Service) -> ServiceRow:
        rates = self._of_services.rates(service.name)
        servers = service.servers
        return ServiceRow(
            service.name,
            f"{service.protocol} {service.endpoint}",
            rates[SESSIONS],
            rates[PACKETS],
            _bits(rates[IN_BYTES]),
            _bits(rates[OUT_BYTES]),
            sum(server.sessions for server in servers),
            sum(server.half_open for server in servers),
            service.cookies,
            share(rates[CARRIED], rates[PACKETS]) if service.knows_lane else None,
            sum(server.state == "up" for server in servers),
            len(servers),
            self._of_services.trend(service.name),
        )

    def shard_rows(self) -> list[ShardRow]:
        """All shards, then the lane, then all together."""
        return [*(self._shard_row(shard) for shard in range(self._shards)), self._traffic_row(LANE), self._traffic_row(ALL)]

    def _shard_row(self, shard: int) -> ShardRow:
        workers = self.condition.shards
        worker = workers[shard] if shard < len(workers) else answers.Shard(True, 0, None, None)
        (dropped,), (cpu,) = self._of_queues.rates(shard), self._of_cpus.rates(shard)
        return self._traffic_row(str(shard))._replace(
            state="up" if worker.is_up else "down",
            waiting=worker.waiting,
            dropped_per_s=dropped,
            cpu=cpu,
            starts=worker.starts,
        )

    def _traffic_row(self, name: str) -> ShardRow:
        rates = self._of_traffic.rates(name)
        return ShardRow(
            name,
            self.condition.lane.partition(" ")[0] if name == LANE else "",
            rates[SESSIONS],
            rates[PACKETS],
            _bits(rates[IN_BYTES]),
            _bits(rates[OUT_BYTES]),
            *(None, None, None, None),
            self._of_traffic.trend(name),
        )

    def server_rows(self) -> list[ServerRow]:
        """All real servers."""
        return [self._server_row(server) for service in self._services for server in service.servers]

    def _server_row(self, server: answers.Server) -> ServerRow:
        key = server.service, server.endpoint
        rates, standing = self._of_servers.rates(key), self._standings.get(key)
        state = "down" if server.state == "down" else "drained" if server.is_drained else server.state
        return ServerRow(
            *key,
            f"{state}, backup" if server.is_backup else state,
            0 if server.is_drained else server.weight,
            server.sessions,
            server.half_open,
            rates[SESSIONS],
            rates[PACKETS],
            standing.since_s if standing else None,
            standing.reason if standing else "",
        )

    def drop_rows(self) -> list[DropRow]:
        """All reasons for which a packet has been dropped so far."""
        return [
            DropRow(reason, meter.rates(reason)[0], total, _MEANINGS.get(reason, ""), meter.trend(reason))
            for path, meter in self._of_drops.items()
            for reason, total in self._dropped[path].items()
            if total
        ]

    def client_rows(self) -> list[ClientRow]:
        """The clients with most sessions."""
        return [ClientRow(client, conns, share(conns, self.clients.sessions)) for client, conns in self.clients.most]


_TAKERS: Mapping[str, Callable[[Picture, float, Any], None]] = MappingProxyType({
    HEALTHZ: Picture._take_healthz,
    TRAFFIC: Picture._take_traffic,
    TABLE: Picture._take_table,
    ATTACK: Picture._take_attacks,
    SERVICES: Picture._take_services,
    HEALTH: Picture._take_standings,
    QUEUES: Picture._take_queues,
    DROPS: Picture._take_drops,
    EXT: Picture._take_ext,
    LANE_STATS: Picture._take_lane,
    CLIENTS: Picture._take_clients,
})  # fmt: skip


def _sum(rows: Iterable[Counts]) -> Counts:
    return tuple(map(sum, zip(*rows, strict=True)))


def _bits(bytes_per_s: float | None) -> float | None:
    return None if bytes_per_s is None else 8 * bytes_per_s
