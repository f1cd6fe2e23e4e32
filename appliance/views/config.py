"""The configuration in force and changes of it, as text and as JSON. Pure. Lines are folded, so that they have 80 columns."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from appliance.ipc.rows import Applied, ChangePlan, ConfigState, PlannedChange, Saved
from appliance.views.document import Document, align

_COLUMNS = 80

_BECOMES = {
    "kept": "{} go on",
    "waiting": "packets of {} are dropped until it is back",
    "ended": "{} end",
}


def config_state(state: ConfigState) -> Document:
    """The text has the differences alone."""
    lines = list(state.differences)
    if state.file_problem:
        lines += [f"the file cannot be used: {line}" for line in state.file_problem.splitlines()]
    if state.unconfirmed_s is not None:
        lines.append(f"the last change is taken back in {state.unconfirmed_s:.0f} s unless it is confirmed")
    if not state.file_problem:
        lines.append(f"{state.file}: {_count(len(state.differences), 'difference')} to what is in force")
    return Document(_folded(lines), state._asdict())


def change_plan(plan: ChangePlan) -> Document:
    """What would change, or why that needs a restart."""
    lines = [line for change in plan.changes for line in _planned(change)]
    data = {"changes": [change._asdict() for change in plan.changes], "needs_restart": plan.needs_restart}
    return Document(_folded([*plan.needs_restart, *lines] or ["nothing would change"]), data)


def applied(done: Applied) -> Document:
    """What has changed, and what is still to be done."""
    lines = list(done.changes) or ["nothing has changed"]
    if done.confirm_within_s:
        lines.append(f"taken back in {done.confirm_within_s} s unless `appliance confirm` comes before")
    return Document(_folded(lines), done._asdict())


def saved(done: Saved) -> Document:
    """What is new in the file."""
    lines = list(done.changes) or ["nothing to save"]
    lines.append(f"{done.file}: {'written' if done.is_written else 'not written'}")
    return Document(_folded(lines), done._asdict())


def confirmed() -> Document:
    """A change stays."""
    return Document("confirmed\n", {"confirmed": True})


def _planned(change: PlannedChange) -> Iterable[str]:
    yield change.change
    if change.sessions:
        yield f"  {_BECOMES[change.sessions].format(_count(change.number, 'session'))}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _folded(lines: Iterable[str]) -> str:
    """The lines, with their ends on lines of their own that begin with four blanks, where they are too long."""
    folded = (
        textwrap.wrap(
            line,
            _COLUMNS,
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines
    )
    return "".join(f"{piece}\n" for pieces in folded for piece in pieces)


def services(values: Sequence[Mapping[str, Any]]) -> Document:
    """Services as they are configured; the text has one line for each."""
    header = ("service", "endpoint", "protocol", "scheduler", "pool", "servers")
    rows = [
        (
            value["name"],
            f"{value['vip']}:{value['port']}",
            value.get("protocol", "tcp"),
            value.get("scheduler", "rr"),
            value.get("local_addresses", "default"),
            str(len(value.get("real_server", ()))),
        )
        for value in values
    ]
    return Document(align("<<<<<>", [header, *rows]), list(values))


def real_servers(service: Mapping[str, Any]) -> Document:
    """The real servers of a service; the text has one line for each."""
    servers = service.get("real_server", [])
    rows = [
        (f"{server['address']}:{server['port']}", str(server.get("weight", 100)), "backup" if server.get("backup") else "")
        for server in servers
    ]
    return Document(align("<><", [("server", "weight", ""), *rows]), servers)


def table(value: Mapping[str, Any]) -> Document:
    """A service or a real server: the lines of the configuration file."""
    return Document("".join(f"{line}\n" for line in _toml(value, "")), value)


def pools(values: Mapping[str, Mapping[str, Any]]) -> Document:
    """All pools; the text has one line for each."""
    rows = [(name, " ".join(value["addresses"])) for name, value in values.items()]
    return Document(align("<<", [("pool", "addresses"), *rows]), values)


def pool(value: Mapping[str, Any]) -> Document:
    """One pool."""
    return Document(f"{' '.join(value['addresses'])}\n", value)


def _toml(value: Mapping[str, Any], path: str) -> Iterator[str]:
    """The lines of a table. Numbers, texts and lists of texts are the same in JSON and in TOML."""
    tables = {key: one for key, one in value.items() if isinstance(one, dict) or (isinstance(one, list) and _is_table(one))}
    yield from (f"{key} = {json.dumps(one)}" for key, one in value.items() if key not in tables)
    for key, one in tables.items():
        for each in one if isinstance(one, list) else [one]:
            yield ""
            yield f"[[{path}{key}]]" if isinstance(one, list) else f"[{path}{key}]"
            yield from _toml(each, f"{path}{key}.")


def _is_table(values: list[Any]) -> bool:
    return bool(values) and isinstance(values[0], dict)
