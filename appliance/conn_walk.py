"""One question about the sessions of a shard, answered piece by piece: a million of them must not hold up a packet.

Each `step` looks at a bounded number of sessions and does a bounded amount of work, a millisecond or two in all. Packets are
handled in between. A session that is there from the first step to the last is met exactly once; one that comes or goes
meanwhile is met once or not at all.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from appliance.conn import ConnEntry
from appliance.conn_query import CUT, ROWS, SLABS, TALLY, EndpointMatch, Place, Query, parse_place
from appliance.listing import session_row
from appliance.model import Direction, destination_of
from appliance.sessions import Sessions
from appliance.slabs import slabs
from appliance.tcp_state import STATE_NAMES
from appliance.wire.show import show_address, show_endpoint

LOOKS_PER_STEP = 2000

_MOST_PER_STEP = {ROWS: 200, TALLY: LOOKS_PER_STEP, CUT: 100}
"""Sessions that one step does something with: what that costs differs."""

Condition = Callable[[ConnEntry], bool]


class Piece(NamedTuple):
    """A part of the answer. `items` are SessionRows, or pairs of a name and a count, or one count of sessions cut, or Slabs."""

    items: list[Any]
    is_last: bool
    place: str = ""
    """Where a limited answer ended, with its last piece; empty when there is no more."""


class ConnWalk:
    """A question under way. Raises QueryError or ValueError for one that was not checked."""

    def __init__(self, sessions: Sessions, shard: int, query: Query) -> None:
        self._sessions = sessions
        self._shard = shard
        self._query = query
        self._conditions = _conditions(query)
        self._left = query.limit
        start = parse_place(query.after) if query.after else Place(shard, 0, 0, b"")
        self._place = start
        self._entries = self._walk(start)

    def step(self, now: float) -> Piece:
        """The next piece of the answer, at `now` seconds of the monotonic clock."""
        if self._query.kind == SLABS:
            return Piece(slabs(self._sessions), True)
        most = _MOST_PER_STEP[self._query.kind]
        if self._query.limit:
            most = min(most, self._left)
        wanted: list[ConnEntry] = []
        is_last = False
        for _ in range(LOOKS_PER_STEP):
            conn = next(self._entries, None)
            if conn is None:
                is_last = True
                break
            if all(condition(conn) for condition in self._conditions):
                wanted.append(conn)
                if len(wanted) == most:
                    break
        self._left -= len(wanted)
        is_full = bool(self._query.limit) and not self._left and not is_last
        return Piece(self._reduced(wanted, now), is_last or is_full, str(self._place) if is_full else "")

    def _walk(self, start: Place) -> Iterator[ConnEntry]:
        """Entries behind a place, in an order that only depends on their keys when the answer is limited."""
        for table, conns in enumerate((self._sessions.tcp, self._sessions.udp)):
            for number, bucket in enumerate(conns.by_direction[Direction.INBOUND]):
                if (table, number) < (start.table, start.bucket):
                    continue
                is_first = (table, number) == (start.table, start.bucket)
                for key in sorted(bucket) if self._query.limit else list(bucket):
                    if is_first and key <= start.key:
                        continue
                    conn = bucket.get(key)
                    if conn is not None:
                        self._place = Place(self._shard, table, number, key)
                        yield conn

    def _reduced(self, conns: list[ConnEntry], now: float) -> list[Any]:
        if self._query.kind == ROWS:
            return [session_row(conn, now) for conn in conns]
        if self._query.kind == TALLY:
            return list(Counter(map(_GROUP_OF[self._query.by], conns)).items())
        for conn in conns:
            self._sessions.cut(conn)
        return [len(conns)]


def _conditions(query: Query) -> list[Condition]:
    """What a session has to be, the cheapest question first."""
    wanted, conditions = query.filter, list[Condition]()
    if wanted.state:
        state = STATE_NAMES.index(wanted.state)
        conditions.append(lambda conn: conn.state == state)
    if wanted.service:
        conditions.append(lambda conn: conn.service.name == wanted.service)
    if wanted.real_server:
        is_real_server = EndpointMatch(wanted.real_server)
        conditions.append(lambda conn: is_real_server(conn.real_server.endpoint))
    if wanted.client:
        is_client = EndpointMatch(wanted.client)
        conditions.append(lambda conn: is_client(_client_of(conn)))
    return conditions


def _client_of(conn: ConnEntry) -> bytes:
    return destination_of(conn.addresses(Direction.OUTBOUND))


def _real_server_name(conn: ConnEntry) -> str:
    endpoint = conn.real_server.endpoint
    return show_endpoint(endpoint[:4], endpoint[4:])


_GROUP_OF: dict[str, Callable[[ConnEntry], str]] = {
    "client": lambda conn: show_address(_client_of(conn)[:4]),
    "service": lambda conn: conn.service.name,
    "real_server": _real_server_name,
}
