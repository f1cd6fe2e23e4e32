"""The tables by which clients find their place in the schedules of rings: which ring has which, and what stands there."""

from array import array
from typing import NamedTuple

from appliance.ipc.admission_layout import LOOKUP, LOOKUP_TABLES


class LookupTable(NamedTuple):
    """One that is written, up to its length."""

    number: int
    length: int


class LookupTables:
    """Those of one shard."""

    def __init__(self, memory: memoryview, shard: int, shards: int) -> None:
        """`memory` is that of all tables, or empty when there is none. An earlier worker's are nobody's any more."""
        self._memory = memory
        of_each = min(LOOKUP_TABLES, len(memory) // LOOKUP.size) // shards
        self._free = [*range(shard * of_each, (shard + 1) * of_each)]
        self._by_ring: dict[int, int] = {}

    def put(self, ring: int, places: "array[int]") -> LookupTable | None:
        """Write these places, LOOKUP_PLACES at most, of one byte or two, into the table of a ring, whose number this is and which
        is closed. None when there is no table left for it."""
        number = self._by_ring.get(ring)
        if number is None:
            if not self._free:
                return None
            number = self._by_ring[ring] = self._free.pop()
        wide = _two_bytes_each(places)
        self._memory[number * LOOKUP.size :][: len(wide)] = wide
        return LookupTable(number, len(places))

    def free_all(self) -> None:
        """No ring has one any more: none has a schedule that needs it."""
        self._free += self._by_ring.values()
        self._by_ring.clear()


def _two_bytes_each(places: "array[int]") -> bytes | bytearray:
    """By whole slices: one by one they would take some milliseconds, in which no packet is judged."""
    if places.itemsize == 2:
        return places.tobytes()
    wide = bytearray(2 * len(places))
    wide[::2] = places.tobytes()
    return wide
