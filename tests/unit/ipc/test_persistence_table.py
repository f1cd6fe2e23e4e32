"""persistence_table.py: who is remembered, for how long, and who has to go."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.persistence_table import (
    BUCKET_ENTRIES,
    ENTRIES,
    WORDS,
    Client,
    NoLocks,
    PersistenceTable,
    client_number,
    service_number,
)

SERVICE = service_number("tcp", "203.0.113.10", 80, 32)


def table(secret: bytes = b"secret") -> PersistenceTable:
    return PersistenceTable(memoryview(bytearray(8 * WORDS)).cast("Q"), secret)


def client(number: int) -> int:
    return client_number(SERVICE, number.to_bytes(4, "big"), 32)


def of_one_bucket(there: PersistenceTable, count: int) -> list[int]:
    """So many clients that share a bucket."""
    bucket = there.bucket(client(0))
    found = list[int]()
    number = 0
    while len(found) < count:
        if there.bucket(client(number)) == bucket:
            found.append(client(number))
        number += 1
    return found


def remember(there: PersistenceTable, key: int, slot: int, until_ms: int, now_ms: int = 0) -> bool:
    return there.put(there.bucket(key), key, slot, until_ms, now_ms)


def slot_of(there: PersistenceTable, key: int, now_ms: int) -> int | None:
    found = there.find(there.bucket(key), key, now_ms)
    return None if found is None else found[1]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.integers(1, 100)), max_size=60), st.integers(0, 100))
def test_it_is_a_dict_with_an_end_for_each_entry(steps: list[tuple[int, int, int]], now_ms: int) -> None:
    there, known = table(), dict[int, tuple[int, int]]()
    for number, slot, until_ms in steps:
        assert not remember(there, client(number), slot, until_ms)
        known[number] = (slot, until_ms)
    alive = {number: found for number, found in known.items() if found[1] > now_ms}
    for number in range(41):
        assert slot_of(there, client(number), now_ms) == (alive[number][0] if number in alive else None)
    assert sorted(there.clients(now_ms)) == sorted(
        Client(SERVICE, number, slot, until_ms - now_ms) for number, (slot, until_ms) in alive.items()
    )


def test_an_entry_that_is_renewed_holds_longer() -> None:
    there = table()
    remember(there, client(1), 5, 100)
    found = there.find(there.bucket(client(1)), client(1), 50)
    assert found is not None
    there.renew(found[0], 150)
    assert (slot_of(there, client(1), 149), slot_of(there, client(1), 150)) == (5, None)


def test_in_a_full_bucket_the_one_goes_whose_time_would_be_over_first() -> None:
    there = table()
    *full, late, later = of_one_bucket(there, BUCKET_ENTRIES + 2)
    for place, key in enumerate(full):
        assert not remember(there, key, place, 1000 - place)
    assert remember(there, late, 77, 2000)
    assert [slot_of(there, key, 0) for key in (*full, late)] == [*range(BUCKET_ENTRIES - 1), None, 77]
    assert not remember(there, later, 78, 3000, now_ms=994), "one whose time is over"
    assert slot_of(there, later, 994) == 78


def test_an_entry_that_a_worker_was_killed_over_is_free() -> None:
    words = memoryview(bytearray(8 * WORDS)).cast("Q")
    there = PersistenceTable(words, b"secret")
    *full, late = of_one_bucket(there, BUCKET_ENTRIES + 1)
    for key in full:
        remember(there, key, 1, 1000)
    found = there.find(there.bucket(full[5]), full[5], 0)
    assert found is not None
    words[found[0] + 1] = 0  # the slot: taken out first, and put in last
    assert slot_of(there, full[5], 0) is None
    assert not remember(there, late, 2, 1000)
    assert [slot_of(there, key, 0) for key in full].count(1) == BUCKET_ENTRIES - 1


def test_another_real_server_for_a_client_takes_the_place_of_the_first_one() -> None:
    there = table()
    full = of_one_bucket(there, BUCKET_ENTRIES)
    for key in full:
        remember(there, key, 1, 1000)
    assert not remember(there, full[3], 2, 500)
    assert [slot_of(there, key, 0) for key in full] == [2 if key == full[3] else 1 for key in full]


def test_all_processes_with_the_same_secret_see_the_same_and_others_cannot_tell_who_shares_a_bucket() -> None:
    words = memoryview(bytearray(8 * WORDS)).cast("Q")
    here, there = PersistenceTable(words, b"secret"), PersistenceTable(words, b"secret")
    remember(here, client(1), 5, 100)
    assert slot_of(there, client(1), 0) == 5
    buckets = [[table(secret).bucket(client(number)) for number in range(50)] for secret in (b"one", b"two")]
    assert buckets[0] != buckets[1]
    assert all(0 <= bucket < ENTRIES // BUCKET_ENTRIES for bucket in buckets[0])


def test_a_client_is_its_network_and_its_service() -> None:
    def key(address: str, bits: int, service: int = SERVICE) -> int:
        return client_number(service, bytes(map(int, address.split("."))), bits)

    assert key("198.51.100.7", 24) == key("198.51.100.250", 24) != key("198.51.101.7", 24)
    assert key("198.51.100.7", 32) != key("198.51.100.8", 32)
    assert key("198.51.100.7", 32) != key("198.51.100.7", 32, service_number("udp", "203.0.113.10", 80, 32))
    assert key("255.255.255.255", 1) == key("128.0.0.0", 1)


@pytest.mark.parametrize(
    "other",
    [("udp", "203.0.113.10", 80, 32), ("tcp", "203.0.113.11", 80, 32), ("tcp", "203.0.113.10", 81, 32)],
)
def test_services_have_numbers_of_their_own(other: tuple[str, str, int, int]) -> None:
    assert service_number(*other) != SERVICE != service_number("tcp", "203.0.113.10", 80, 24)


def test_a_shard_alone_waits_for_nobody() -> None:
    locks = NoLocks()
    calls: list[Callable[[int], object]] = [locks.take, locks.take, locks.give_back]
    assert [call(1) for call in calls] == [True, True, None]
