"""Free local ports of one shard, in a pool for each local address and real server.

The same local address and port may be in use towards two real servers at once: what must be unique is the pair of endpoints that
a real server sees. A pool has one byte for each port and is searched from a cursor that goes round. So a port rests as long as
the range allows before it is used again, and the search runs at C speed. For each port the pool also keeps the last sequence
number that the real server acknowledged on it, because the next connection has to start beyond it (see `nat.isn`).
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import compress
from typing import NamedTuple

from appliance.wire.flow import split_pool_key


class LocalPort(NamedTuple):
    """A port, and the last sequence number that the real server acknowledged on it; None when it was not used before."""

    port: int
    last_seq: int | None


_NEVER_USED = -1

PORT_BYTES = 1 + array("q").itemsize
"""Memory of a pool for each port: whether it is in use, and where its last connection ended."""


class LocalPortPool:
    """The ports of one local address towards one real server; `ports` are those the shard may hand out, ascending."""

    __slots__ = ("_cursor", "_last_seqs", "_outside", "_ports", "_used", "in_use")

    def __init__(self, ports: "array[int]") -> None:
        self._ports = ports
        self._used = bytearray(len(ports))
        self._last_seqs = array("q", (_NEVER_USED,)) * len(ports)
        self._outside: set[int] = set()
        """Ports outside the range that live sessions still hold. The range may be widened again before those sessions end."""
        self._cursor = 0
        self.in_use = 0

    @property
    def size(self) -> int:
        """How many ports the pool may hand out, free or not."""
        return len(self._ports)

    def acquire(self, tries: int) -> LocalPort | None:
        """A free port, which is in use from now on; None when none of the next `tries` ports from the cursor on is free."""
        size = len(self._ports)
        if self.in_use >= size:
            return None
        index = self._find_free(self._cursor, min(tries, size))
        if index < 0:
            return None
        self._used[index] = 1
        self._cursor = index + 1
        self.in_use += 1
        return self._taken(index)

    def acquire_port(self, port: int) -> LocalPort | None:
        """This port, which is in use from now on; None when it is not free, or is no port of the range."""
        index = self._index_of(port)
        if index is None or self._used[index]:
            return None
        self._used[index] = 1
        self.in_use += 1
        return self._taken(index)

    def _taken(self, index: int) -> LocalPort:
        last_seq = self._last_seqs[index]
        return LocalPort(self._ports[index], None if last_seq == _NEVER_USED else last_seq)

    def _find_free(self, start: int, tries: int) -> int:
        """Index of the first free port among `tries` ports from `start` on, continued at the beginning; -1 when none is free."""
        size = len(self._ports)
        index = self._used.find(0, start, start + tries)
        if index < 0 and start + tries > size:
            index = self._used.find(0, 0, start + tries - size)
        return index

    def release(self, port: int, last_seq: int) -> None:
        """Give back a port that `acquire` gave. `last_seq` is the last number that the real server acknowledged on it."""
        index = self._index_of(port)
        if index is None:
            self._outside.discard(port)
        else:
            self._used[index] = 0
            self._last_seqs[index] = last_seq
            self.in_use -= 1

    def _index_of(self, port: int) -> int | None:
        index = bisect_left(self._ports, port)
        return index if index < len(self._ports) and self._ports[index] == port else None

    def change_range(self, ports: "array[int]") -> None:
        """Hand out `ports` (ascending) from now on. Sessions keep the ports they have, and those stay in use.

        Both ranges belong to the same shard, so they have the same ports where they overlap, and what is known of these is copied
        in one piece: with hundreds of thousands of sessions, a write to a tunable must not hold up their packets.
        """
        low, high = max(self._ports[0], ports[0]), min(self._ports[-1], ports[-1])
        old, new = (slice(bisect_left(range_, low), bisect_right(range_, high)) for range_ in (self._ports, ports))
        used, last_seqs = bytearray(len(ports)), array("q", (_NEVER_USED,)) * len(ports)
        if low <= high:
            used[new], last_seqs[new] = self._used[old], self._last_seqs[old]
            self._used[old] = bytes(old.stop - old.start)
        held = self._outside.union(compress(self._ports, self._used))
        self._ports, self._used, self._last_seqs, self._outside = ports, used, last_seqs, set()
        for port in held:
            index = self._index_of(port)
            if index is None:
                self._outside.add(port)
            else:
                used[index] = 1
        self._cursor, self.in_use = 0, used.count(1)


class LocalPorts:
    """All pools of one shard and protocol. A pool is made when it is first needed.

    A pool belongs to a local address (4 bytes) and a real server (its address and port, 6 bytes).
    """

    def __init__(self, ports: "array[int]") -> None:
        self._ports = ports
        self._pools: dict[bytes, LocalPortPool] = {}

    def __iter__(self) -> Iterator[tuple[bytes, bytes, LocalPortPool]]:
        """Local address, real server and pool, for each pool there is now. Pools may be made during the iteration."""
        return ((*split_pool_key(key), pool) for key, pool in tuple(self._pools.items()))

    def acquire(self, local_address: bytes, real_server: bytes, tries: int) -> LocalPort | None:
        """A local port that no session uses between these two; None when the next `tries` ports are all in use."""
        key = local_address + real_server
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = LocalPortPool(self._ports)
        return pool.acquire(tries)

    def acquire_port(self, local_address: bytes, real_server: bytes, port: int) -> LocalPort | None:
        """This port between these two, which have used it before; see `LocalPortPool.acquire_port`."""
        return self._pools[local_address + real_server].acquire_port(port)

    def release(self, local_address: bytes, real_server: bytes, port: int, last_seq: int) -> None:
        """Give back a port that `acquire` gave for the same two; see `LocalPortPool.release`."""
        self._pools[local_address + real_server].release(port, last_seq)

    def in_use(self, local_address: bytes, real_server: bytes) -> int:
        """How many ports of the range sessions use between these two."""
        pool = self._pools.get(local_address + real_server)
        return 0 if pool is None else pool.in_use

    def change_range(self, ports: "array[int]") -> None:
        """Hand out `ports` from now on, in every pool."""
        self._ports = ports
        for pool in self._pools.values():
            pool.change_range(ports)
