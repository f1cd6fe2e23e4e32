"""Messages between the director and a worker: one JSON object a line over a socket pair. Pure.

Every line has the version of the messages, the kind of the message, and its number, which its sender counts upwards. The director
asks and the worker answers: each message of the director is answered by one Done, Piece or Refused, which names the number of the
message that it answers (`of`). Done for a change of services is sent after the change is in force. A worker says one thing
without being asked: which sessions have ended. A process that cannot read a line, or gets a kind that it does not expect, answers
it with Refused; nobody answers a Refused.

Whoever changes a kind or a field here moves VERSION on; what all versions have in common is `version`, `kind`, `number` and `of`.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from appliance.ipc.plan import (
    Plan,
    ServiceKey,
    ServicePlan,
    keys_from_json,
    plan_as_json,
    plan_from_json,
    services_as_json,
    services_from_json,
    slots_from_json,
)
from appliance.ipc.queries import Query, query_from_json

VERSION = 10

_LONGEST_SHOWN = 80


class Start(NamedTuple):
    """To a worker, as its first message: be a shard. Done says that it is ready for packets, Refused that it cannot start."""

    plan: Plan


class ChangeServices(NamedTuple):
    """To a worker: these services are new or change, and those with the keys `gone` go; one that is not there is no error. All
    others stay. A great change comes in several of these, so that packets do not wait long for any of them."""

    services: tuple[ServicePlan, ...]
    gone: tuple[ServiceKey, ...] = ()


class ChangeHealth(NamedTuple):
    """To a worker: the real servers in these slots are down from now on, and all others are up. Done says that new sessions go
    by it."""

    down: tuple[int, ...]


class ChangeDrained(NamedTuple):
    """To a worker: the real servers in these slots are drained from now on, and no others. Done says that new sessions go
    by it."""

    drained: tuple[int, ...]


class AwaitSettled(NamedTuple):
    """To a worker: say Done when all sessions know of the changes before this: those of removed services have ended by then."""


class Forget(NamedTuple):
    """To a worker: these real servers, which were removed, have no slot any more. Refused says that one of them has sessions."""

    real_servers: list[Any]
    """For each: the name of the service, address and port."""


class Ask(NamedTuple):
    """To a worker: begin a walk through the sessions. Its number is the number of the walk; the answer is the first Piece."""

    query: Query


class More(NamedTuple):
    """To a worker: make the next Piece of a walk."""

    walk: int


class EndWalk(NamedTuple):
    """To a worker: nobody wants the rest of this walk. A walk that has ended already is no error."""

    walk: int


class ChangeSessionLog(NamedTuple):
    """To a worker: tell so many sessions a second at their end from now on, of these services; see `Plan`."""

    log_per_s: int
    logged_services: list[Any]


class Ended(NamedTuple):
    """To the director, which has not asked and does not answer: sessions that have ended."""

    rows: list[Any]
    """The fields of a `rows.SessionEnd` for each."""
    left_out: int
    """How many more have ended since the last such message, of which nothing is told."""


class Done(NamedTuple):
    """To the director: what message `of` wanted is in force."""

    of: int


class Piece(NamedTuple):
    """To the director: a part of the answer to a query."""

    of: int
    items: list[Any]
    """What `sessions.walk` makes for this kind of query."""
    is_last: bool
    place: str
    """In the last piece of a limited answer: the place where the next page begins, empty when there are no more sessions."""


class Refused(NamedTuple):
    """To either: message `of` was not done, and why. `of` is 0 when the number could not be read."""

    of: int
    reason: str


Message = (
    Start
    | ChangeServices
    | ChangeHealth
    | AwaitSettled
    | Ask
    | More
    | EndWalk
    | Done
    | Piece
    | Refused
    | ChangeDrained
    | Forget
    | ChangeSessionLog
    | Ended
)

KINDS: dict[str, type[Message]] = {
    "start": Start,
    "change-services": ChangeServices,
    "change-health": ChangeHealth,
    "await-settled": AwaitSettled,
    "forget": Forget,
    "ask": Ask,
    "more": More,
    "end-walk": EndWalk,
    "done": Done,
    "piece": Piece,
    "refused": Refused,
    "change-drained": ChangeDrained,
    "change-session-log": ChangeSessionLog,
    "ended": Ended,
}
"""All kinds of messages: the name on the line and the class."""

_NAMES = {message: name for name, message in KINDS.items()}

_WRITTEN: dict[str, Callable[[Any], Any]] = {"plan": plan_as_json, "services": services_as_json}
_READ: dict[str, Callable[[Any], Any]] = {
    "plan": plan_from_json,
    "services": services_from_json,
    "query": query_from_json,
    "down": slots_from_json,
    "drained": slots_from_json,
    "gone": keys_from_json,
}
"""By field: how a value that JSON does not have is written and read."""

_JSON_TYPES: dict[str, type] = {
    "plan": dict, "services": list, "query": list, "walk": int, "of": int, "items": list, "is_last": bool, "place": str,
    "reason": str, "down": list, "drained": list, "real_servers": list, "gone": list,
    "log_per_s": int, "logged_services": list, "rows": list, "left_out": int,
}  # fmt: skip


class MessageError(ValueError):
    """A line is not a message of this version; str() says why. The other attributes are what could be read of it."""

    def __init__(self, why: str, kind: str = "", number: int = 0, of: int = 0) -> None:
        super().__init__(why)
        self.is_refusal = kind == _NAMES[Refused]
        self.number = number
        self.of = of


class Numbered(NamedTuple):
    """A message with its number, as it was read."""

    number: int
    message: Message


def encode(number: int, message: Message) -> bytes:
    """A message as one line."""
    fields = {name: _WRITTEN[name](value) if name in _WRITTEN else value for name, value in message._asdict().items()}
    line = {"version": VERSION, "kind": _NAMES[type(message)], "number": number} | fields
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Numbered:
    """The message in a line. Raises MessageError when there is none, or one of another version."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"not a message: {_shown(line)}") from error
    if not isinstance(fields, dict):
        raise MessageError(f"not a message: {_shown(line)}")
    kind, number = _read_text(fields.pop("kind", None)), _read_number(fields.pop("number", None))
    of = _read_number(fields.get("of"))
    if (version := fields.pop("version", None)) != VERSION:
        raise MessageError(
            f"a message of version {version!r}, while this process has version {VERSION}: director and workers are of different "
            "releases of the appliance, so it has to be restarted",
            kind, number, of,
        )  # fmt: skip
    if kind not in KINDS:
        raise MessageError(f"a message of the unknown kind {kind[:_LONGEST_SHOWN]!r}", kind, number, of)
    if number < 1:
        raise MessageError(f"a message without a number: {_shown(line)}", kind, number, of)
    try:
        return Numbered(number, _read_message(KINDS[kind], fields))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MessageError(f"a damaged message of kind {kind!r}: {error!r}: {_shown(line)}", kind, number, of) from error


def _read_message(message: type[Message], fields: dict[str, Any]) -> Message:
    for name, value in fields.items():
        if type(value) is not _JSON_TYPES.get(name):
            raise TypeError(f"{name} is {value!r}"[:_LONGEST_SHOWN])
    return message(**{name: _READ[name](value) if name in _READ else value for name, value in fields.items()})


def _read_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _read_number(value: object) -> int:
    return value if type(value) is int else 0


def _shown(line: bytes) -> str:
    return repr(line[:_LONGEST_SHOWN])


class LineReader:
    """Collects bytes as they come and gives back the whole lines among them, without their ends."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines
