"""What the director makes of the configuration: the plans for workers, and the part that the ruleset needs."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from appliance.config.changes import ReloadRefusedError
from appliance.config.loading import Config, Service
from appliance.director.runtime_files import Keys
from appliance.ipc.plan import Plan, RealServerPlan, ServicePlan
from appliance.policy.address_sets import Steered, SteeredService, in_order
from appliance.policy.steering import HASH_SEED, shard_table

SPARE_SLOTS = 256
"""How many real servers can be added during a run. The shared counters cannot grow, because workers have them mapped, and a slot
is never given to another real server, which would go on counting where the first one ended. So there are enough slots to replace
a large fleet more than once. More slots would cost time: each sample of the rates adds up every slot of every shard, which takes
a millisecond with 64 shards."""

_SYNPROXY: Mapping[bool | str, str] = {True: "always", False: "never", "auto": "auto"}


class RemovedServer(NamedTuple):
    """A real server that was removed from a service of this protocol, and may still have sessions of it."""

    address: IPv4Address
    port: int
    protocol: str


def steered(config: Config, hash_seed: int = HASH_SEED, removed: Sequence[RemovedServer] = ()) -> Steered:
    """The part of the configuration from which the ruleset is made. `hash_seed` is that of the gateway, see `policy.steering`;
    packets of `removed` are taken as well."""
    pools = {service.local_addresses for service in config.services}
    servers = [server for service in config.services for server in service.real_servers]
    udp_services = [service for service in config.services if service.protocol == "udp"]
    of_udp = [(server.address, server.port) for service in udp_services for server in service.real_servers]
    removed_of_udp = [(server.address, server.port) for server in removed if server.protocol == "udp"]
    return Steered(
        services=[SteeredService(service.vip, service.protocol, service.port) for service in config.services],
        local_addresses=in_order(address for pool in pools for address in config.local_addresses[pool]),
        shard_table=shard_table(config.gateway.shards),
        queue_base=config.gateway.queue_base,
        real_servers=in_order((*(server.address for server in servers), *(server.address for server in removed))),
        udp_servers=sorted({*of_udp, *removed_of_udp}),
        sides=config.gateway.sides,
        hash_seed=hash_seed,
    )


def worker_plans(
    config: Config,
    services: tuple[ServicePlan, ...],
    destinations: int,
    keys: Keys,
    down: tuple[int, ...] = (),
    drained: tuple[int, ...] = (),
) -> list[Plan]:
    """The plan of each worker, in the order of shards. `services` have slots below `destinations`; `down` and `drained`
    are those of real servers that are so."""
    shards, queue_base = config.gateway.shards, config.gateway.queue_base
    return [
        Plan(shard, shards, queue_base + shard, destinations, services, *keys, down=down, drained=drained)
        for shard in range(shards)
    ]


_SlotOf: TypeAlias = dict[tuple[str, str, int], int]
"""By the name of the service, and the address and port of the real server."""


class Slots:
    """The place in the shared counters of each real server of each service, for the whole run and those that take it over.

    A real server that is removed keeps its slot: its traffic stays in the totals, and it counts on from there when it comes back.
    """

    def __init__(self, capacity: int, taken: Mapping[tuple[str, str, int], int] = MappingProxyType({})) -> None:
        """`taken` has the slot of each real server that has one: by service name, address and port."""
        self.capacity = capacity
        self.are_new = False
        """Whether no earlier run has used them: what the kernel has by slot is then of other real servers."""
        self._slots: _SlotOf = dict(taken)

    @property
    def taken(self) -> _SlotOf:
        """The slot of each real server that has one: by service name, address and port."""
        return dict(self._slots)

    def removed(self, config: Config) -> list[RemovedServer]:
        """The real servers that were removed from services of this configuration."""
        protocols, there = {service.name: service.protocol for service in config.services}, set(_real_servers(config))
        gone = [key for key in self._slots if key not in there and key[0] in protocols]
        return [RemovedServer(IPv4Address(address), port, protocols[name]) for name, address, port in gone]

    def have_room_for(self, config: Config) -> bool:
        """Whether all real servers of a configuration get a slot."""
        return len(set(_real_servers(config)) | self._slots.keys()) <= self.capacity

    @classmethod
    def sized_for(cls, config: Config) -> "Slots":
        """Slots for the real servers of `config`, and SPARE_SLOTS more."""
        slots = cls(sum(len(service.real_servers) for service in config.services) + SPARE_SLOTS)
        slots.are_new = True
        return slots

    def service_names(self) -> dict[int, str]:
        """The name of the service that each slot belongs to, by slot. A slot that nobody has yet is not there."""
        return {slot: service for (service, _, _), slot in self._slots.items()}

    def take(self, config: Config) -> tuple[ServicePlan, ...]:
        """The services as shards need them; each new real server has its slot for good. Raises ReloadRefusedError, as `plan`."""
        self._slots = self._with_new(config)
        return self.plan(config)

    def after(self, config: Config) -> "Slots":
        """These slots as they will be once `config` has taken its own. Raises ReloadRefusedError, as `plan`."""
        return Slots(self.capacity, self._with_new(config))

    def plan(self, config: Config) -> tuple[ServicePlan, ...]:
        """The services as shards will need them; `take` with the same configuration gives the same slots as long as no other one
        comes between. Nothing is used up: the configuration may still be refused.

        Raises ReloadRefusedError when there are not enough slots for all new real servers.
        """
        slots = self._with_new(config)
        return tuple(_service_plan(config, service, slots) for service in config.services)

    def _with_new(self, config: Config) -> _SlotOf:
        """The slots, with one for each new real server."""
        new = [key for key in _real_servers(config) if key not in self._slots]
        free = self.capacity - len(self._slots)
        if len(new) > free:
            raise ReloadRefusedError(
                f"{len(new)} real servers are new in this run of the appliance, and there are counters for {free} more: "
                "adding them needs a restart"
            )
        return self._slots | {key: slot for slot, key in enumerate(new, len(self._slots))}


def _service_plan(config: Config, service: Service, slots: _SlotOf) -> ServicePlan:
    pool = tuple(str(address) for address in config.local_addresses[service.local_addresses])
    real_servers = tuple(
        RealServerPlan(
            str(server.address),
            server.port,
            server.weight,
            slots[service.name, str(server.address), server.port],
            server.slow_start_s,
            backup=server.backup,
        )
        for server in service.real_servers
    )
    return ServicePlan(
        service.name,
        str(service.vip),
        service.port,
        service.scheduler,
        pool,
        real_servers,
        service.protocol,
        _SYNPROXY[service.synproxy],
        _defer(service),
        service.lane,
        service.maglev_table,
        service.persistence_s,
        service.persistence_mask,
        when_none_healthy=service.when_none_healthy,
        quorum=service.quorum,
        on_down=service.on_down,
    )


def _real_servers(config: Config) -> list[tuple[str, str, int]]:
    """Name of the service, address and port of each real server."""
    return [(service.name, str(server.address), server.port) for service in config.services for server in service.real_servers]


def _defer(service: Service) -> int | None:
    """When a proxied session of the service opens; None for the tunable's choice.

    In "auto" it opens at the end of the handshake, as sessions do while no cookies are sent. Otherwise a service whose server
    speaks first would work until its backlog is full, and leave its clients waiting from then on.
    """
    return 0 if service.synproxy_defer is None and service.synproxy == "auto" else service.synproxy_defer
