"""Packets that wait, by flow: the flows have their turns, so that a bulk stream does not make all others wait for it.

A flow's packets stay in their order. Flows are sorted into BUCKETS, from which packets are taken one each in turn. The bucket of
a flow comes from a hash with a secret of the process, so nobody can choose whose bucket a flow shares. A flood from ever new
addresses fills all buckets alike: then a packet waits for those before it, as it does without sorting.
"""

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from appliance.wire.layout import ADDRESSES_END, ADDRESSES_START

BUCKETS = 64
"""A power of two."""

_Item = TypeVar("_Item")


class FairQueue(Generic[_Item]):
    """Items, each with the packet that it stands for."""

    def __init__(self) -> None:
        self._buckets: list[deque[tuple[_Item, bytes]]] = [deque() for _ in range(BUCKETS)]
        self._in_turn: deque[deque[tuple[_Item, bytes]]] = deque()
        """The buckets that are not empty, the next one first."""

    def __len__(self) -> int:
        return sum(map(len, self._in_turn))

    def put(self, item: _Item, raw: bytes) -> None:
        """Add an item behind all others of its flow. `raw` is its packet, from the IP header on."""
        bucket = self._buckets[hash(raw[ADDRESSES_START:ADDRESSES_END]) & (BUCKETS - 1)]
        if not bucket:
            self._in_turn.append(bucket)
        bucket.append((item, raw))

    def take(self, most: int) -> Iterator[tuple[_Item, bytes]]:
        """Remove the next items, up to `most`, with their packets. Each is removed when it is asked for."""
        in_turn = self._in_turn
        for _ in range(most):
            if not in_turn:
                return
            bucket = in_turn[0]
            taken = bucket.popleft()
            if bucket:
                in_turn.rotate(-1)
            else:
                in_turn.popleft()
            yield taken
