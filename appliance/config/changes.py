"""What a reload changes while traffic flows, and what it cannot change. Pure.

Services, their real servers and all that is said of both, the pools of local addresses, the start values of tunables, the
parameters of the host and the session log can change while the appliance runs. A service with another VIP, port or protocol is
another one. Everything else is fixed at the start: the shards, the interfaces and the listeners are made from it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from appliance.config.access_keys import KEYS as ACCESS_KEYS
from appliance.config.loading import Config, Service
from appliance.config.problems import value_text
from appliance.config.table import Table
from appliance.model.host_parameter import Values

_ABSENT = "absent"

LIVE = (
    "scheduler",
    "maglev_table",
    "persistence_s",
    "persistence_mask",
    "when_none_healthy",
    "quorum",
    "on_down",
    "health_check",
    "observe",
    "max_conn",
    "max_conn_per_client",
    "when_full",
    "synproxy",
    "synproxy_defer",
    "lane",
    "local_addresses",
    *ACCESS_KEYS,
)
"""The keys of a service that change while it serves."""

_IDENTITY = ("name", "vip", "port", "protocol")
"""The keys by which a service is another one."""

_MOST_SHOWN = 8
"""Of a longer list only its length is shown."""

LIVE_OF_REAL_SERVER = ("weight", "slow_start_s", "backup", "health_check", "max_conn")
"""The same for a real server."""


class ReloadRefusedError(ValueError):
    """The configuration cannot be put in force while traffic flows; str() has one line for each reason."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The differences between the configuration in force and the next one."""

    tunables: dict[str, int]
    """The new start values of those whose start value changed. A tunable that only an operator changed is not among them, so it
    keeps the operator's value."""
    host_parameters: dict[str, Values | None]
    """The new values of the parameters of the host whose value in the file changed; None for one that stands there no more."""
    real_servers: tuple[str, ...]
    """One line for each real server that is added or removed, and for each key of one that changes."""
    services: tuple[str, ...] = ()
    """One line for each service that is added or removed, and for each key of one that changes."""
    pools: tuple[str, ...] = ()
    """One line for each pool of local addresses that is added, removed or changed."""
    session_log: tuple[str, ...] = ()
    """One line for each key of the session log that changes."""

    @property
    def lines(self) -> tuple[str, ...]:
        """All that changes of services, and what belongs to them."""
        return self.pools + self.services + self.real_servers


def compare(running: Config, wanted: Config) -> Reload:
    """The differences to put in force. Raises ReloadRefusedError with one line for each key that needs a restart."""
    reasons = [
        *_fixed("gateway.", dict(running.gateway), dict(wanted.gateway)),
        *_fixed("api.", dict(running.api), dict(wanted.api)),
    ]
    before, after = _by_name(running), _by_name(wanted)
    kept = {name for name in before.keys() & after.keys() if _is_same(before[name], after[name])}
    pairs = [(before[name], new) for name, new in after.items() if name in kept and before[name] is not new]
    for old, new in pairs:
        reasons += _fixed(f"service {old.name}: ", _fixed_part(old), _fixed_part(new))
    if reasons:
        raise ReloadRefusedError("\n".join(reasons))
    tunables = {name: value for name, value in wanted.sysctl.items() if value != running.sysctl[name]}
    return Reload(
        tunables,
        _parameters(running, wanted),
        tuple(line for old, new in pairs for line in _real_server_changes(old, new)),
        (
            *(f"service {_in_words(old)} removed" for name, old in before.items() if name not in kept),
            *(f"service {_in_words(new)} added" for name, new in after.items() if name not in kept),
            *(line for old, new in pairs for line in _changes(f"service {new.name}:", LIVE, old, new)),
        ),
        tuple(_differences("local_addresses.", running.local_addresses, wanted.local_addresses)),
        tuple(_differences("session_log.", dict(running.session_log), dict(wanted.session_log))),
    )


def _parameters(running: Config, wanted: Config) -> dict[str, Values | None]:
    before, after = running.host.sysctl, wanted.host.sysctl
    return {name: after.get(name) for name in before | after if before.get(name) != after.get(name)}


def _fixed(where: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    return (f"{line} needs a restart" for line in _differences(where, before, after))


def _differences(where: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    """One line for each key that differs. A key that is None is as one that is missing."""
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key), after.get(key)
        if old != new:
            yield f"{where}{key}: {_text(old)} -> {_text(new)}"


def _text(value: object) -> str:
    if value is None:
        return _ABSENT
    if not isinstance(value, tuple):
        return value_text(value)
    return f"[{', '.join(map(value_text, value))}]" if len(value) <= _MOST_SHOWN else f"{len(value)} entries"


def _by_name(config: Config) -> dict[str, Service]:
    return {service.name: service for service in config.services}


def _is_same(old: Service, new: Service) -> bool:
    """Whether the new one takes the place of the old one, and is not another service of its name."""
    return old is new or all(getattr(old, key) == getattr(new, key) for key in _IDENTITY)


def _in_words(service: Service) -> str:
    return f"{service.name} ({service.vip}:{service.port} {service.protocol})"


def _fixed_part(service: Service) -> dict[str, object]:
    return {key: value for key, value in service if key != "real_servers" and key not in LIVE}


def _real_server_changes(old: Service, new: Service) -> Iterator[str]:
    before = {f"{real_server.address}:{real_server.port}": real_server for real_server in old.real_servers}
    after = {f"{real_server.address}:{real_server.port}": real_server for real_server in new.real_servers}
    for endpoint in dict.fromkeys((*before, *after)):
        what = f"service {new.name}: real server {endpoint}"
        if endpoint not in after:
            yield f"{what} removed"
        elif endpoint not in before:
            yield f"{what} added, weight {after[endpoint].weight}"
        else:
            yield from _changes(what, LIVE_OF_REAL_SERVER, before[endpoint], after[endpoint])


def _changes(what: str, keys: Iterable[str], old: object, new: object) -> Iterator[str]:
    """One line for each of these keys that differs."""
    for key in keys:
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            is_table = isinstance(before, Table) or isinstance(after, Table)
            yield f"{what} {key} {_table_change(before, after) if is_table else f'{_plain(before)} -> {_plain(after)}'}"


def _plain(value: object) -> str:
    return _text(value).strip('"')


def _table_change(before: object, after: object) -> str:
    return "added" if before is None else "removed" if after is None else "changed"
