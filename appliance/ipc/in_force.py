"""What shards go by at a moment, as plain data that a capture has between its packets: its keys, and its form as text. Pure.

It is versioned, because it is kept in files; and files come from anybody. `config.in_force` makes a configuration of it.
"""

import json
from collections.abc import Mapping
from typing import Any

VERSION = 1

MARK = f"appliance in force {VERSION}: "
"""How a remark of a capture begins that has such data, as JSON."""

_ANY_VERSION = MARK.partition(str(VERSION))[0]

ENDED = "ended"
"""The key of sessions that were ended by a command: the fields of `SessionFilter`, and `clients`. Nothing stands beside it."""

DOWN, DRAINED = "down", "drained"
"""The keys of real servers that are so: lists of name of the service, address, port."""

TABLES = ("gateway", "sysctl", "local_addresses", "service")
"""The keys of tables, which are as in the configuration file. What has not changed is left out."""


_SHOWN = 60


class InForceError(ValueError):
    """What a file says to be in force cannot be; the message says why."""


def as_remark(what: Mapping[str, Any]) -> str:
    """The remark that has these data."""
    return MARK + json.dumps(what, separators=(",", ":"))


def read_remark(text: str) -> dict[str, Any] | None:
    """The data in a remark; None for a remark of another program. Raises InForceError."""
    if not text.startswith(_ANY_VERSION):
        return None
    if not text.startswith(MARK):
        raise InForceError(f"it is of another version: {text[:_SHOWN]!r}; this appliance reads version {VERSION}")
    try:
        what = json.loads(text.removeprefix(MARK))
    except (ValueError, RecursionError) as error:
        raise InForceError("it is not JSON") from error
    if not isinstance(what, dict):
        raise InForceError("it is not a JSON object")
    if unknown := what.keys() - {*TABLES, DOWN, DRAINED, ENDED}:
        raise InForceError(f"it has an unknown key: {min(unknown)[:_SHOWN]!r}")
    return what
