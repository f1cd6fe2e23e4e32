"""Sessions whose local endpoints rest (`sessions.short_lived`), as a walk finds them: each where it would be in the table.

Whoever asks sees them as all figures have them, in TIME_WAIT. They stay where they are: what is listed is a copy. Only one that
is to be cut comes into the table, where it ends like any other.
"""

from collections.abc import Collection, Iterator
from copy import copy

from appliance.model.tcp_state import TcpState
from appliance.sessions.lifecycle import Sessions
from appliance.sessions.ring import Ticket
from appliance.state.lane_entry import LAST_SEEN_WORD, LONGS, NS_PER_S, client_key_in, take_client
from appliance.state.session import Session
from appliance.state.session_table import BUCKET_SHIFT, BUCKETS

_TIME_WAIT = int(TcpState.TIME_WAIT)


class SessionsAtRest:
    """Those of one shard that rested when `gather` began, as long as they do. One that begins to rest later was no session then,
    or was in the table."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._short = sessions.prepared.short
        self._records = sessions.lane.maps.records
        self._longs = self._records.cast("Q")
        self._by_bucket: dict[int, dict[bytes, Ticket]] = {}
        """By the number of the bucket of the table, and the client's key."""

    def gather(self) -> Iterator[None]:
        """Find out where each would be in the table; one with each step."""
        for ticket in self._short.at_rest():
            key = client_key_in(self._records, ticket.entry)
            self._by_bucket.setdefault((hash(key) >> BUCKET_SHIFT) % BUCKETS, {})[key] = ticket
            yield

    def keys(self, bucket: int) -> Collection[bytes]:
        """The keys of clients in this bucket."""
        return self._by_bucket.get(bucket, ())

    def find(self, bucket: int, key: bytes) -> Session | None:
        """A copy of the session of a client in a bucket; None when it rests no more."""
        ticket = self._by_bucket[bucket].get(key) if bucket in self._by_bucket else None
        if ticket is None or not self._short.rests(ticket) or client_key_in(self._records, ticket.entry) != key:
            return None
        lane, entry, session = self._sessions.lane, ticket.entry, copy(ticket.session)
        take_client(session, self._records, entry)
        session.state, session.opening = _TIME_WAIT, None
        session.words, session.entry = lane.words(entry), entry
        last_seen_s = self._longs[entry * LONGS + LAST_SEEN_WORD] / NS_PER_S
        session.deadline = last_seen_s + self._sessions.tunables.timeouts_s[_TIME_WAIT]
        return session

    def wake(self, session: Session) -> Session | None:
        """The session of the table: this one, or what it becomes there when it is one of `find`. None for one that has ended."""
        entry = session.entry
        if entry is None or self._sessions.lane.entries.owner(entry) is session:
            return session
        self._short.find(entry, None)
        return self._sessions.tcp.find(session.client_key)[0]
