"""One query about the sessions of a shard, answered piece by piece, so that a million sessions do not hold up a packet.

Each `step` looks at a bounded number of sessions and does a bounded amount of work, a millisecond or two in all. Packets are
handled in between. A session that is there from the first step to the last is looked at exactly once; one that begins or ends
meanwhile, once or not at all.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from appliance.ipc.queries import (
    CONSISTENCY,
    CUT,
    LOCAL_ADDRESS,
    ROWS,
    SLABS,
    TALLY,
    EndpointMatch,
    Place,
    Query,
    first_place,
    packed_clients,
    parse_place,
)
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import STATE_NAMES, TcpState
from appliance.sessions.at_rest import SessionsAtRest
from appliance.sessions.consistency import ConsistencyCheck
from appliance.sessions.lifecycle import Sessions
from appliance.sessions.row import session_row
from appliance.sessions.slabs import slabs
from appliance.state.rewrite_record import client_in
from appliance.state.session import Session
from appliance.state.session_table import Bucket
from appliance.wire.flow import Direction
from appliance.wire.show import show_address, show_endpoint

BUDGET = 1000
"""How much a step may spend. One unit is about a microsecond."""

_LOOK, _LOOK_AT_REST = 1, 10
_PRICES = {ROWS: 5, TALLY: 1, CUT: 15}
_PRICES_AT_REST = {**_PRICES, CUT: 45}
"""What a session costs a step, in a table or at rest: one that is only looked at, and one that the query is about, by what is
done with it."""

_SLABS_AT_ONCE = 200

_TCP = 0
"""The table of TCP, see `Place`."""
_OF_REST = ("", TcpState.TIME_WAIT.name)
"""States that a filter can ask for so that it is about sessions at rest."""

Condition = Callable[[Session], bool]


class Piece(NamedTuple):
    """A part of the answer. `items` are SessionRows, or pairs of a name and a count, or one count of sessions cut, or Slabs, or
    one Consistency."""

    items: list[Any]
    is_last: bool
    place: str = ""
    """Where a limited answer ended, with its last piece; empty when there is no more."""


class SessionWalk:
    """A query that is being answered. Raises QueryError or ValueError for one that was not checked."""

    def __init__(self, sessions: Sessions, shard: int, query: Query) -> None:
        self._sessions = sessions
        self._shard = shard
        self._query = query
        self._is_meant = _condition(query)
        self._left = query.limit
        """How many more sessions a limited answer has room for. An unlimited answer starts at 0, so it never reaches 0 again."""
        self._at_rest = SessionsAtRest(sessions)
        self._tables = slabs(sessions)
        self._check = ConsistencyCheck(sessions, shard)
        self._table = self._bucket = 0
        self._entries = self._walk(parse_place(query.after) if query.after else first_place(shard))

    def step(self, now: float) -> Piece:
        """The next piece of the answer, at `now` seconds of the monotonic clock."""
        self._sessions.prepared.short.retiring.pause()
        if self._query.kind == SLABS:
            tables = list(islice(self._tables, _SLABS_AT_ONCE))
            return Piece(tables, len(tables) < _SLABS_AT_ONCE)
        if self._query.kind == CONSISTENCY:
            found = self._check.step()
            return Piece([] if found is None else [found], found is not None)
        budget, price, price_at_rest = BUDGET, _PRICES[self._query.kind], _PRICES_AT_REST[self._query.kind]
        is_meant, wanted = self._is_meant, list[Session]()
        for session, look in self._entries:
            budget -= look
            if session is not None and (is_meant is None or is_meant(session)):
                wanted.append(session)
                budget -= price if look == _LOOK else price_at_rest
                if len(wanted) == self._left:
                    return Piece(self._reduced(wanted, now), True, str(self._place_of(session)))
            if budget <= 0:
                self._left -= len(wanted)
                return Piece(self._reduced(wanted, now), False)
        return Piece(self._reduced(wanted, now), True)

    def _walk(self, start: Place) -> Iterator[tuple[Session | None, int]]:
        """The sessions behind a place, in an order that only depends on their keys when the answer is limited; and what it costs
        to look at each. No session is something else that was looked at."""
        if start.table == _TCP and self._query.filter.state in _OF_REST:
            for _ in self._at_rest.gather():
                yield None, _LOOK
        for table, sessions in enumerate((self._sessions.tcp, self._sessions.udp)):
            for number, bucket in enumerate(sessions.by_direction[Direction.INBOUND]):
                if (table, number) < (start.table, start.bucket):
                    continue
                self._table, self._bucket = table, number
                after = start.key if self._query.after and (table, number) == (start.table, start.bucket) else b""
                for key in self._keys(bucket, after):
                    session = bucket.get(key)
                    if session is not None:
                        if session.entry is not None:
                            self._sessions.lane.refresh(session)
                        yield session, _LOOK
                    elif table == _TCP:
                        yield self._at_rest.find(number, key), _LOOK_AT_REST

    def _keys(self, bucket: Bucket, after: bytes) -> list[bytes]:
        """The keys of clients in a bucket of the table at which the walk is, behind one of them."""
        keys = list(bucket)
        if self._table == _TCP:
            keys += (key for key in self._at_rest.keys(self._bucket) if key not in bucket)
        if self._query.limit:
            keys.sort()
        return keys[bisect_right(keys, after) :] if after else keys

    def _place_of(self, session: Session) -> Place:
        """The place of the session that the walk looked at last."""
        return Place(self._shard, self._table, self._bucket, session.client_key)

    def _reduced(self, sessions: list[Session], now: float) -> list[Any]:
        if self._query.kind == ROWS:
            return [session_row(session, now) for session in sessions]
        if self._query.kind == TALLY:
            group = _GROUPS[self._query.by]
            return [(group.show(key), count) for key, count in Counter(map(group.of, sessions)).items()]
        to_end = [session for session in map(self._at_rest.wake, sessions) if session is not None]
        for session in to_end:
            self._sessions.end(session, EndReason.CUT)
        return [len(to_end)]


def _condition(query: Query) -> Condition | None:
    """The condition that a session has to meet, the cheapest part of it first; None when all sessions do."""
    wanted, conditions = query.filter, list[Condition]()
    if wanted.state:
        state = STATE_NAMES.index(wanted.state)
        conditions.append(lambda session: session.state == state)
    if wanted.service:
        conditions.append(lambda session: session.service.name == wanted.service)
    if wanted.real_server:
        is_real_server = EndpointMatch(wanted.real_server)
        conditions.append(lambda session: is_real_server(session.real_server.endpoint))
    if wanted.client:
        is_client = EndpointMatch(wanted.client)
        conditions.append(lambda session: is_client(client_in(session.records)))
    if clients := packed_clients(query):
        conditions.append(lambda session: session.client_address in clients)
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    return lambda session: all(condition(session) for condition in conditions)


class _Group(NamedTuple):
    """What sessions are counted by, and how that is shown; it is shown once for each value."""

    of: Callable[[Session], Any]
    show: Callable[[Any], str]


_GROUPS = {
    "client": _Group(lambda session: session.client_address, show_address),
    "service": _Group(lambda session: session.service.name, str),
    "real_server": _Group(lambda session: session.real_server.endpoint, show_endpoint),
    LOCAL_ADDRESS: _Group(lambda session: session.local_address, show_address),
}
