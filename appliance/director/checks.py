"""The checks of a configuration: what is asked of each real server."""

from ipaddress import IPv4Address

from appliance.config.health_check import HealthCheck
from appliance.config.loading import Config, RealServer, Service
from appliance.health.check import Check, Target

_USUAL_TIMEOUT_S = 1.0
_LEAST_FAST_INTERVAL_S = 0.05


def targets_of(config: Config) -> dict[Target, Check | None]:
    """Every real server of every service, with its check if it has one, in the order of the configuration."""
    return {
        target_of(service, server): _check_of(config, service, server)
        for service in config.services
        for server in service.real_servers
    }


def target_of(service: Service, server: RealServer) -> Target:
    """A real server, as it is known to health checks."""
    return Target(service.name, str(server.address), server.port)


def _check_of(config: Config, service: Service, server: RealServer) -> Check | None:
    table = server.health_check or service.health_check
    if table is None:
        return None
    pool = config.local_addresses[service.local_addresses]
    sources = pool if table.source is None else (table.source,)
    local = {address for addresses in config.local_addresses.values() for address in addresses}
    return Check(
        kind=table.type,
        port=table.port or server.port,
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
