"""The table of sessions: each session has two keys, the flows of its packets in both directions.

A dict of a million keys stops everything for 50 to 100 ms whenever it grows, or is tidied up after many have come and gone.
So there are many small ones: a key chooses its dict by the upper bits of its hash. Python keys hashes anew in each process, so
nobody can fill one dict on purpose. The dict itself uses the lower bits.
"""

from collections.abc import Iterator
from sys import hash_info

from appliance.state.rewrite_record import arriving_keys
from appliance.state.session import Session
from appliance.wire.flow import Direction

_BUCKET_BITS = 9
BUCKETS = 1 << _BUCKET_BITS
"""With a million sessions each dict has two thousand: Python tidies it up in a tenth of a millisecond."""

BUCKET_SHIFT = hash_info.width - _BUCKET_BITS
"""A hash has a sign, so what is left of it counts from minus half the buckets up; a list takes that as an index."""

Bucket = dict[bytes, Session]


class SessionTable:
    """All sessions of a shard of one transport protocol. The half in which a packet's key is found tells its direction."""

    def __init__(self) -> None:
        self.by_direction: tuple[list[Bucket], list[Bucket]] = ([{} for _ in range(BUCKETS)], [{} for _ in range(BUCKETS)])
        """Indexed by Direction, then by ``hash(key) >> BUCKET_SHIFT``."""
        self._count = 0
        self.most = 0
        """The most sessions there were at once: the interpreter keeps the memory of so many."""

    def __len__(self) -> int:
        return self._count

    def find(self, key: bytes) -> tuple[Session | None, int]:
        """The session of a packet with this key, and the packet's direction."""
        bucket = hash(key) >> BUCKET_SHIFT
        for direction, buckets in enumerate(self.by_direction):
            if session := buckets[bucket].get(key):
                return session, direction
        return None, Direction.INBOUND

    def walk(self) -> Iterator[list[Session]]:
        """All sessions, bucket by bucket, each bucket read when it is asked for: packets may be handled in between. A session
        that is there from the first bucket to the last appears exactly once."""
        return (list(bucket.values()) for bucket in self.by_direction[Direction.INBOUND])

    def insert(self, session: Session) -> None:
        """Add a session under both keys, and count it."""
        (inbound, outbound), (client_key, server_key) = self.by_direction, arriving_keys(session.records)
        inbound[hash(client_key) >> BUCKET_SHIFT][client_key] = session
        outbound[hash(server_key) >> BUCKET_SHIFT][server_key] = session
        self._count += 1
        if self._count > self.most:
            self.most = self._count
        session.appear()

    def remove(self, session: Session) -> None:
        """Take a session out under both keys, and out of all counts."""
        (inbound, outbound), (client_key, server_key) = self.by_direction, arriving_keys(session.records)
        del inbound[hash(client_key) >> BUCKET_SHIFT][client_key]
        del outbound[hash(server_key) >> BUCKET_SHIFT][server_key]
        self._count -= 1
        session.disappear()
