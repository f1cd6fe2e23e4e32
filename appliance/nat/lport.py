"""Free local ports of one shard, per local address and real server.

The same local address and port may be in use towards two real servers at once: what must be unique is the tuple that the
real server sees. Each pool is a byte a port, searched from a cursor that goes round, so that a port rests for as long as
the range allows before it is used again, and the search runs at C speed. A port also remembers the last sequence number that
its real server acknowledged on it, for the next connection to start beyond (see `nat.isn`).
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import compress
from typing import NamedTuple

from appliance.wire.flow import split_pool_key


class LocalPort(NamedTuple):
    """A port, and the last sequence number that was acknowledged on it; None when it was not used before."""

    port: int
    last_seq: int | None


_NEVER_USED = -1

PORT_BYTES = 1 + array("q").itemsize
"""What a pool holds of each port: whether it is in use, and where its last connection ended."""


class LocalPortPool:
    """The ports of one local address towards one real server; `ports` are those the shard may hand out, ascending."""

    __slots__ = ("_cursor", "_last_seqs", "_outside", "_ports", "_used", "in_use")

    def __init__(self, ports: "array[int]") -> None:
        self._ports = ports
        self._used = bytearray(len(ports))
        self._last_seqs = array("q", (_NEVER_USED,)) * len(ports)
        self._outside: set[int] = set()
        """Ports that live sessions hold although the range no longer has them: it may be widened again before they end."""
        self._cursor = 0
        self.in_use = 0

    @property
    def size(self) -> int:
        """How many ports it may hand out."""
        return len(self._ports)

    def acquire(self, tries: int) -> LocalPort | None:
        """A free port, marked used; None when none of the next `tries` ports after the cursor is free."""
        size = len(self._ports)
        if self.in_use >= size:
            return None
        index = self._find_free(self._cursor, min(tries, size))
        if index < 0:
            return None
        self._used[index] = 1
        self._cursor = index + 1
        self.in_use += 1
        last_seq = self._last_seqs[index]
        return LocalPort(self._ports[index], None if last_seq == _NEVER_USED else last_seq)

    def _find_free(self, start: int, tries: int) -> int:
        """Index of the first free port of the `tries` ports from `start` on, around the end; -1 for none."""
        size = len(self._ports)
        index = self._used.find(0, start, start + tries)
        if index < 0 and start + tries > size:
            index = self._used.find(0, 0, start + tries - size)
        return index

    def release(self, port: int, last_seq: int) -> None:
        """Mark a port free that `acquire` gave; `last_seq` is where its connection ended, at the real server."""
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
        """Hand out `ports` from now on. Sessions keep the ports they have, and those stay taken.

        Both ranges are of one shard, so where they overlap they have the same ports, and what is known of those is copied in
        one piece: with hundreds of thousands of sessions, a write to a tunable must not hold up their packets.
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
    """All pools of one shard, made when first needed. Keys are a local address (4 bytes) and a real server (6 bytes)."""

    def __init__(self, ports: "array[int]") -> None:
        self._ports = ports
        self._pools: dict[bytes, LocalPortPool] = {}

    def __iter__(self) -> Iterator[tuple[bytes, bytes, LocalPortPool]]:
        """Local address, real server and pool of each that there is now; more may be made meanwhile."""
        return ((*split_pool_key(key), pool) for key, pool in tuple(self._pools.items()))

    def acquire(self, local_address: bytes, real_server: bytes, tries: int) -> LocalPort | None:
        """A local port that no live session uses between these two; None when `tries` ports were all in use."""
        key = local_address + real_server
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = LocalPortPool(self._ports)
        return pool.acquire(tries)

    def release(self, local_address: bytes, real_server: bytes, port: int, last_seq: int) -> None:
        """Give back what `acquire` gave for the same two."""
        self._pools[local_address + real_server].release(port, last_seq)

    def in_use(self, local_address: bytes, real_server: bytes) -> int:
        """How many ports live sessions use between these two."""
        pool = self._pools.get(local_address + real_server)
        return 0 if pool is None else pool.in_use

    def change_range(self, ports: "array[int]") -> None:
        """Hand out `ports` from now on, in every pool."""
        self._ports = ports
        for pool in self._pools.values():
            pool.change_range(ports)
