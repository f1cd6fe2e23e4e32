"""What the director makes of the configuration: the plans for workers, and the part that the ruleset needs."""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from appliance.config.changes import ReloadRefusedError
from appliance.config.loading import Config, Service
from appliance.config.session_log import OFF, SessionLog
from appliance.director.runtime_files import Keys
from appliance.ipc.plan import Plan, RealServerPlan, ServicePlan
from appliance.policy.address_sets import Steered, SteeredService, in_order
from appliance.policy.steering import HASH_SEED, shard_table

_JUDGED_BY = ("allow", "allow_files", "allow_sets", "deny", "deny_files", "deny_sets", "client_new_per_s", "new_per_s")
"""The keys of a service by which netfilter judges its SYNs: nothing may answer these before it does."""

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


def told_of(log: SessionLog) -> tuple[int, tuple[str, ...]]:
    """What a worker has to know of the session log: how many sessions a second it tells at their end, and of which services."""
    return (0 if log.target == OFF else log.max_per_s), log.services


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
    log_per_s, logged = told_of(config.session_log)
    return [
        Plan(
            shard,
            shards,
            queue_base + shard,
            destinations,
            services,
            *keys,
            down=down,
            drained=drained,
            log_per_s=log_per_s,
            logged_services=logged,
        )
        for shard in range(shards)
    ]


Key: TypeAlias = tuple[str, str, int]
"""A real server of a service: the name of the service, and its address and port."""

_SlotOf: TypeAlias = dict[Key, int]


class Slots:
    """The place in the shared counters of each real server of each service, for the whole run and those that take it over.

    A real server that is removed keeps its slot while there are others: its traffic stays in the totals, and it counts on from
    there when it comes back. When there is no other slot left for a new one, those that were removed longest ago give up theirs,
    if they have no session any more (see `director.room`). The last slot is nobody's: it has what they have counted.
    """

    def __init__(self, capacity: int, taken: Mapping[Key, int] = MappingProxyType({})) -> None:
        """`taken` has the slot of each real server that has one; those that were removed first come first."""
        self.capacity = capacity
        self.are_new = False
        """Whether no earlier run has used them: what the kernel has by slot is then of other real servers."""
        self._slots: _SlotOf = dict(taken)
        self._known: dict[str, _Known] = {}
        """By name: the services that were asked for last."""

    @property
    def given_up(self) -> int:
        """The slot of all real servers that have given up theirs."""
        return self.capacity - 1

    @property
    def taken(self) -> _SlotOf:
        """The slot of each real server that has one: by service name, address and port."""
        return dict(self._slots)

    def removed(self, config: Config) -> list[RemovedServer]:
        """The real servers that were removed from services of this configuration."""
        protocols, there = {service.name: service.protocol for service in config.services}, set(self._keys(config))
        gone = [key for key in self._slots if key not in there and key[0] in protocols]
        return [RemovedServer(IPv4Address(address), port, protocols[name]) for name, address, port in gone]

    def missing(self, config: Config) -> int:
        """How many real servers of a configuration would find no free slot."""
        new = sum(key not in self._slots for key in self._keys(config))
        return max(0, new - (self.given_up - len(self._slots)))

    def removed_from_all(self, *configs: Config) -> _SlotOf:
        """Those that are in none of these configurations, with their slots; the ones that were removed first come first."""
        there = {key for config in configs for key in self._keys(config)}
        return {key: slot for key, slot in self._slots.items() if key not in there}

    def give_up(self, keys: Iterable[Key]) -> None:
        """Real servers that were removed have a slot no more."""
        for key in keys:
            del self._slots[key]

    @classmethod
    def sized_for(cls, config: Config) -> "Slots":
        """Slots for the real servers of `config`, and as many more as it says."""
        slots = cls(sum(len(service.real_servers) for service in config.services) + config.gateway.spare_real_servers + 1)
        slots.are_new = True
        return slots

    def service_names(self) -> dict[int, str]:
        """The name of the service that each slot belongs to, by slot. A slot that nobody has yet is not there."""
        return {slot: service for (service, _, _), slot in self._slots.items()}

    def take(self, config: Config) -> tuple[ServicePlan, ...]:
        """The services as shards need them; each new real server has its slot. Raises ReloadRefusedError, as `plan`."""
        slots, there = self._with_new(config), set(self._keys(config))
        if len(there) < len(slots):
            slots = dict(sorted(slots.items(), key=lambda item: item[0] in there))
        self._slots = slots
        return self.plan(config)

    def has_all(self, config: Config) -> bool:
        """Whether each real server of a configuration has its slot."""
        return all(key in self._slots for key in self._keys(config))

    def after(self, config: Config) -> "Slots":
        """These slots as they will be once `config` has taken its own. Raises ReloadRefusedError, as `plan`."""
        return Slots(self.capacity, self._with_new(config))

    def plan(self, config: Config) -> tuple[ServicePlan, ...]:
        """The services as shards will need them; `take` with the same configuration gives the same slots as long as no other one
        comes between. Nothing is used up: the configuration may still be refused.

        Raises ReloadRefusedError when there are not enough slots for all new real servers.
        """
        slots, before = self._with_new(config), self._known
        self._known = {service.name: self._made(config, service, slots, before.get(service.name)) for service in config.services}
        return tuple(known.plan for known in self._known.values())

    @staticmethod
    def _made(config: Config, service: Service, slots: _SlotOf, before: "_Known | None") -> "_Known":
        """The plan of a service: the one from before when neither it nor its pool has changed, nor a slot."""
        pool = config.local_addresses[service.local_addresses]
        if before is not None and before.service is service and before.pool == pool and before.has(slots):
            return before
        return _Known(service, pool, _keys_of(service), _service_plan(service, pool, slots))

    def _keys(self, config: Config) -> list[Key]:
        """Name of the service, address and port of each real server."""
        known, keys = self._known, list[Key]()
        for service in config.services:
            there = known.get(service.name)
            keys += there.keys if there is not None and there.service is service else _keys_of(service)
        return keys

    def _with_new(self, config: Config) -> _SlotOf:
        """The slots, with one for each new real server."""
        new = [key for key in self._keys(config) if key not in self._slots]
        if not new:
            return self._slots
        if missing := self.missing(config):
            raise ReloadRefusedError(
                f"there is no place for {missing} of {len(new)} new real servers: there may be {self.given_up}, with those that "
                "were removed and still have sessions; for more, a greater gateway.spare_real_servers needs a restart"
            )
        used = set(self._slots.values())
        free = (slot for slot in range(self.given_up) if slot not in used)
        return self._slots | dict(zip(new, free, strict=False))


class _Known(NamedTuple):
    """A service, and what was made of it."""

    service: Service
    pool: tuple[IPv4Address, ...]
    keys: list[Key]
    plan: ServicePlan

    def has(self, slots: _SlotOf) -> bool:
        """Whether its real servers have these slots."""
        return [slots[key] for key in self.keys] == [server.slot for server in self.plan.real_servers]


def _service_plan(service: Service, pool: tuple[IPv4Address, ...], slots: _SlotOf) -> ServicePlan:
    real_servers = tuple(
        RealServerPlan(
            str(server.address),
            server.port,
            server.weight,
            slots[service.name, str(server.address), server.port],
            server.slow_start_s,
            backup=server.backup,
            max_conn=server.max_conn,
        )
        for server in service.real_servers
    )
    return ServicePlan(
        service.name,
        str(service.vip),
        service.port,
        service.scheduler,
        tuple(map(str, pool)),
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
        guarded=any(getattr(service, key) for key in _JUDGED_BY),
        max_conn=service.max_conn,
        when_full=service.when_full,
        max_conn_per_client=service.max_conn_per_client,
        client_mask=service.client_mask,
    )


def _keys_of(service: Service) -> list[Key]:
    return [(service.name, str(server.address), server.port) for server in service.real_servers]


def _defer(service: Service) -> int | None:
    """When a proxied session of the service opens; None for the tunable's choice.

    In "auto" it opens at the end of the handshake, as sessions do while no cookies are sent. Otherwise a service whose server
    speaks first would work until its backlog is full, and leave its clients waiting from then on.
    """
    return 0 if service.synproxy_defer is None and service.synproxy == "auto" else service.synproxy_defer
