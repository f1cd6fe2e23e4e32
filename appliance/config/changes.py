"""What a reload changes while traffic flows, and what it cannot change. Pure.

The real servers of existing services, their weights, the start values of tunables and the parameters of the host can change while
the appliance runs.
Everything else is fixed at the start: the ruleset, the addresses, the workers and the listeners are made from it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from appliance.config.loading import Config, Service
from appliance.config.problems import value_text
from appliance.model.host_parameter import Values

_ABSENT = "absent"


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
    """One line for each real server that is added, is removed or gets another weight."""


def compare(running: Config, wanted: Config) -> Reload:
    """The differences to put in force. Raises ReloadRefusedError with one line for each key that needs a restart."""
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
    return Reload(
        tunables, _parameters(running, wanted), tuple(line for old, new in pairs for line in _real_server_changes(old, new))
    )


def _parameters(running: Config, wanted: Config) -> dict[str, Values | None]:
    before, after = running.host.sysctl, wanted.host.sysctl
    return {name: after.get(name) for name in before | after if before.get(name) != after.get(name)}


def _fixed(where: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    """One line for each key that differs. No value in `before` or `after` is None, so a missing key differs from every value."""
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
