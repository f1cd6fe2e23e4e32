"""Services, real servers and pools as values, and what a configuration is after one of them has changed. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from appliance.config.loading import Config, RealServer, Service, with_parts
from appliance.config.problems import value_text
from appliance.config.table import Table
from appliance.model.edit import (
    ALREADY_THERE,
    BAD_CONFIG,
    CREATE,
    MERGE,
    POOL,
    REAL_SERVER,
    REMOVE,
    SERVICE,
    UNKNOWN,
    ChangeRefusedError,
    Edit,
    Subject,
)

SOURCE = "change"
"""The name of an edit in the messages of `loading`."""

Value = dict[str, Any]

_ENDPOINT = re.compile(r"(?P<address>[0-9.]{7,15}):(?P<port>[1-9][0-9]{0,4})")
_LONGEST_SHOWN = 80


def value_of(table: Table) -> Value:
    """The keys of a table that are given, as JSON has them."""
    given: Value = table.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return given


def endpoint_of(server: RealServer) -> str:
    """``address:port``."""
    return f"{server.address}:{server.port}"


def pools_of(config: Config) -> dict[str, list[str]]:
    """The addresses of each pool."""
    return {name: [str(address) for address in addresses] for name, addresses in config.local_addresses.items()}


def look_up(config: Config, subject: Subject) -> Value | None:
    """The value of a subject; None when there is no such one."""
    if subject.kind == POOL:
        addresses = pools_of(config).get(subject.name)
        return None if addresses is None else {"addresses": addresses}
    service = next((service for service in config.services if service.name == subject.name), None)
    if service is None or subject.kind == SERVICE:
        return None if service is None else value_of(service)
    found = (value_of(server) for server in service.real_servers if endpoint_of(server) == subject.endpoint)
    return next(found, None)


def edited(config: Config, edit: Edit) -> Config:
    """The configuration after an edit. Raises ChangeRefusedError, and ConfigError with every problem of what comes of it."""
    subject, before = edit.subject, look_up(config, edit.subject)
    if edit.action == CREATE and before is not None:
        raise ChangeRefusedError(ALREADY_THERE, f"there is a {_shown(subject)} already")
    if edit.action in (MERGE, REMOVE) and before is None:
        raise ChangeRefusedError(UNKNOWN, f"there is no {_shown(subject)}")
    after = None if edit.action == REMOVE else _next(edit, before or {})
    if subject.kind == POOL:
        addresses = None if after is None else _addresses(after)
        return with_parts(config, config.services, _replaced(pools_of(config), subject.name, addresses), SOURCE)
    if subject.kind == REAL_SERVER:
        subject, after = Subject(SERVICE, subject.name), _service_with(config, subject, after)
    services = {service.name: service for service in config.services}
    return with_parts(config, list(_replaced(services, subject.name, after).values()), pools_of(config), SOURCE)


def commands(services: Iterable[Service]) -> frozenset[tuple[str, ...]]:
    """The programs, with their arguments, that health checks run on this host."""
    checks = (check for service in services for check in _checks(service))
    return frozenset(tuple(check.command) for check in checks if check is not None and check.command)


def new_commands(wanted: Config, running: Config, in_file: Config) -> frozenset[tuple[str, ...]]:
    """Those of `wanted` that neither of the others has."""
    there = set(map(id, running.services))
    asked = commands(service for service in wanted.services if id(service) not in there)
    return asked - commands(running.services) - commands(in_file.services) if asked else asked


def _checks(service: Service) -> Iterator[Any]:
    yield service.health_check
    yield from (server.health_check for server in service.real_servers)


def _replaced(whole: Mapping[str, Any], name: str, after: Any) -> dict[str, Any]:
    """`whole` with another value under a name, which keeps its place; without it for None."""
    if after is None:
        return {key: value for key, value in whole.items() if key != name}
    return {**whole, name: after}


def _next(edit: Edit, before: Value) -> Value:
    """The value after an edit, with the keys that its subject says already."""
    subject, value = edit.subject, edit.value
    if not isinstance(value, dict):
        raise ChangeRefusedError(BAD_CONFIG, f"a {subject.kind} is a JSON object with keys of the configuration file")
    given = {} if subject.kind == POOL else _identity(subject)
    for key, own in given.items():
        if value.get(key, own) != own or type(value.get(key, own)) is not type(own):
            raise ChangeRefusedError(
                BAD_CONFIG,
                f"{key}: {value_text(value[key])} is not {value_text(own)}, which the path says",
            )
    return _merged(before if edit.action == MERGE else {}, {**given, **value})


def _identity(subject: Subject) -> Value:
    if subject.kind == SERVICE:
        return {"name": subject.name}
    found = _ENDPOINT.fullmatch(subject.endpoint)
    if not found:
        raise ChangeRefusedError(BAD_CONFIG, f"{value_text(subject.endpoint)} is not ADDRESS:PORT with an IPv4 address")
    return {"address": found["address"], "port": int(found["port"])}


def _merged(before: Value, change: Value) -> Value:
    """A JSON merge patch (RFC 7396)."""
    after = dict(before)
    for key, value in change.items():
        after.pop(key, None) if value is None else after.update({key: _merged_value(before.get(key), value)})
    return after


def _merged_value(before: Any, value: Any) -> Any:
    return _merged(before if isinstance(before, dict) else {}, value) if isinstance(value, dict) else value


def _addresses(pool: Value) -> Any:
    unknown = pool.keys() - {"addresses"}
    if unknown or "addresses" not in pool:
        raise ChangeRefusedError(BAD_CONFIG, 'a pool is {"addresses": [ADDRESS, ...]}')
    return pool["addresses"]


def _service_with(config: Config, subject: Subject, after: Value | None) -> Value:
    """The service of a real server, with another value for that one."""
    service = look_up(config, Subject(SERVICE, subject.name))
    if service is None:
        raise ChangeRefusedError(UNKNOWN, f"there is no {_shown(Subject(SERVICE, subject.name))}")
    servers = {f"{server['address']}:{server['port']}": server for server in service.get("real_server", [])}
    return service | {"real_server": list(_replaced(servers, subject.endpoint, after).values())}


def _shown(subject: Subject) -> str:
    return str(subject._replace(name=subject.name[:_LONGEST_SHOWN], endpoint=subject.endpoint[:_LONGEST_SHOWN]))
