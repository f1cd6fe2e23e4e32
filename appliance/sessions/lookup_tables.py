"""The tables by which clients find their place in the schedules of rings: which ring has which, and what stands there."""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from appliance.ipc.admission_layout import LOOKUP, LOOKUP_PLACES, LOOKUP_TABLES


class LookupTable(NamedTuple):
    """One that is written, up to its length."""

    number: int
    length: int


class LookupTables:
    """Those of one shard."""

    def __init__(self, memory: memoryview, shard: int, shards: int) -> None:
        """`memory` is that of all tables, or empty when there is none. An earlier worker's are nobody's any more."""
        self._halves = memory.cast("H")
        of_each = min(LOOKUP_TABLES, len(memory) // LOOKUP.size) // shards
        self._free = [*range(shard * of_each, (shard + 1) * of_each)]
        self._by_ring: dict[int, int] = {}

    def put(self, ring: int, places: Sequence[int]) -> LookupTable | None:
        """Write these places, LOOKUP_PLACES at most, into the table of a ring, whose number this is and which is closed; a
        millisecond or two. None when there is no table left for it."""
        number = self._by_ring.get(ring)
        if number is None:
            if not self._free:
                return None
            number = self._by_ring[ring] = self._free.pop()
        first = number * LOOKUP_PLACES
        self._halves[first : first + len(places)] = memoryview(array("H", places))
        return LookupTable(number, len(places))

    def free_all(self) -> None:
        """No ring has one any more: none has a schedule that needs it."""
        self._free += self._by_ring.values()
        self._by_ring.clear()
