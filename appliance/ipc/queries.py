"""Which sessions somebody wants to see, count or cut, and what is wrong with how that was said. Pure.

A filter is four texts, each of which may be empty, so it can be written to a worker as it is. They are checked at the door,
where the answer can name the field; `EndpointMatch` is for the worker's end.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple

from appliance.model.did_you_mean import nearest
from appliance.model.tcp_state import STATE_NAMES
from appliance.wire.flow import FIRST_KEY, KEY_BYTES, split_endpoint

ROWS, TALLY, CUT, SLABS = "rows", "tally", "cut", "slabs"
"""What is to be done with the sessions. SLABS looks at no session: it asks for the sizes of the tables."""

GROUPS = ("client", "service", "real_server")
"""What sessions can be counted by."""

_LONGEST_SHOWN = 80


class QueryError(ValueError):
    """A question that cannot be asked; the message names the field, the value and what would be allowed."""


class ShardDownError(RuntimeError):
    """A query could not be answered, because the worker of the shard is not running, or died meanwhile."""


class ShardFailedError(RuntimeError):
    """A worker is running but did not do what it was asked; the message says why."""


class SessionFilter(NamedTuple):
    """The sessions that are meant: those for which all that is said here is true; empty says nothing."""

    client: str = ""
    """An address, ``ADDRESS:PORT`` or ``NETWORK/BITS``."""
    service: str = ""
    """The name of a service."""
    real_server: str = ""
    """As `client`."""
    state: str = ""
    """One of `tcp_state.STATE_NAMES`."""


class Query(NamedTuple):
    """One question to a shard."""

    kind: str
    filter: SessionFilter = SessionFilter()
    by: str = ""
    """Of a TALLY: one of GROUPS."""
    limit: int = 0
    """Of ROWS: so many at most; 0 for all. Only a limited answer says where it ended."""
    after: str = ""
    """Of ROWS: go on behind this place, as an answer named it."""


def query_from_json(written: Sequence[Any]) -> Query:
    """The query in a JSON array. Raises TypeError when its items are not the fields of a query."""
    query = Query(*written)
    return query._replace(filter=SessionFilter(*query.filter))


class Place(NamedTuple):
    """Where an answer ended. As text it goes to clients and comes back from them."""

    shard: int
    table: int
    """0 for TCP, 1 for UDP."""
    bucket: int
    key: bytes

    def __str__(self) -> str:
        return f"{self.shard}-{self.table}-{self.bucket}-{self.key.hex()}"


def first_place(shard: int) -> Place:
    """In front of all sessions of a shard."""
    return Place(shard, 0, 0, FIRST_KEY)


_PLACE = re.compile(rf"([0-9]{{1,2}})-([01])-([0-9]{{1,3}})-([0-9a-f]{{{2 * KEY_BYTES}}})")


def parse_place(text: str) -> Place:
    """The place that `text` names. Raises QueryError when it names none."""
    found = _PLACE.fullmatch(text)
    if not found:
        raise QueryError(f"after: {text[:_LONGEST_SHOWN]!r} is no place that an answer named")
    *numbers, key = found.groups()
    shard, table, bucket = map(int, numbers)
    return Place(shard, table, bucket, bytes.fromhex(key))


def read_filter(given: Mapping[str, str], services: Collection[str]) -> SessionFilter:
    """The filter in the fields of a request, of which it understands only its own.

    Raises QueryError for an endpoint that is none, for a service or a state that there is not, and for a field that is there and
    says nothing: what a script left empty by mistake must not mean everything.
    """
    for field in SessionFilter._fields:
        if field in given and not given[field].strip():
            raise QueryError(f"{field}: is empty; leave it out when any will do")
    wanted = SessionFilter(**{field: given.get(field, "").strip() for field in SessionFilter._fields})
    wanted = wanted._replace(state=wanted.state.upper())
    for field in ("client", "real_server"):
        if text := getattr(wanted, field):
            _check_endpoint(field, text)
    if wanted.service:
        _check_known("service", wanted.service, services)
    if wanted.state:
        _check_known("state", wanted.state, STATE_NAMES)
    return wanted


def read_number(given: Mapping[str, str], field: str, default: int, most: int) -> int:
    """A number in 1..`most`. Raises QueryError for anything else."""
    text = given.get(field, str(default)).strip()
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise QueryError(f"{field}: {text[:_LONGEST_SHOWN]!r} is out of range 1..{most}")
    return int(text)


def read_group(given: Mapping[str, str]) -> str:
    """What to count by. Raises QueryError when that is not one of GROUPS."""
    by = given.get("by", GROUPS[0])
    _check_known("by", by, GROUPS)
    return by


def check_fields(given: Collection[str], known: Collection[str]) -> None:
    """Raises QueryError for a field that nobody would read: a filter with a slip in it must not mean everything."""
    for field in given:
        _check_known("field", field, known)


def _check_known(field: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        match = nearest(value[:_LONGEST_SHOWN], known)
        hint = f"; the nearest is {match}" if match else ""
        raise QueryError(f"{field}: there is no {value[:_LONGEST_SHOWN]!r} (there are {', '.join(known)}){hint}")


class _Endpoint(NamedTuple):
    network: int
    mask: int
    port: bytes | None


def _check_endpoint(field: str, text: str) -> None:
    try:
        _parse_endpoint(text)
    except ValueError as error:
        allowed = "allowed: ADDRESS, ADDRESS:PORT, NETWORK/BITS"
        raise QueryError(f"{field}: {text[:_LONGEST_SHOWN]!r} is no IPv4 endpoint ({allowed})") from error


def _parse_endpoint(text: str) -> _Endpoint:
    if "/" in text:
        network = IPv4Network(text)
        return _Endpoint(int(network.network_address), int(network.netmask), None)
    address, colon, port = text.partition(":")
    if colon and not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 0xFFFF):
        raise ValueError(f"port {port[:_LONGEST_SHOWN]!r} is out of range 1..65535")
    return _Endpoint(int(IPv4Address(address)), 0xFFFF_FFFF, int(port).to_bytes(2, "big") if colon else None)


class EndpointMatch:
    """Whether six-byte endpoints are the ones that a text of a filter names. Raises ValueError when it names none."""

    def __init__(self, text: str) -> None:
        self._network, self._mask, self._port = _parse_endpoint(text)

    def __call__(self, endpoint: bytes) -> bool:
        address, port = split_endpoint(endpoint)
        return int.from_bytes(address, "big") & self._mask == self._network and (self._port is None or port == self._port)
