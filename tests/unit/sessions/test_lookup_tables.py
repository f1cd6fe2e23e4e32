"""lookup_tables.py: which ring has which table, and what stands there."""

from array import array

import pytest

from appliance.ipc.admission_layout import LOOKUP, LOOKUP_PLACES, LOOKUP_TABLES
from appliance.sessions.lookup_tables import LookupTables

ONE = array("B", [1])


def memory() -> memoryview:
    return memoryview(bytearray(LOOKUP_TABLES * LOOKUP.size))


@pytest.mark.parametrize("kind", ["B", "H"])
def test_places_are_written_two_bytes_each(kind: str) -> None:
    there = memory()
    table = LookupTables(there, 1, 2).put(7, array(kind, (3, 1, 200)))
    assert table is not None
    assert table.length == 3
    first = table.number * LOOKUP.size
    assert bytes(there[first : first + 8]) == b"\3\0\1\0\xc8\0\0\0"
    assert sum(there) == 204, "nothing else is written"


def test_a_table_has_room_for_all_its_places() -> None:
    there = memory()
    tables = LookupTables(there, 0, LOOKUP_TABLES)
    assert tables.put(0, array("H", [0xFFFF]) * LOOKUP_PLACES) == (0, LOOKUP_PLACES)
    assert bytes(there).rstrip(b"\0") == b"\xff" * LOOKUP.size


@pytest.mark.parametrize("shards", [1, 3, 64, 65])
def test_no_table_belongs_to_two_rings_or_two_shards(shards: int) -> None:
    there, numbers = memory(), list[int]()
    for shard in range(shards):
        tables = LookupTables(there, shard, shards)
        of_shard = [table.number for ring in range(LOOKUP_TABLES + 1) if (table := tables.put(ring, ONE)) is not None]
        assert len(of_shard) == LOOKUP_TABLES // shards
        numbers += of_shard
    assert len(set(numbers)) == len(numbers)
    assert set(numbers) <= set(range(LOOKUP_TABLES))


def test_a_ring_keeps_its_table_until_all_are_free() -> None:
    tables = LookupTables(memory(), 0, LOOKUP_TABLES)
    assert tables.put(5, ONE) == tables.put(5, array("B", [2])) == (0, 1)
    assert tables.put(6, ONE) is None
    tables.free_all()
    assert tables.put(6, ONE * 2) == (0, 2)


def test_without_a_lane_there_is_none() -> None:
    assert LookupTables(memoryview(bytearray()), 0, 1).put(0, ONE) is None
