"""client_table.py: how many sessions each client has in one shard, exactly, in memory of a fixed size."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.client_table import BUCKET_ENTRIES, ENTRIES, ClientTable, counted_as, tables_of
from appliance.ipc.persistence_table import service_number

WEB = service_number("tcp", "203.0.113.10", 80, 24)
SECRET = bytes(16)


def table() -> ClientTable:
    return ClientTable(memoryview(bytearray(ENTRIES * 8)).cast("Q"))


def in_one_bucket(number: int) -> int:
    """Clients of different tags, all of which may stand in the first bucket only."""
    return (number + 1) << 26


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30))))
def test_it_counts_as_a_dict_would(steps: list[tuple[bool, int]]) -> None:
    counted, expected = table(), Counter[int]()
    for is_new, number in steps:
        client = in_one_bucket(number % BUCKET_ENTRIES) if number < 15 else number * 0x1234_5678_9ABC_DEF1 & (1 << 64) - 1
        if is_new:
            assert counted.add(client)
            expected[client] += 1
        elif expected[client]:
            counted.remove(client)
            expected[client] -= 1
        assert counted.count(client) == expected[client]
    assert {client: counted.count(client) for client in expected} == dict(expected)
    assert sorted(counted.counts()) == sorted(filter(None, expected.values()))


def test_a_client_without_a_place_is_not_counted_and_takes_nothing_off_others() -> None:
    counted = table()
    for number in range(BUCKET_ENTRIES):
        assert counted.add(in_one_bucket(number))
    one_more = in_one_bucket(BUCKET_ENTRIES)
    assert not counted.add(one_more)
    counted.remove(one_more)
    assert counted.counts() == [1] * BUCKET_ENTRIES
    counted.remove(in_one_bucket(3))
    assert counted.add(one_more)
    assert counted.count(one_more) == 1


def test_most_of_the_table_is_used_before_a_client_has_no_place() -> None:
    counted, most = table(), ENTRIES * 3 // 4
    clients = [counted_as(WEB, (number * 256).to_bytes(4, "big"), 24, SECRET) for number in range(most)]
    assert all(map(counted.add, clients))
    assert len(counted.counts()) == most


def test_a_number_that_a_word_cannot_hold_is_not_counted() -> None:
    words = memoryview(bytearray(ENTRIES * 8)).cast("Q")
    counted, client = ClientTable(words), in_one_bucket(0)
    counted.add(client)
    words[words.tolist().index(words[0])] += (1 << 24) - 2
    assert counted.count(client) == (1 << 24) - 1
    assert not counted.add(client)
    assert counted.count(client) == (1 << 24) - 1


@pytest.mark.parametrize("other", [b"\xc6\x33\x64\x01", b"\xc6\x33\x64\xff"])
def test_clients_with_the_same_first_bits_are_one(other: bytes) -> None:
    assert counted_as(WEB, b"\xc6\x33\x64\x02", 24, SECRET) == counted_as(WEB, other, 24, SECRET)
    assert counted_as(WEB, b"\xc6\x33\x64\x02", 32, SECRET) != counted_as(WEB, other, 32, SECRET)


def test_with_another_secret_or_service_a_client_is_another_one() -> None:
    first = counted_as(WEB, b"\xc6\x33\x64\x02", 24, SECRET)
    assert first != counted_as(WEB, b"\xc6\x33\x64\x02", 24, bytes(15) + b"\1")
    assert first != counted_as(WEB + 1, b"\xc6\x33\x64\x02", 24, SECRET)


def test_the_tables_of_shards_lie_side_by_side() -> None:
    first, second = tables_of(memoryview(bytearray(2 * ENTRIES * 8)).cast("Q"))
    client = in_one_bucket(0)
    second.add(client)
    assert (first.count(client), second.count(client)) == (0, 1)
    second.forget_all()
    assert second.counts() == []
