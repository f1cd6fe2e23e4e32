"""Free local ports of one shard, in a pool for each local address and real server.

The same local address and port may be in use towards two real servers at once: what must be unique is the pair of endpoints that
a real server sees. For each port the pool also keeps the last sequence number that the real server acknowledged on it, because
the next connection has to start beyond it (see `nat.isn`).

A port must not be foreseeable (RFC 6056): whoever knows it needs to guess one thing less to send packets in the name of a real
server. And it should rest for long before it is used again. So the ports of a pool stand in a circle with a cursor. The next port
is drawn among those free in the half of the circle ahead of the cursor, it changes places with the first free one there, and the
cursor passes it. So whatever ports were seen, the next one is any of half of them; and a port that was taken is passed over for
at least half a round. What is drawn depends on a key. The circle has a byte for each place, and is searched at C speed.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from hashlib import blake2b, blake2s, shake_256
from itertools import compress, count
from typing import NamedTuple

from appliance.wire.flow import split_pool_key


class LocalPort(NamedTuple):
    """A port, and the last sequence number that the real server acknowledged on it; None when it was not used before."""

    port: int
    last_seq: int | None


NEVER_USED = -1
"""In the place of the last sequence number of a port that was not used before."""

PORT_BYTES = 1 + array("q").itemsize + 2 * array("H").itemsize
"""Memory of a pool for each port: whether it is in use, where its last connection ended, its place, and the port at a place."""

_DRAW_BITS = 16


def draws(key: bytes) -> Iterator[int]:
    """Numbers 0..65535 without end. Nobody who does not know the key (1..64 bytes) can tell the next one from those before it."""
    for number in count():
        yield from array("H", blake2b(number.to_bytes(8, "big"), key=key).digest())


def port_key(secret: str, shard: int, now: float) -> bytes:
    """The key that local ports are drawn by: another one for each shard, and for each start of its worker. `secret` is in
    hexadecimal."""
    return blake2s(f"local ports {shard} {now}".encode(), key=bytes.fromhex(secret)).digest()


class LocalPortPool:
    """The ports of one local address towards one real server; `ports` are those the shard may hand out, ascending."""

    __slots__ = ("_at", "_cursor", "_draws", "_last_seqs", "_outside", "_place", "_ports", "_used", "in_use")

    def __init__(self, ports: "array[int]", numbers: Iterator[int]) -> None:
        """`numbers` are what ports are drawn by; see `draws`."""
        self._draws = numbers
        self._outside: set[int] = set()
        """Ports outside the range that live sessions still hold. The range may be widened again before those sessions end."""
        self._arrange(ports, bytearray(len(ports)), array("q", (NEVER_USED,)) * len(ports))

    def _arrange(self, ports: "array[int]", used: bytearray, last_seqs: "array[int]") -> None:
        """Put these ports into the circle, in their order. `used` and `last_seqs` are by their index."""
        self._ports = ports
        self._used = used
        """By place: whether the port there is in use."""
        self._last_seqs = last_seqs
        """By index."""
        self._at = array("H", range(len(ports)))
        """By place, the index of the port there."""
        self._place = self._at[:]
        """By index, the place of the port."""
        self._cursor = next(self._draws) * len(ports) >> _DRAW_BITS
        self.in_use = used.count(1)

    @property
    def size(self) -> int:
        """How many ports the pool may hand out, free or not."""
        return len(self._ports)

    @property
    def held(self) -> int:
        """How many ports somebody has, in the range and outside."""
        return self.in_use + len(self._outside)

    def acquire(self, tries: int) -> LocalPort | None:
        """A free port, which is in use from now on; None when none of the next `tries` ports from the cursor on is free."""
        used, size, cursor = self._used, len(self._ports), self._cursor
        if self.in_use >= size:
            return None
        last = cursor + (tries if tries < size else size)
        first = used.find(0, cursor, last)
        if first < 0 and (last <= size or (first := used.find(0, 0, last - size)) < 0):
            return None
        ahead = size >> 1
        start, end = first + (next(self._draws) * ahead >> _DRAW_BITS), first + ahead
        place = used.find(0, start, end)
        if place < 0:
            place = self._free_in_circle(first, start, end)
        at = self._at
        index = at[place]
        if place != first:
            at[place] = other = at[first]
            at[first] = index
            self._place[index], self._place[other] = first, place
        self._cursor = first + 1
        return self._take(first)

    def _take(self, place: int) -> LocalPort:
        """The port at this place, which is in use from now on."""
        index = self._at[place]
        self._used[place] = 1
        self.in_use += 1
        last_seq = self._last_seqs[index]
        # What `LocalPort` does, without the call.
        return tuple.__new__(LocalPort, (self._ports[index], None if last_seq == NEVER_USED else last_seq))

    def _free_in_circle(self, first: int, start: int, end: int) -> int:
        """The free place from `start` to `end` on the circle that is next, else the last one before; `first`, before them, is
        free. Places from the size on stand for those at the beginning."""
        size, used = len(self._ports), self._used
        place = used.find(0, max(0, start - size), max(0, end - size))
        if place < 0:
            place = used.rfind(0, 0, max(0, start - size))
        return place if place >= 0 else used.rfind(0, first, start + 1)

    def acquire_port(self, port: int) -> LocalPort | None:
        """This port, which is in use from now on; None when it is not free, or is no port of the range."""
        index = self._index_of(port)
        if index is None or self._used[self._place[index]]:
            return None
        return self._take(self._place[index])

    def adopt(self, port: int) -> bool:
        """Let a session keep this port, which it has from an earlier pool, in the range or outside; False when it is in use."""
        if self.is_in_use(port):
            return False
        if self.acquire_port(port) is None:
            self._outside.add(port)
        return True

    def release(self, port: int, last_seq: int) -> None:
        """Give back a port that `acquire` gave. `last_seq` is the last number that the real server acknowledged on it."""
        index = self._index_of(port)
        if index is None:
            self._outside.discard(port)
        else:
            self._used[self._place[index]] = 0
            self._last_seqs[index] = last_seq
            self.in_use -= 1

    def _index_of(self, port: int) -> int | None:
        index = bisect_left(self._ports, port)
        return index if index < len(self._ports) and self._ports[index] == port else None

    def has(self, port: int) -> bool:
        """Whether this port is one that may be handed out, free or not."""
        return self._index_of(port) is not None

    def is_in_use(self, port: int) -> bool:
        """Whether this port is in use, in the range or outside."""
        index = self._index_of(port)
        return port in self._outside if index is None else bool(self._used[self._place[index]])

    def change_range(self, ports: "array[int]") -> None:
        """Hand out `ports` (ascending) from now on. Sessions keep the ports they have, and those stay in use.

        Both ranges belong to the same shard, so they have the same ports where they overlap, and what is known of these is copied
        in one piece: with hundreds of thousands of sessions, a write to a tunable must not hold up their packets.
        """
        low, high = max(self._ports[0], ports[0]), min(self._ports[-1], ports[-1])
        old, new = (slice(bisect_left(range_, low), bisect_right(range_, high)) for range_ in (self._ports, ports))
        used, last_seqs = bytearray(len(ports)), array("q", (NEVER_USED,)) * len(ports)
        were_used = bytearray(map(self._used.__getitem__, self._place))
        if low <= high:
            used[new], last_seqs[new] = were_used[old], self._last_seqs[old]
            were_used[old] = bytes(old.stop - old.start)
        held = self._outside.union(compress(self._ports, were_used))
        self._ports, self._outside = ports, set()
        for port in held:
            index = self._index_of(port)
            if index is None:
                self._outside.add(port)
            else:
                used[index] = 1
        self._arrange(ports, used, last_seqs)


class LocalPorts:
    """All pools of one shard and protocol. A pool is made when it is first needed.

    A pool belongs to a local address (4 bytes) and a real server (its address and port, 6 bytes).
    """

    def __init__(self, ports: "array[int]", key: bytes) -> None:
        """`key` (1..64 bytes) is what ports are drawn by; nobody else may know it, and it must be another one each time."""
        self._ports = ports
        self._draws = draws(key)
        self._key, self._drawn = key, 0
        self._pools: dict[bytes, LocalPortPool] = {}

    def __iter__(self) -> Iterator[tuple[bytes, bytes, LocalPortPool]]:
        """Local address, real server and pool, for each pool there is now. Pools may be made during the iteration."""
        return ((*split_pool_key(key), pool) for key, pool in tuple(self._pools.items()))

    def draw(self, number: int) -> bytes:
        """So many bytes that nobody can tell who does not know the key."""
        self._drawn += 1
        return shake_256(self._key + self._drawn.to_bytes(8, "big")).digest(number)

    def acquire(self, local_address: bytes, real_server: bytes, tries: int) -> LocalPort | None:
        """A local port that no session uses between these two; None when the next `tries` ports are all in use."""
        key = local_address + real_server
        pool = self._pools.get(key)
        return (pool or self._new_pool(key)).acquire(tries)

    def _new_pool(self, key: bytes) -> LocalPortPool:
        pool = self._pools[key] = LocalPortPool(self._ports, self._draws)
        return pool

    def adopt(self, local_address: bytes, real_server: bytes, port: int) -> bool:
        """Let a session keep this port between these two; see `LocalPortPool.adopt`."""
        key = local_address + real_server
        return (self._pools.get(key) or self._new_pool(key)).adopt(port)

    def acquire_port(self, local_address: bytes, real_server: bytes, port: int) -> LocalPort | None:
        """This port between these two, which have used it before; see `LocalPortPool.acquire_port`."""
        return self._pools[local_address + real_server].acquire_port(port)

    def release(self, local_address: bytes, real_server: bytes, port: int, last_seq: int) -> None:
        """Give back a port that `acquire` gave for the same two; see `LocalPortPool.release`."""
        self._pools[local_address + real_server].release(port, last_seq)

    def has(self, local_address: bytes, real_server: bytes, port: int) -> bool:
        """Whether this port, which somebody has between these two, is one of the range."""
        return self._pools[local_address + real_server].has(port)

    def is_in_use(self, local_address: bytes, real_server: bytes, port: int) -> bool:
        """Whether somebody has this port between these two, in the range or outside."""
        pool = self._pools.get(local_address + real_server)
        return pool is not None and pool.is_in_use(port)

    def in_use(self, local_address: bytes, real_server: bytes) -> int:
        """How many ports of the range sessions use between these two."""
        pool = self._pools.get(local_address + real_server)
        return 0 if pool is None else pool.in_use

    def change_range(self, ports: "array[int]") -> None:
        """Hand out `ports` from now on, in every pool."""
        self._ports = ports
        for pool in self._pools.values():
            pool.change_range(ports)
