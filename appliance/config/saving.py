"""The text of a configuration file with what was changed meanwhile in it, and with its comments. Pure.

Only what differs is touched: tables are found by their names, keys that say the same stay as they were written. A comment above a
table that is removed goes with it; one below it, which is about what follows, stays.
"""

from collections.abc import Callable, Mapping
from typing import Any

import tomlkit
from tomlkit.container import Container
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Table

from appliance.config.edits import pools_of, value_of
from appliance.config.loading import Config

Value = Mapping[str, Any]


def saved(text: str, in_file: Config, running: Config) -> str:
    """`text`, which says what `in_file` is, with the services, pools, tunables and session log of `running`.

    Raises ValueError when the text is built in a way that cannot be changed so.
    """
    try:
        document = tomlkit.parse(text)
        tunables = {name: value for name, value in running.sysctl.items() if value != in_file.sysctl[name]}
        _put_keys(document, "sysctl", {}, tunables)
        _put_keys(document, "session_log", value_of(in_file.session_log), value_of(running.session_log))
        _put_keys(document, "local_addresses", pools_of(in_file), pools_of(running))
        _put_tables(document, "service", _services(in_file), _services(running), lambda table: str(table["name"]))
        return tomlkit.dumps(document)
    except (TOMLKitError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"the file is built in a way that cannot be changed: {error}") from error


def _services(config: Config) -> dict[str, Value]:
    return {service.name: value_of(service) for service in config.services}


def _put_keys(parent: Any, key: str, before: Value, after: Value) -> None:
    """Change the keys of the table under `key`, which is made when it is needed."""
    if before == after:
        return
    if key not in parent:
        parent[key] = tomlkit.table()
    _put_table(parent[key], before, after)


def _put_table(table: Any, before: Value, after: Value) -> None:
    """Change the keys that differ."""
    for key in before.keys() - after.keys():
        if key in table:
            table.remove(key)
    for key, value in after.items():
        if before.get(key) == value:
            continue
        if key == "real_server":
            _put_tables(table, key, _by_endpoint(before.get(key, ())), _by_endpoint(value), _endpoint)
        elif isinstance(value, dict):
            _put_keys(table, key, before.get(key) or {}, value)
        else:
            table[key] = value


def _by_endpoint(servers: Any) -> dict[str, Value]:
    return {_endpoint(server): server for server in servers}


def _endpoint(server: Any) -> str:
    return f"{server['address']}:{server['port']}"


def _put_tables(parent: Any, key: str, before: Value, after: Value, name_of: Callable[[Any], str]) -> None:
    """Change the tables under `key`, each of which has a name."""
    if before == after and list(before) == list(after):
        return
    if key not in parent:
        parent[key] = tomlkit.aot()
    tables = parent[key]
    if not isinstance(tables, AoT):
        raise TypeError(f"{key} is not written as [[{key}]]")
    for place in reversed(range(len(tables))):
        if name_of(tables[place]) not in after:
            _remove(parent, tables, place)
    there = {name_of(table): table for table in tables}
    for name, value in after.items():
        if name in there:
            _put_table(there[name], before[name], value)
        else:
            tables.append(_new_table(value))
    _put_in_order(tables, list(after), name_of)
    if not after:
        parent.remove(key)


def _put_in_order(tables: AoT, names: list[str], name_of: Callable[[Any], str]) -> None:
    by_name = {name_of(table): table for table in tables}
    if list(by_name) == names:
        return
    while len(tables):
        del tables[0]
    for name in names:
        tables.append(by_name[name])


def _new_table(value: Value) -> Table:
    table = tomlkit.table()
    _put_table(table, {}, value)
    table.trivia.indent = "\n"
    return table


def _remove(parent: Any, tables: AoT, place: int) -> None:
    """Remove one table, and leave the comments that follow it."""
    follows = _what_follows(tables[place])
    del tables[place]
    if place < len(tables):
        tables[place].trivia.indent = follows + tables[place].trivia.indent
    elif follows.strip():
        _end_of(tables[place - 1] if place else parent).append((None, tomlkit.ws(follows)))


def _what_follows(table: Any) -> str:
    """The comments and blank lines at the end of a table."""
    body = _end_of(table)
    begins = len(body)
    while begins and body[begins - 1][0] is None:
        begins -= 1
    return "".join(item.as_string() for _, item in body[begins:])


def _end_of(table: Any) -> list[Any]:
    """The body of what stands last in a table."""
    container: Container = table if isinstance(table, Container) else table.value
    last = next((item for key, item in reversed(container.body) if key is not None), None)
    if isinstance(last, AoT) and len(last):
        return _end_of(last[len(last) - 1])
    return _end_of(last) if isinstance(last, Table) else container.body
