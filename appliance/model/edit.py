"""One change of a service, a real server or a pool, as a client of the API asks for it, and why a change is refused.

A value is what JSON has: a service and a real server are tables with the keys of the configuration file, a pool is
``{"addresses": [...]}``.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SERVICE, REAL_SERVER, POOL = "service", "real server", "pool"
"""The kinds of subjects."""

CREATE, REPLACE, MERGE, REMOVE = "create", "replace", "merge", "remove"
"""The actions: add what is not there; put the value in the place of what is there, if anything is; change single keys, of which
null ones go back to their default (RFC 7396); take away."""


class Subject(NamedTuple):
    """What an edit is about."""

    kind: str
    name: str
    """Of the service or the pool; as a stranger has sent it."""
    endpoint: str = ""
    """``address:port`` of a real server; as a stranger has sent it."""

    def __str__(self) -> str:
        return f"{self.kind} {self.endpoint} of service {self.name}" if self.endpoint else f"{self.kind} {self.name}"


class Edit(NamedTuple):
    """One change."""

    action: str
    subject: Subject
    value: Any = None
    """Nothing for REMOVE."""


BAD_CONFIG = "bad-config"
UNKNOWN = "unknown-name"
ALREADY_THERE = "already-there"
NOT_WHILE_RUNNING = "needs-restart"
UNCONFIRMED = "unconfirmed"
NOTHING_TO_CONFIRM = "nothing-to-confirm"
CHANGED_MEANWHILE = "changed-meanwhile"
FILE_CHANGED = "file-changed"
NOT_WRITABLE = "not-writable"
COMMAND_REFUSED = "command-refused"


class ChangeRefusedError(Exception):
    """A change of the configuration that is refused; nothing has changed."""

    def __init__(self, kind: str, detail: str, reasons: Sequence[Mapping[str, Any]] = ()) -> None:
        """`kind` is one of those above. `reasons` has more about each problem: `key`, `line` and `message`."""
        super().__init__(detail)
        self.kind = kind
        self.reasons = reasons


def version_of(value: Any) -> str:
    """A short text that differs whenever a value differs, whatever the order of its keys."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=12).hexdigest()


ANY_VERSION = "*"
NOT_THERE = '"'
"""In the place of a version: for a value that is not there. No version has a quote."""


def check_version(value: Any, wanted: Sequence[str]) -> None:
    """Raises ChangeRefusedError unless a value has one of the versions that the client knows; ANY_VERSION stands for any value
    that is there, and NOT_THERE for none. Without any in `wanted`, nothing is checked (RFC 9110, sections 13.1.1 and 13.1.2)."""
    if not wanted or (value is None and NOT_THERE in wanted):
        return
    if value is not None and (ANY_VERSION in wanted or version_of(value) in wanted):
        return
    if NOT_THERE in wanted:
        raise ChangeRefusedError(CHANGED_MEANWHILE, "it is there already, and If-None-Match says that it is not")
    raise ChangeRefusedError(CHANGED_MEANWHILE, "it is not as If-Match says: somebody else has changed it meanwhile")
