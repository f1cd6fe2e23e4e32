"""Queries: which sessions are to be listed, counted or cut, and how a wrong query is refused. Pure.

A filter is four texts, each of which may be empty, so it is sent to a worker as it is. The texts are checked where the request
comes in, so that the answer can name the field, and once more where a worker reads the query: a worker never begins with a query
that was not checked. `EndpointMatch` applies them in the worker.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple

from appliance.model.did_you_mean import nearest
from appliance.model.tcp_state import STATE_NAMES
from appliance.wire.flow import FIRST_KEY, KEY_BYTES, destination_of, source_of, split_endpoint

ROWS, TALLY, CUT, SLABS, CONSISTENCY, TRACE = "rows", "tally", "cut", "slabs", "consistency", "trace"
"""Kinds of queries. ROWS lists sessions, TALLY counts them in groups, CUT ends them; SLABS asks for the sizes of the tables, and
CONSISTENCY whether they agree with each other and with the lane.
TRACE is about packets: those of some clients, from its first piece on until nobody wants more (see `ipc.traced`)."""

KINDS = (ROWS, TALLY, CUT, SLABS, CONSISTENCY, TRACE)

GROUPS = ("client", "service", "real_server")
"""The groups in which operators can have sessions counted."""

LOCAL_ADDRESS = "local_address"
TALLY_GROUPS = (*GROUPS, LOCAL_ADDRESS)
"""The groups in which a TALLY can count."""

LIMIT_MAX = 10_000
"""The largest number of sessions that a limited answer can have."""

CLIENTS_MAX = 1000
"""How many clients a query can name."""

SNAP_MIN, SNAP_MAX = 80, 3840
"""How much a trace can keep of each packet, in bytes: the longest headers that a shard reads, and all that a queue copies."""

_LONGEST_SHOWN = 80


class QueryError(ValueError):
    """A query is wrong; the message names the field, the value and what is allowed."""


class ShardDownError(RuntimeError):
    """A query could not be answered, because the worker of the shard is not running, or died meanwhile."""


class ShardFailedError(RuntimeError):
    """A worker is running but did not do what it was asked; the message says why."""


class SessionFilter(NamedTuple):
    """Selects the sessions that match all fields; an empty field matches every session."""

    client: str = ""
    """An address, ``ADDRESS:PORT`` or ``NETWORK/BITS``."""
    service: str = ""
    """The name of a service."""
    real_server: str = ""
    """In the same forms as `client`."""
    state: str = ""
    """One of `tcp_state.STATE_NAMES`."""


class Query(NamedTuple):
    """One query to a shard."""

    kind: str
    """One of KINDS."""
    filter: SessionFilter = SessionFilter()
    by: str = ""
    """For TALLY: one of TALLY_GROUPS."""
    limit: int = 0
    """For ROWS and CUT: the largest number of sessions; 0 for all. Only a limited answer says where it ended."""
    after: str = ""
    """For ROWS and CUT: begin behind this place, which an answer has named."""
    clients: Sequence[str] = ()
    """For CUT: the addresses of the clients whose sessions are meant, at most CLIENTS_MAX; none: all that the filter selects."""
    port: int = 0
    """For TRACE: only packets to and from this port of a VIP; 0 for all."""
    snap_bytes: int = 0
    """For TRACE: how much of each packet is wanted, SNAP_MIN..SNAP_MAX."""


def query_from_json(written: Sequence[Any]) -> Query:
    """The query in a JSON array. Raises TypeError when its items are not the fields of a query, and QueryError when one of them
    has a value that no query can have."""
    query = Query(*written)
    query = query._replace(filter=SessionFilter(*query.filter), clients=tuple(query.clients))
    check_query(query)
    return query


def check_query(query: Query) -> None:
    """Raises QueryError for a query that a shard cannot answer, whoever made it. Whether a service exists is not asked here."""
    texts = (query.kind, *query.filter, query.by, query.after)
    if not all(isinstance(text, str) for text in texts) or type(query.limit) is not int:
        raise QueryError(f"a query has fields of wrong types: {query!r}"[: 2 * _LONGEST_SHOWN])
    _check_known("kind", query.kind, KINDS)
    if query.kind == TALLY or query.by:
        _check_known("by", query.by, TALLY_GROUPS)
    _check_clients(query)
    if not 0 <= query.limit <= LIMIT_MAX:
        raise QueryError(f"limit: {query.limit} is out of range 0..{LIMIT_MAX}")
    if query.after:
        parse_place(query.after)
    wanted = query.filter
    _check_endpoints(wanted)
    if wanted.state:
        _check_known("state", wanted.state, STATE_NAMES)
    if query.kind == TRACE:
        _check_trace(query)


def _check_trace(query: Query) -> None:
    if not query.filter.client:
        raise QueryError("client: a trace needs one")
    for field, value, least, most in (("port", query.port, 0, 0xFFFF), ("snap_bytes", query.snap_bytes, SNAP_MIN, SNAP_MAX)):
        if type(value) is not int or not least <= value <= most:
            raise QueryError(f"{field}: {value!r} is out of range {least}..{most}"[: 2 * _LONGEST_SHOWN])


def _check_clients(query: Query) -> None:
    if query.clients and (query.kind != CUT or len(query.clients) > CLIENTS_MAX):
        raise QueryError(f"clients: only a query of the kind {CUT} names any, and at most {CLIENTS_MAX}")
    if not all(isinstance(client, str) for client in query.clients):
        raise QueryError("clients: an address is text")
    try:
        packed_clients(query)
    except ValueError as error:
        raise QueryError(f"clients: {error}"[: 2 * _LONGEST_SHOWN]) from error


def packed_clients(query: Query) -> frozenset[bytes]:
    """The addresses of the clients that a query names. Raises ValueError."""
    return frozenset(IPv4Address(client).packed for client in query.clients)


class Place(NamedTuple):
    """Where a limited answer ended. Clients get it as text and send it back to go on from there."""

    shard: int
    table: int
    """0 for TCP, 1 for UDP."""
    bucket: int
    key: bytes

    def __str__(self) -> str:
        return f"{self.shard}-{self.table}-{self.bucket}-{self.key.hex()}"


def first_place(shard: int) -> Place:
    """The place in front of all sessions of a shard."""
    return Place(shard, 0, 0, FIRST_KEY)


PLACE_PATTERN = rf"([0-9]{{1,2}})-([01])-([0-9]{{1,3}})-([0-9a-f]{{{2 * KEY_BYTES}}})"
"""The form of a place, as a regular expression."""

_PLACE = re.compile(PLACE_PATTERN)


def parse_place(text: str) -> Place:
    """The place in a text. Raises QueryError when there is none in it."""
    found = _PLACE.fullmatch(text)
    if not found:
        raise QueryError(f"after: {text[:_LONGEST_SHOWN]!r} is no place that an answer named")
    *numbers, key = found.groups()
    shard, table, bucket = map(int, numbers)
    return Place(shard, table, bucket, bytes.fromhex(key))


def read_filter(given: Mapping[str, str], services: Collection[str]) -> SessionFilter:
    """The filter in the fields of a request; other fields are ignored.

    Raises QueryError for something that is no endpoint, for a service or a state that does not exist, and for a field that is
    given but empty: a field that a script left empty by mistake must not select every session.
    """
    for field in SessionFilter._fields:
        if field in given and not given[field].strip():
            raise QueryError(f"{field}: is empty; leave it out when any will do")
    wanted = SessionFilter(**{field: given.get(field, "").strip() for field in SessionFilter._fields})
    wanted = wanted._replace(state=wanted.state.upper())
    _check_endpoints(wanted)
    if wanted.service:
        _check_known("service", wanted.service, services)
    if wanted.state:
        _check_known("state", wanted.state, STATE_NAMES)
    return wanted


def read_number(given: Mapping[str, str], field: str, default: int, most: int) -> int:
    """The number in a field, 1..`most`, or `default` when the field is not given. Raises QueryError for anything else."""
    return number_in(given.get(field, str(default)).strip(), field, 1, most)


def number_in(text: str, field: str, least: int, most: int, unit: str = "") -> int:
    """The whole number that the text of a field is, `least`..`most`. Raises QueryError for anything else; `unit` is said then."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise QueryError(f"{field}: {text[:_LONGEST_SHOWN]!r} is out of range {least}..{most}{unit}")
    return int(text)


def read_group(given: Mapping[str, str]) -> str:
    """The group to count by. Raises QueryError when it is not one of GROUPS."""
    by = given.get("by", GROUPS[0])
    _check_known("by", by, GROUPS)
    return by


def check_fields(given: Iterable[str], known: Collection[str]) -> None:
    """Raises QueryError for an unknown field, because a filter with a misspelt field must not select every session; and for one
    that is given twice, because only one of its values would count."""
    seen = set[str]()
    for field in given:
        _check_known("field", field, known)
        if field in seen:
            raise QueryError(f"{field}: it is given more than once")
        seen.add(field)


def _check_known(field: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        match = nearest(value[:_LONGEST_SHOWN], known)
        hint = f"; the nearest is {match}" if match else ""
        raise QueryError(f"{field}: there is no {value[:_LONGEST_SHOWN]!r} (there are {', '.join(known)}){hint}")


class _Endpoint(NamedTuple):
    network: int
    mask: int
    port: bytes | None


def _check_endpoints(wanted: SessionFilter) -> None:
    for field in ("client", "real_server"):
        if text := getattr(wanted, field):
            _check_endpoint(field, text)


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


class FlowMatch:
    """Tells whether packets from a client to a VIP are wanted by a query of the kind TRACE."""

    def __init__(self, query: Query) -> None:
        """Raises QueryError for a query that was not checked."""
        check_query(query)
        self._is_client = EndpointMatch(query.filter.client)
        self._port = query.port

    def __call__(self, client: bytes, vip: bytes) -> bool:
        """Whether they are; both are endpoints."""
        return self._is_client(client) and (not self._port or int.from_bytes(split_endpoint(vip)[1], "big") == self._port)

    def is_of(self, key: bytes) -> bool:
        """The same for the key of such a packet."""
        return self(source_of(key), destination_of(key))


class EndpointMatch:
    """Tells whether a six-byte endpoint matches a text of a filter. Raises ValueError for a text that is no endpoint."""

    def __init__(self, text: str) -> None:
        self._network, self._mask, self._port = _parse_endpoint(text)

    def __call__(self, endpoint: bytes) -> bool:
        address, port = split_endpoint(endpoint)
        return int.from_bytes(address, "big") & self._mask == self._network and (self._port is None or port == self._port)
