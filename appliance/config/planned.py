"""What a configuration would change, and what becomes of the sessions there are; and what it changes of a file. Pure."""

import re
from collections.abc import Callable, Iterator

from appliance.config.changes import Reload, ReloadRefusedError, compare
from appliance.config.loading import Config
from appliance.ipc.rows import ChangePlan, PlannedChange

CountSessions = Callable[[str, str], int]
"""The number of sessions of a service, or of one of its real servers when the second argument, ``address:port``, is not empty."""

KEPT, WAITING, ENDED = "kept", "waiting", "ended"

_SERVICE = re.compile(r"service (?P<service>[^ :]+):?(?: \([^)]*\))?(?: real server (?P<endpoint>[^ ]+))? ?(?P<rest>.*)")
"""A line of `changes.compare`."""


def planned(running: Config, wanted: Config, count: CountSessions) -> ChangePlan:
    """What `wanted` would change. `count` is asked about what is in force."""
    try:
        changes = compare(running, wanted)
    except ReloadRefusedError as error:
        return ChangePlan([], str(error).splitlines())
    ends = bool(wanted.sysctl["expire_nodest_conn"])
    of_others = [PlannedChange(line, "", 0) for line in _other_lines(running, changes)]
    return ChangePlan([*of_others, *(_planned(line, count, ends=ends) for line in changes.lines)], [])


def differences(running: Config, wanted: Config) -> list[str]:
    """One line for each thing that differs, whether it can change while traffic flows or not."""
    try:
        changes = compare(running, wanted)
    except ReloadRefusedError as error:
        return str(error).splitlines()
    return [*_other_lines(running, changes), *changes.lines]


def _other_lines(running: Config, changes: Reload) -> Iterator[str]:
    """A line for each tunable, each parameter of the host and each key of the session log."""
    for name, value in changes.tunables.items():
        yield f"tunable {name}: {running.sysctl[name]} -> {value}"
    for name, values in changes.host_parameters.items():
        old, new = (" ".join(map(str, one)) if one else "as it was" for one in (running.host.sysctl.get(name), values))
        yield f"host parameter {name}: {old} -> {new}"
    yield from changes.session_log


def _planned(line: str, count: CountSessions, *, ends: bool) -> PlannedChange:
    found = _SERVICE.match(line)
    if not found or found["rest"].startswith("added"):
        return PlannedChange(line, "", 0)
    sessions = count(found["service"], found["endpoint"] or "")
    if found["rest"].startswith("removed"):
        return PlannedChange(line, ENDED if ends or not found["endpoint"] else WAITING, sessions)
    return PlannedChange(line, KEPT, sessions)
