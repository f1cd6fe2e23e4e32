"""What another reading of the configuration changes while traffic flows, and what it cannot change. Pure.

Real servers of the services there are, their weights, and start values of tunables can change under a running appliance.
Everything else is laid down when it starts: the ruleset, the addresses, the workers and the listeners are made from it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from appliance.config.loading import Config, Service
from appliance.config.problems import value_text
from appliance.ipc.plan import RealServerPlan, ServicePlan

SPARE_SLOTS = 256
"""Real servers that can be added in the life of a run. The shared counters cannot grow, since workers have them mapped, and a
place is never given to another, which would go on counting where the first one ended. So there is room to replace a large
fleet more than once. More would cost: each sample of the rates adds up every place of every shard (10 ms with 64 shards)."""

_ABSENT = "absent"

_SYNPROXY: Mapping[bool | str, str] = {True: "always", False: "never", "auto": "auto"}


class ReloadRefusedError(ValueError):
    """A configuration that cannot be put in force while traffic flows; str() has one line for each reason."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The way from the configuration in force to the next one."""

    tunables: dict[str, int]
    """Those whose start value changed. One that only an operator changed is not among them, and so keeps that value."""
    real_servers: tuple[str, ...]
    """One line for each real server added, removed or given another weight."""


def compare(running: Config, wanted: Config) -> Reload:
    """What to change. Raises ReloadRefusedError with a line for each key that needs a restart."""
    reasons = [
        *_fixed("gateway.", dict(running.gateway), dict(wanted.gateway)),
        *_fixed("api.", dict(running.api), dict(wanted.api)),
        *_fixed("local_addresses.", running.local_addresses, wanted.local_addresses),
    ]
    before, after = _by_name(running), _by_name(wanted)
    reasons += _fixed("service ", _endpoints(before, unlike=after), _endpoints(after, unlike=before))
    pairs = [(before[name], after[name]) for name in after if name in before]
    for old, new in pairs:
        reasons += _fixed(f"service {old.name}: ", _without_real_servers(old), _without_real_servers(new))
    if reasons:
        raise ReloadRefusedError("\n".join(reasons))
    tunables = {name: value for name, value in wanted.sysctl.items() if value != running.sysctl[name]}
    return Reload(tunables, tuple(line for old, new in pairs for line in _real_server_changes(old, new)))


def _fixed(where: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    """A line for each key that differs. Nothing in `before` or `after` is None, so that a missing key is unlike any value."""
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key), after.get(key)
        if old != new:
            yield f"{where}{key}: {_text(old)} -> {_text(new)} needs a restart"


def _text(value: object) -> str:
    if value is None:
        return _ABSENT
    return f"[{', '.join(map(value_text, value))}]" if isinstance(value, tuple) else value_text(value)


def _by_name(config: Config) -> dict[str, Service]:
    return {service.name: service for service in config.services}


def _endpoints(services: Mapping[str, Service], *, unlike: Mapping[str, Service]) -> dict[str, str]:
    """VIP, port and protocol of the services that only this side has."""
    return {name: f"{service.vip}:{service.port} {service.protocol}" for name, service in services.items() if name not in unlike}


def _without_real_servers(service: Service) -> dict[str, object]:
    return {key: value for key, value in service if key != "real_servers"}


def _real_server_changes(old: Service, new: Service) -> Iterator[str]:
    before = {f"{real_server.address}:{real_server.port}": real_server.weight for real_server in old.real_servers}
    after = {f"{real_server.address}:{real_server.port}": real_server.weight for real_server in new.real_servers}
    for endpoint in dict.fromkeys((*before, *after)):
        what = f"service {new.name}: real server {endpoint}"
        if endpoint not in after:
            yield f"{what} removed"
        elif endpoint not in before:
            yield f"{what} added, weight {after[endpoint]}"
        elif before[endpoint] != after[endpoint]:
            yield f"{what} weight {before[endpoint]} -> {after[endpoint]}"


class Slots:
    """Which place in the shared counters each real server of each service has, for the life of a run.

    One that is removed keeps its place: its traffic stays in the totals, and it counts on from there when it comes back.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._places: dict[tuple[str, str, int], int] = {}

    @classmethod
    def sized_for(cls, config: Config) -> "Slots":
        """With places for the real servers of `config` and SPARE_SLOTS more."""
        return cls(sum(len(service.real_servers) for service in config.services) + SPARE_SLOTS)

    def plan(self, config: Config) -> tuple[ServicePlan, ...]:
        """The services as shards need them. Raises ReloadRefusedError, and gives no place to any, when not all find one."""
        wanted = [
            (service.name, str(real_server.address), real_server.port)
            for service in config.services
            for real_server in service.real_servers
        ]
        new = [key for key in wanted if key not in self._places]
        free = self.capacity - len(self._places)
        if len(new) > free:
            raise ReloadRefusedError(
                f"{len(new)} real servers are new in this run of the appliance, and there are counters for {free} more: "
                "adding them needs a restart"
            )
        for key in new:
            self._places[key] = len(self._places)
        return tuple(self._service_plan(config, service) for service in config.services)

    def _service_plan(self, config: Config, service: Service) -> ServicePlan:
        pool = tuple(str(address) for address in config.local_addresses[service.local_addresses])
        real_servers = tuple(
            RealServerPlan(
                str(server.address), server.port, server.weight, self._places[service.name, str(server.address), server.port]
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
            service.synproxy_defer,
        )
