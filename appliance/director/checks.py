"""The checks of a configuration: what is asked of each real server."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import NamedTuple

from appliance.config.health_check import HealthCheck
from appliance.config.loading import Config, RealServer, Service
from appliance.config.tables import Pools
from appliance.health.check import Check, Target

_USUAL_TIMEOUT_S = 1.0
_LEAST_FAST_INTERVAL_S = 0.05


class Difference(NamedTuple):
    """Services that are not as they were, and what is asked of their real servers."""

    services: frozenset[str]
    before: dict[Target, Check | None]
    """Their real servers as they were."""
    after: dict[Target, Check | None]
    """And as they will be."""
    news: dict[Target, Check | None]
    """Those of the latter that are new, or are asked something else."""
    by_service: Mapping[str, tuple[Service, Mapping[Target, Check | None]]]
    """What `Targets` will have."""
    pools: Pools


class Targets:
    """The real servers of a configuration. Of the next one, only services that are not the same are looked at."""

    def __init__(self) -> None:
        self._pools: Pools = {}
        self.by_service: Mapping[str, tuple[Service, Mapping[Target, Check | None]]] = {}
        """By name: each service with its real servers, in their order. Another one after each change."""

    def put(self, difference: Difference) -> None:
        """Go by the configuration of this difference, the latest one, from now on."""
        self._pools, self.by_service = difference.pools, difference.by_service

    def difference(self, config: Config) -> Difference:
        """What is not as it is in a configuration. Nothing changes."""
        same_pools = self._pools == config.local_addresses
        wanted = {service.name: service for service in config.services}
        before = {
            name: asked for name, (service, asked) in self.by_service.items() if not same_pools or wanted.get(name) is not service
        }
        changed = [service for name, service in wanted.items() if name in before or name not in self.by_service]
        local = frozenset(address for addresses in config.local_addresses.values() for address in addresses)
        made = {
            service.name: (service, dict(_checks_of(service, config.local_addresses[service.local_addresses], local)))
            for service in changed
        }
        old = {target: check for asked in before.values() for target, check in asked.items()}
        new = {target: check for _, asked in made.values() for target, check in asked.items()}
        return Difference(
            frozenset(before.keys() | made.keys()),
            old,
            new,
            {target: check for target, check in new.items() if target not in old or check != old[target]},
            {name: made.get(name) or self.by_service[name] for name in wanted},
            config.local_addresses,
        )


def _checks_of(
    service: Service, pool: tuple[IPv4Address, ...], local: frozenset[IPv4Address]
) -> Iterator[tuple[Target, Check | None]]:
    """Nearly all real servers of a service have the same check, but for the port: it is made once for each port."""
    made: dict[int, Check] = {}
    for server in service.real_servers:
        target = target_of(service, server)
        if server.health_check is not None:
            yield target, _check_of(server.health_check, server.port, pool, local)
        elif service.health_check is None:
            yield target, None
        else:
            if server.port not in made:
                made[server.port] = _check_of(service.health_check, server.port, pool, local)
            yield target, made[server.port]


def target_of(service: Service, server: RealServer) -> Target:
    """A real server, as it is known to health checks."""
    return Target(service.name, str(server.address), server.port)


def _check_of(table: HealthCheck, port: int, pool: tuple[IPv4Address, ...], local: frozenset[IPv4Address]) -> Check:
    """`port` is that of the real server; `pool` has the local addresses of the service, `local` all there are."""
    sources = pool if table.source is None else (table.source,)
    return Check(
        kind=table.type,
        port=table.port or port,
        sources=tuple(map(str, sources)),
        own_ports=all(source in local for source in sources),
        interval_s=table.interval_s,
        fast_interval_s=table.fast_interval_s or max(table.interval_s / 4, _LEAST_FAST_INTERVAL_S),
        timeout_s=table.timeout_s or min(_USUAL_TIMEOUT_S, table.interval_s),
        rise=table.rise,
        fall=table.fall,
        method=table.method,
        path=table.path,
        host=table.host,
        expect_status=table.expect_status,
        expect_body=table.expect_body.encode(),
        tls_verify=table.tls_verify,
        sni=table.sni or _name_in(table),
        send=table.send.encode("latin-1"),
        expect=table.expect.encode("latin-1"),
        command=table.command,
    )


def _name_in(table: HealthCheck) -> str:
    """The host name in `host`; empty when it is none, or an address."""
    name = table.host.rpartition(":")[0] if ":" in table.host else table.host
    try:
        IPv4Address(name)
    except ValueError:
        return "" if "[" in name or ":" in name else name
    return ""
