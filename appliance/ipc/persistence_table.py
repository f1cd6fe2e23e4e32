"""The table of persistence: which client goes to which real server again. It is memory that all shards share; with a lane, it is
a map of the kernel, which opens sessions by it (`ipc.admission_layout`).

A client is an address, or a network of them, and a service; its entry says the slot of its real server and until when it holds.
Entries lie in buckets of a few each. Any shard may write any entry, the only cells of the shared memory with more than one
writer: a shard that makes one holds the lock of its bucket (`Locks`), so that a client's first sessions in several shards find
one and the same. A reader needs no lock. What it may see of an entry that is being written is none, or, for the time of a few
instructions, the slot of the next client in the place of the last one; it still goes only to a real server of its service. The
kernel takes no lock: it reads, and moves on the time of a client that it opens a session for, if that has not changed meanwhile.

Entries have no end of their own: one whose time is over is as free as an empty one. The table outlives a worker, and so do they.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2s
from struct import Struct
from typing import NamedTuple, Protocol

from appliance.model.blake2s import state_after_key

ENTRIES = 65_536
"""How many clients the gateway remembers, in all services together."""

BUCKET_ENTRIES = 8
BUCKETS = ENTRIES // BUCKET_ENTRIES
FIELDS: tuple[tuple[str, str], ...] = (("client", "Q"), ("slot_and_one", "Q"), ("until_ms", "Q"))
_ENTRY_WORDS = len(FIELDS)
_BUCKET_WORDS = BUCKET_ENTRIES * _ENTRY_WORDS
BUCKET_BYTES = 8 * _BUCKET_WORDS
WORDS = ENTRIES * _ENTRY_WORDS
"""Words of the whole table. An entry is: the key of its client; the slot of its real server, and one more, or 0 when it is empty;
until when it holds, in milliseconds of the monotonic clock."""

_KEY, _SLOT, _UNTIL = range(_ENTRY_WORDS)
_HASH_BYTES = 8
_ADDRESS_BITS = 32
_PACK_KEY = Struct("!Q").pack


class Locks(Protocol):
    """One lock for each bucket, which the processes that share the memory have in common."""

    def take(self, number: int) -> bool:
        """Take a lock; False when somebody else has held it for so long that one must not wait any more."""

    def give_back(self, number: int) -> None:
        """Give back a lock that was taken."""


class NoLocks:
    """Locks for a shard that shares its memory with nobody."""

    def take(self, number: int) -> bool:  # noqa: ARG002
        """Always at once."""
        return True

    def give_back(self, number: int) -> None:
        """Nothing is held."""


class Client(NamedTuple):
    """An entry, as views show it."""

    service: int
    """The number of its service, see `service_number`."""
    address: int
    """The first address of its network, as a number."""
    slot: int
    """That of its real server."""
    expires_ms: int
    """Milliseconds until it expires."""


def service_number(protocol: str, vip: str, port: int, prefix_bits: int) -> int:
    """What stands for a service in keys of clients. With another mask it is another one, because addresses would not compare."""
    text = f"{protocol} {vip} {port} {prefix_bits}".encode()
    return int.from_bytes(blake2s(text, digest_size=_ADDRESS_BITS // 8).digest(), "big")


def client_number(service: int, address: bytes, prefix_bits: int) -> int:
    """The key of a client: its service, and the first address of its network."""
    shift = _ADDRESS_BITS - prefix_bits
    return service << _ADDRESS_BITS | int.from_bytes(address, "big") >> shift << shift


class PersistenceTable:
    """The table as one process sees it."""

    def __init__(self, words: memoryview, secret: bytes) -> None:
        """`words` are WORDS unsigned words. `secret` decides which bucket a client belongs to, so that nobody can aim at the
        entry of another one; it is the same in all processes that look for clients."""
        self._words = words
        self._secret = secret

    def bucket(self, client: int) -> int:
        """The number of the bucket of a client, which is that of its lock."""
        return int.from_bytes(blake2s(_PACK_KEY(client), key=self._secret, digest_size=_HASH_BYTES).digest(), "big") % BUCKETS

    @property
    def hash_state(self) -> tuple[int, ...]:
        """The state of the hash of `bucket` before the client, for who is to find it and not to have the secret."""
        return state_after_key(self._secret, _HASH_BYTES)

    def find(self, bucket: int, client: int, now_ms: int) -> tuple[int, int] | None:
        """Place and slot of a client whose time is not over; None when there is none."""
        start = bucket * _BUCKET_WORDS
        row = self._words[start : start + _BUCKET_WORDS].tolist()
        for place in range(0, _BUCKET_WORDS, _ENTRY_WORDS):
            if row[place] == client and row[place + _SLOT] and row[place + _UNTIL] > now_ms:
                return start + place, row[place + _SLOT] - 1
        return None

    def renew(self, place: int, until_ms: int) -> None:
        """Let the entry at this place hold until then."""
        self._words[place + _UNTIL] = until_ms

    def put(self, bucket: int, client: int, slot: int, until_ms: int, now_ms: int) -> bool:
        """Remember a client, with the lock of its bucket held; True when another one had to go whose time was not over, which is
        the one whose time would have been over first."""
        words, start = self._words, bucket * _BUCKET_WORDS
        places = range(start, start + _BUCKET_WORDS, _ENTRY_WORDS)
        own = [place for place in places if words[place + _KEY] == client]
        place = own[0] if own else min(places, key=lambda place: words[place + _UNTIL] if words[place + _SLOT] else 0)
        displaces = not own and bool(words[place + _SLOT]) and words[place + _UNTIL] > now_ms
        words[place + _SLOT] = 0
        words[place + _KEY] = client
        words[place + _UNTIL] = until_ms
        words[place + _SLOT] = slot + 1
        return displaces

    def clients(self, now_ms: int) -> Iterator[Client]:
        """All clients whose time is not over."""
        words = self._words
        for start in range(0, WORDS, _BUCKET_WORDS):
            row = words[start : start + _BUCKET_WORDS].tolist()
            for key, slot, until_ms in _entries(row):
                if slot and until_ms > now_ms:
                    service, address = divmod(key, 1 << _ADDRESS_BITS)
                    yield Client(service, address, slot - 1, until_ms - now_ms)


def _entries(row: list[int]) -> Iterable[tuple[int, ...]]:
    return zip(*(row[word::_ENTRY_WORDS] for word in range(_ENTRY_WORDS)), strict=True)
