"""What the director and a worker say to each other, and how it is written: one JSON object a line over a socket pair.

The plan goes out once, at the start of a worker, and a change of its services whenever there is one. Queries are rare and may
be slow; packets never wait for them.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from appliance.ipc.queries import Query, SessionFilter


@dataclass(frozen=True, slots=True)
class RealServerPlan:
    """One real server of one service. `slot` is its place in the shared counters, unique over all services."""

    address: str
    port: int
    weight: int
    slot: int


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """One virtual service, as a shard needs it."""

    name: str
    vip: str
    port: int
    scheduler: str
    local_addresses: tuple[str, ...]
    real_servers: tuple[RealServerPlan, ...]
    protocol: str = "tcp"
    """"tcp" or "udp"."""
    synproxy: str = "never"
    """"never", "always" or "auto"."""
    synproxy_defer: int | None = None
    """Wins over the tunable of that name."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a worker must know to be one shard of `shards`."""

    shard: int
    shards: int
    queue_num: int
    destinations: int
    services: tuple[ServicePlan, ...]
    isn_secret: str
    """Hexadecimal key of the initial sequence numbers towards real servers (see `nat.isn`); the same for all workers of a run."""
    cookie_secret: str
    """Hexadecimal key of the SYN cookies (see `proxy.cookie`): new with each start, the same for all workers of a run."""


class SessionRow(NamedTuple):
    """One session as views show it; endpoints are ``address:port``."""

    service: str
    client: str
    vip: str
    local: str
    real_server: str
    state: str
    expires_s: float
    protocol: str
    """"TCP" or "UDP"."""


class Slab(NamedTuple):
    """One table or pool of a shard, in the terms of `/proc/slabinfo`."""

    name: str
    active: int
    """Objects in use."""
    total: int
    """Objects there is memory for."""
    object_bytes: int
    """What one of them takes; the average where they differ."""


def encode(message: dict[str, Any]) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def encode_plan(plan: Plan) -> bytes:
    """The plan as the first line a worker reads."""
    return encode(asdict(plan))


def encode_services(services: tuple[ServicePlan, ...]) -> bytes:
    """A change of plan: all services as they are from now on, to be read by `decode_services`."""
    return encode({"services": [asdict(service) for service in services]})


def decode_plan(message: dict[str, Any]) -> Plan:
    """The plan from its line. Raises KeyError or TypeError when the two processes are not of one version."""
    return Plan(**{**message, "services": decode_services(message["services"])})


def encode_question(walk: int, query: Query) -> bytes:
    """The beginning of a walk through a worker's sessions, with a number of the director's choice."""
    return encode({"walk": walk, "ask": query})


def decode_query(fields: list[Any]) -> Query:
    """The query of a question. Raises TypeError when the two processes are not of one version."""
    query = Query(*fields)
    return query._replace(filter=SessionFilter(*query.filter))


def decode_services(services: list[dict[str, Any]]) -> tuple[ServicePlan, ...]:
    """The services of a plan, or of a change of plan, from their part of a message."""
    return tuple(
        ServicePlan(
            **{
                **service,
                "local_addresses": tuple(service["local_addresses"]),
                "real_servers": tuple(RealServerPlan(**real_server) for real_server in service["real_servers"]),
            }
        )
        for service in services
    )


class LineReader:
    """Collects bytes as they come and gives back the whole messages among them."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The messages completed by `data`. Raises ValueError on a line that is no JSON object."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError(f"not a message: {line[:80]!r}")
            yield message
