"""The tables that say how many sessions each client has: one for each shard, in the memory that all shards share.

A client is an address, or a network of them, and a service. Only the shard itself writes its table, so no lock is needed; what a
client has is the sum over the tables of all shards. An entry is one word, which is read and written whole: the tag of its client,
and how many sessions that has. One without sessions is free.

A client may stand in either of two buckets of a few entries each. Which they are, and what its tag is, a secret decides: nobody
can aim at the entries of another client, and that two share their buckets and their tag is to be expected once in 2**53 pairs.
"""

from collections.abc import Iterator
from hashlib import blake2s
from struct import Struct

from appliance.ipc.persistence_table import client_number

ENTRIES = 1 << 16
"""How many clients a shard can count, in all services together; a little less, because places are found in two buckets only."""

BUCKET_ENTRIES = 8
_BUCKET_BITS = (ENTRIES // BUCKET_ENTRIES).bit_length() - 1
_BUCKET_MASK = (1 << _BUCKET_BITS) - 1
_COUNT_BITS = 24
_MOST = (1 << _COUNT_BITS) - 1
_PACK = Struct("!Q").pack


def counted_as(service: int, address: bytes, prefix_bits: int, secret: bytes) -> int:
    """What a client is counted as, 64 bits: the first `prefix_bits` (1..32) of its address, four bytes, in a service, by the
    number that `persistence_table.service_number` makes."""
    client = _PACK(client_number(service, address, prefix_bits))
    return int.from_bytes(blake2s(client, key=secret, digest_size=8).digest(), "big")


def tables_of(words: memoryview) -> list["ClientTable"]:
    """The tables of all shards, which lie one behind the other."""
    return [ClientTable(words[start : start + ENTRIES]) for start in range(0, len(words), ENTRIES)]


class ClientTable:
    """The table of one shard, as one process sees it."""

    __slots__ = ("_words",)

    def __init__(self, words: memoryview) -> None:
        """`words` are ENTRIES unsigned words."""
        self._words = words

    def forget_all(self) -> None:
        """No client has a session."""
        self._words[:] = memoryview(bytes(self._words.nbytes)).cast("Q")

    def count(self, client: int) -> int:
        """How many sessions a client has, by `counted_as`."""
        place = self._find(client)
        return 0 if place is None else self._words[place] & _MOST

    def add(self, client: int) -> bool:
        """Count one more session of a client; False when there is no place for it, or it has as many as can be counted."""
        place = self._find(client)
        if place is None:
            place = self._free_place(client)
            if place is None:
                return False
            self._words[place] = (client >> _COUNT_BITS) << _COUNT_BITS | 1
            return True
        if self._words[place] & _MOST == _MOST:
            return False
        self._words[place] += 1
        return True

    def remove(self, client: int) -> None:
        """Count one session less of a client, for one that `add` has counted."""
        place = self._find(client)
        if place is not None:
            left = self._words[place] - 1
            self._words[place] = left if left & _MOST else 0

    def counts(self) -> list[int]:
        """How many sessions the clients have that have any, in no order."""
        return [word & _MOST for word in self._words.tolist() if word]

    def _find(self, client: int) -> int | None:
        tag = client >> _COUNT_BITS
        for start in _buckets(client):
            for place, word in enumerate(self._words[start : start + BUCKET_ENTRIES].tolist(), start):
                if word >> _COUNT_BITS == tag and word:
                    return place
        return None

    def _free_place(self, client: int) -> int | None:
        """A free entry in the bucket that has more of them: so hardly a bucket is full before nearly all are."""
        buckets = [(start, self._words[start : start + BUCKET_ENTRIES].tolist()) for start in _buckets(client)]
        start, words = max(buckets, key=lambda bucket: bucket[1].count(0))
        return start + words.index(0) if 0 in words else None


def _buckets(client: int) -> Iterator[int]:
    for shift in (0, _BUCKET_BITS):
        yield (client >> shift & _BUCKET_MASK) * BUCKET_ENTRIES
