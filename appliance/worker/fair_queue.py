"""Packets that wait, by flow: the flows have their turns, so that a bulk stream does not make all others wait for it.

A flow's packets stay in their order. Flows are sorted into BUCKETS, from which packets are taken one each in turn. The bucket of
a flow comes from a hash with a secret of the process, so nobody can choose whose bucket a flow shares. A flood from ever new
addresses fills all buckets alike: then a packet waits for those before it, as it does without sorting.
"""

from collections import deque
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
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, item: _Item, raw: bytes) -> None:
        """Add an item behind all others of its flow. `raw` is its packet, from the IP header on."""
        bucket = self._buckets[hash(raw[ADDRESSES_START:ADDRESSES_END]) & (BUCKETS - 1)]
        if not bucket:
            self._in_turn.append(bucket)
        bucket.append((item, raw))
        self._count += 1

    def take(self) -> tuple[_Item, bytes]:
        """Remove the next item, with its packet. Raises IndexError when there is none."""
        bucket = self._in_turn.popleft()
        taken = bucket.popleft()
        if bucket:
            self._in_turn.append(bucket)
        self._count -= 1
        return taken
