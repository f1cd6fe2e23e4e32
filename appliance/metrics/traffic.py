"""The families of traffic and sessions: of the whole gateway, of each shard and the lane, of each real server. Pure."""

from collections.abc import Callable, Iterable, Iterator

from appliance.ipc.plan import RealServerPlan
from appliance.metrics.family import Family, Series, counter, gauge, one
from appliance.metrics.label import label
from appliance.metrics.reading import Reading
from appliance.model.counters import (
    ACTIVE_CONNS,
    BYTES,
    CONNS,
    DESTINATION_FIELDS,
    INACTIVE_CONNS,
    OPEN_CONNS,
    OPENING_CONNS,
    REFUSED_CONNS,
    STATE_FIELDS,
    UNANSWERED_CONNS,
)
from appliance.model.verdicts import LIMITS_REACHED

_WORDS = len(DESTINATION_FIELDS)
_DIRECTIONS = ("in", "out")
"""From clients, and from real servers: their place is the offset among DESTINATION_FIELDS."""

_Read = Callable[[Reading], Iterable[Series]]
_PACKETS = 0


def _by_state(reading: Reading) -> list[int]:
    """The gauges of STATE_FIELDS, summed over all shards. The lane has none: its sessions are those of shards."""
    return [sum(column) for column in zip(*reading.table("states"), strict=True)]


def _sessions(reading: Reading) -> Iterable[Series]:
    *states, _ = zip(STATE_FIELDS, _by_state(reading), strict=True)
    return (((state,), number) for state, number in states)


def _of_shards(place: int) -> _Read:
    """Sums over all slots: those of real servers that were removed stay in them, so the counters only grow."""
    return lambda reading: (
        ((str(shard), direction), sum(row[place + offset :: _WORDS]))
        for shard, row in enumerate(reading.rows[:-1])
        for offset, direction in enumerate(_DIRECTIONS)
    )


def _of_lane(place: int) -> _Read:
    return lambda reading: (
        ((direction,), sum(reading.rows[-1][place + offset :: _WORDS])) for offset, direction in enumerate(_DIRECTIONS)
    )


def _opened(reading: Reading) -> Iterable[Series]:
    return (((str(shard),), sum(row[CONNS::_WORDS])) for shard, row in enumerate(reading.rows[:-1]))


def _of_real_servers(*series: tuple[tuple[str, ...], int]) -> _Read:
    """For each real server, these series: labels behind `service` and `real_server`, and the place among DESTINATION_FIELDS."""

    def read(reading: Reading) -> Iterator[Series]:
        for named, _, counts in reading.destinations:
            for more, place in series:
                yield (*named, *more), counts[place]

    return read


def _both_directions(place: int) -> tuple[tuple[tuple[str, ...], int], ...]:
    return tuple(((direction,), place + offset) for offset, direction in enumerate(_DIRECTIONS))


def _of_real_server(read: Callable[[Reading, RealServerPlan], float]) -> _Read:
    """One series for each real server."""
    return lambda reading: ((named, read(reading, server)) for named, server, _ in reading.destinations)


def _refused(reading: Reading) -> Iterator[Series]:
    columns = reading.shared.refusal_columns()
    for service in reading.services:
        slots, name = [server.slot for server in service.real_servers], label(service.name)
        for verdict, column in zip(LIMITS_REACHED, columns, strict=True):
            yield (name, verdict.name), sum(map(column.__getitem__, slots))


_NAMED = ("service", "real_server")

TRAFFIC: tuple[Family, ...] = (
    gauge("sessions", "sessions there are now, by the state of their TCP connection, or udp", _sessions, "state"),
    gauge("orphan_sessions", "those TCP sessions whose real server was removed", one(lambda reading: _by_state(reading)[-1])),
    gauge(
        "shard_sessions",
        "sessions that a shard has now",
        lambda reading: (((str(shard),), number) for shard, number in enumerate(reading.shared.session_counts)),
        "shard",
    ),
    counter("shard_sessions_opened", "sessions that a shard has opened", _opened, "shard"),
    counter(
        "shard_packets",
        "packets of sessions that the worker of a shard has sent on, to real servers (in) and to clients (out)",
        _of_shards(_PACKETS),
        *("shard", "direction"),
    ),
    counter("shard_bytes", "bytes of the IP packets in appliance_shard_packets_total", _of_shards(BYTES), "shard", "direction"),
    counter(
        "lane_packets",
        "packets of sessions that the lane has sent on, to real servers (in) and to clients (out); its share is "
        "appliance_lane_packets_total / (appliance_lane_packets_total + sum of appliance_shard_packets_total)",
        _of_lane(_PACKETS),
        "direction",
    ),
    counter("lane_bytes", "bytes of the IP packets in appliance_lane_packets_total", _of_lane(BYTES), "direction"),
    counter("real_server_sessions_opened", "sessions that were opened to a real server", _of_real_servers(((), CONNS)), *_NAMED),
    gauge(
        "real_server_sessions",
        "sessions to a real server now: those in ESTABLISHED are active, all others are inactive",
        _of_real_servers((("active",), ACTIVE_CONNS), (("inactive",), INACTIVE_CONNS)),
        *(*_NAMED, "state"),
    ),
    gauge(
        "real_server_opening_sessions",
        "those inactive sessions to a real server whose handshake is under way",
        _of_real_servers(((), OPENING_CONNS)),
        *_NAMED,
    ),
    counter(
        "real_server_packets",
        "packets of sessions to a real server (in) and from it (out)",
        _of_real_servers(*_both_directions(_PACKETS)),
        *(*_NAMED, "direction"),
    ),
    counter(
        "real_server_bytes",
        "bytes of the IP packets in appliance_real_server_packets_total",
        _of_real_servers(*_both_directions(BYTES)),
        *(*_NAMED, "direction"),
    ),
    counter(
        "real_server_errors",
        "sessions that a real server refused, and those whose SYN it did not answer",
        _of_real_servers((("refused",), REFUSED_CONNS), (("unanswered",), UNANSWERED_CONNS)),
        *(*_NAMED, "error"),
    ),
    gauge(
        "real_server_open_sessions",
        "sessions to a real server whose connection is not over: those that count for max_conn",
        _of_real_servers(((), OPEN_CONNS)),
        *_NAMED,
    ),
    counter(
        "service_sessions_refused",
        "sessions that a limit of the service has kept out: service_full by its max_conn, servers_full by those of real servers, "
        "client_full by max_conn_per_client",
        _refused,
        *("service", "limit"),
    ),
    gauge(
        "real_server_weight",
        "weight of a real server, by the configuration",
        _of_real_server(lambda _, server: server.weight),
        *_NAMED,
    ),
    gauge(
        "real_server_up",
        "1 while a real server may get new sessions, 0 while health checks say that it is down",
        _of_real_server(lambda reading, server: server.slot not in reading.down),
        *_NAMED,
    ),
    counter(
        "service_access_drops",
        "SYNs and UDP datagrams that the kernel dropped for a service: denied_drops, not_allowed_drops, client_rate_drops, "
        "service_rate_drops",
        lambda reading: (((label(service), reason), count) for (service, reason), count in reading.access_drops.items()),
        *("service", "reason"),
    ),
    gauge(
        "real_server_draining",
        "1 while a real server is drained and gets no new sessions, whatever its weight; else 0",
        _of_real_server(lambda reading, server: server.slot in reading.drained),
        *_NAMED,
    ),
    gauge(
        "service_up",
        "1 while a service has as many real servers up as it wants (quorum), else 0",
        lambda reading: (((label(service.name),), service.name not in reading.troubled) for service in reading.services),
        "service",
    ),
)
