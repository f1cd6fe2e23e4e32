"""What shards go by at a moment, as plain data that goes with a capture, and a configuration made of it again. Pure.

The data has no secret, and nothing of the host: no keys of the API or of SYN cookies, no health checks, which may have passwords,
and no access lists, which the kernel goes by. Files come from anybody: reading checks all of it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from appliance.config.checks import tables_bytes
from appliance.config.loading import Config, from_tables
from appliance.ipc.in_force import DOWN, DRAINED, TABLES, InForceError

MAGLEV_MAX_BYTES = 1 << 30
"""All shards are in one process here, and strangers write how many."""

_OF_REAL_SERVER = frozenset(("address", "port", "weight", "slow_start_s", "backup", "max_conn"))
_OF_SERVICE = (
    "name", "vip", "port", "protocol", "scheduler", "local_addresses", "synproxy", "synproxy_defer", "lane", "maglev_table",
    "persistence_s", "persistence_mask", "when_none_healthy", "quorum", "on_down", "max_conn", "when_full",
    "max_conn_per_client", "client_mask",
)  # fmt: skip
_KEPT: Any = {**dict.fromkeys(_OF_SERVICE, True), "real_servers": {"__all__": _OF_REAL_SERVER}}
"""A key that comes new is not in it until somebody has thought about whether it may be read by everybody."""


class Places(NamedTuple):
    """Real servers: name of the service, address and port of each."""

    down: frozenset[tuple[str, str, int]] = frozenset()
    drained: frozenset[tuple[str, str, int]] = frozenset()


def tables_of(config: Config, tunables: Mapping[str, int]) -> dict[str, Any]:
    """The tables with what shards go by; `tunables` are the values in force."""
    return {
        "gateway": {"shards": config.gateway.shards},
        "sysctl": dict(tunables),
        "local_addresses": {name: [str(one) for one in addresses] for name, addresses in config.local_addresses.items()},
        "service": [
            service.model_dump(mode="json", by_alias=True, exclude_unset=True, include=_KEPT) for service in config.services
        ],
    }


def config_of(tables: Mapping[str, Any], source: str) -> Config:
    """The configuration of these tables. Raises ConfigError with every problem, and InForceError when a table is missing."""
    if missing := [key for key in TABLES if key not in tables]:
        raise InForceError(f"{missing[0]} is missing; with --config it is not needed")
    gateway = tables["gateway"]
    if not isinstance(gateway, dict) or gateway.keys() != {"shards"}:
        raise InForceError("gateway has other keys than shards")
    whole = {**gateway, "client_interface": "client0", "server_interface": "server0"}
    config = from_tables({**{key: tables[key] for key in TABLES}, "gateway": whole}, source)
    shards = config.gateway.shards
    if shards * tables_bytes(config.services) > MAGLEV_MAX_BYTES:
        raise InForceError(f"the tables of the scheduler mh take more than {MAGLEV_MAX_BYTES >> 20} MiB in {shards} shards")
    return config


def places_of(what: Mapping[str, Any], before: Places) -> Places:
    """The real servers that are down or drained, those of `before` where nothing is said of them. Raises InForceError."""
    return Places(*(_targets(key, what[key]) if key in what else getattr(before, key) for key in (DOWN, DRAINED)))


def _targets(key: str, value: object) -> frozenset[tuple[str, str, int]]:
    try:
        targets = [(service, address, port) for service, address, port in value]  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise InForceError(f"{key} is no list of real servers") from error
    if not all(isinstance(service, str) and isinstance(address, str) and type(port) is int for service, address, port in targets):
        raise InForceError(f"{key} is no list of real servers")
    return frozenset(targets)
