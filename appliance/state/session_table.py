"""The table of conn entries: one entry, two keys.

A dict of a million keys stops everything for 50 to 100 ms whenever it grows, or is tidied up after many have come and gone.
So there are many small ones: a packet's 12 address bytes choose theirs by the upper bits of their hash, which Python keys
anew in each process, so nobody can fill one of them on purpose. The dict itself goes by the lower bits.
"""

from collections.abc import Iterator
from sys import hash_info

from appliance.state.session import Session
from appliance.wire.flow import Direction

_BUCKET_BITS = 9
BUCKETS = 1 << _BUCKET_BITS
"""With a million sessions each has two thousand: tidied up in a tenth of a millisecond, and walked through in one."""

BUCKET_SHIFT = hash_info.width - _BUCKET_BITS
"""What is left of a hash, which has a sign, counts from minus half the buckets up: a list takes that as an index."""

Bucket = dict[bytes, Session]


class SessionTable:
    """All entries of a shard for one transport protocol. The half that has a packet's address bytes tells its direction."""

    def __init__(self) -> None:
        self.by_direction: tuple[list[Bucket], list[Bucket]] = ([{} for _ in range(BUCKETS)], [{} for _ in range(BUCKETS)])
        """Indexed by Direction, then by ``hash(addresses) >> BUCKET_SHIFT``."""
        self._count = 0
        self.most = 0
        """How many there were at most, at once: what memory was taken for, and is kept for."""

    def __len__(self) -> int:
        return self._count

    def find(self, addresses: bytes) -> tuple[Session | None, int]:
        """The entry of a packet with these 12 address bytes, and its direction."""
        bucket = hash(addresses) >> BUCKET_SHIFT
        for direction, buckets in enumerate(self.by_direction):
            if session := buckets[bucket].get(addresses):
                return session, direction
        return None, Direction.INBOUND

    def walk(self) -> Iterator[list[Session]]:
        """All entries, bucket by bucket, each read when it is asked for: packets may be handled in between. An entry that is
        there from the first bucket to the last is met just once."""
        return (list(bucket.values()) for bucket in self.by_direction[Direction.INBOUND])

    def insert(self, session: Session) -> None:
        """Add an entry under both keys, and count it."""
        (inbound, outbound), client_key, server_key = self.by_direction, session.client_key, session.server_key
        inbound[hash(client_key) >> BUCKET_SHIFT][client_key] = session
        outbound[hash(server_key) >> BUCKET_SHIFT][server_key] = session
        self._count += 1
        if self._count > self.most:
            self.most = self._count
        session.appear()

    def remove(self, session: Session) -> None:
        """Take an entry out under both keys, and out of all counts."""
        (inbound, outbound), client_key, server_key = self.by_direction, session.client_key, session.server_key
        del inbound[hash(client_key) >> BUCKET_SHIFT][client_key]
        del outbound[hash(server_key) >> BUCKET_SHIFT][server_key]
        self._count -= 1
        session.leave()
