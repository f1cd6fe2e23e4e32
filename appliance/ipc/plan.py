"""The plan of a run: everything that a worker has to know to be one shard. It goes to a worker as its first message.

A reload changes the services of the plan, health checks change which real servers are down, operators which are drained, and
nothing else changes. Between processes a plan is a JSON object; the functions here write it and read it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

ServiceKey: TypeAlias = tuple[str, str, int]
"""Protocol, VIP and port of a service: no other one has the same."""


@dataclass(frozen=True, slots=True)
class RealServerPlan:
    """One real server of one service."""

    address: str
    port: int
    weight: int
    slot: int
    """Its place in the shared counters, unique over all services."""
    slow_start_s: int = 0
    """How long it takes until it has its whole share of new sessions, after it was added, came back or was raised from weight
    0."""
    backup: bool = False
    """Whether it gets sessions only while too few others are up."""
    max_conn: int = 0
    """How many sessions it may have; 0 for as many as come."""


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
    """When not None, it takes the place of the tunable of that name."""
    lane: bool = True
    """Whether the lane may carry its sessions."""
    maglev_table: int = 65537
    """How many places its table has, when the scheduler is "mh"."""
    persistence_s: int = 0
    """For how long a client goes to the same real server again, after each new session; 0 when it need not."""
    persistence_mask: int = 32
    """How many bits of their addresses clients have in common that count as one."""
    when_none_healthy: str = "refuse"
    quorum: int = 1
    """See `policy.candidates`."""
    on_down: str = "leave"
    """What becomes of the TCP sessions of a real server that is down; one of `policy.candidates.ON_DOWN`."""
    guarded: bool = False
    """Whether rules of netfilter judge its SYNs, so that nothing may answer them before."""
    max_conn: int = 0
    """How many sessions it may have; 0 for as many as there is room for."""
    when_full: str = "refuse"
    """What becomes of sessions beyond a limit; one of `policy.limits.WHEN_FULL`."""
    max_conn_per_client: int = 0
    """How many sessions each client may have; 0 for as many as there is room for."""
    client_mask: int = 32
    """How many bits of their addresses clients have in common that count as one for that."""

    @property
    def key(self) -> ServiceKey:
        """By which shards know it."""
        return self.protocol, self.vip, self.port


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a worker must know to be one shard of `shards`."""

    shard: int
    shards: int
    queue_num: int
    destinations: int
    """How many places for real servers the shared counters have."""
    services: tuple[ServicePlan, ...]
    isn_secret: str
    """Hexadecimal key of the initial sequence numbers towards real servers (see `nat.isn`); the same for all workers of a run."""
    cookie_secret: str
    """Hexadecimal key of the SYN cookies (see `proxy.cookie`): kept from run to run, the same for all workers."""
    has_predecessor: bool = False
    """Whether a worker of this run, or of the one that it goes on from, has had sessions before."""
    down: tuple[int, ...] = ()
    """The slots of the real servers that are down at this moment; all others are up."""
    drained: tuple[int, ...] = ()
    """The slots of the real servers that are drained at this moment, whatever their weights are."""
    log_per_s: int = 0
    """How many sessions a second are told at their end, for the session log; 0: none."""
    logged_services: tuple[str, ...] = ()
    """The services whose sessions these are; none: all of them."""


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """The plan as a JSON object; `plan_from_json` reads it."""
    return {**_fields(plan), "services": services_as_json(plan.services)}


def plan_from_json(written: Mapping[str, Any]) -> Plan:
    """The plan in a JSON object. Raises KeyError or TypeError when its keys are not the fields of a plan."""
    services = services_from_json(written["services"])
    slots = {name: slots_from_json(written[name]) for name in ("down", "drained")}
    logged = tuple(written["logged_services"])
    return Plan(**{**written, "services": services, **slots, "logged_services": logged})


def services_as_json(services: Iterable[ServicePlan]) -> list[dict[str, Any]]:
    """Services as a JSON array; `services_from_json` reads it."""
    return [{**_fields(service), "real_servers": [*map(_fields, service.real_servers)]} for service in services]


def _fields(record: Plan | ServicePlan | RealServerPlan) -> dict[str, Any]:
    """By name. What `dataclasses.asdict` copies besides takes most of the time with thousands of services."""
    return {name: getattr(record, name) for name in record.__slots__}


def services_from_json(written: Iterable[Mapping[str, Any]]) -> tuple[ServicePlan, ...]:
    """The services in a JSON array. Raises KeyError or TypeError when the keys of an object are not the fields of a service."""
    return tuple(
        ServicePlan(
            **{
                **service,
                "local_addresses": tuple(service["local_addresses"]),
                "real_servers": tuple(RealServerPlan(**real_server) for real_server in service["real_servers"]),
            }
        )
        for service in written
    )


def keys_from_json(written: Iterable[Any]) -> tuple[ServiceKey, ...]:
    """Keys of services. Raises TypeError or ValueError for anything that is none."""
    keys = tuple((str(protocol), str(vip), port) for protocol, vip, port in written)
    if not all(type(port) is int for _, _, port in keys):
        raise TypeError("a port is no number")
    return keys


def slots_from_json(written: Iterable[Any]) -> tuple[int, ...]:
    """Slots of real servers. Raises TypeError for anything that is no slot."""
    slots = tuple(written)
    if not all(type(slot) is int and slot >= 0 for slot in slots):
        raise TypeError("a slot is no number of 0 or more")
    return slots
