"""steering.py: shard tables are balanced, few slots move when the number of shards changes, and every port has one owner."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.steering import (
    HASH_SEED,
    MAX_SHARDS,
    SLOTS,
    ShardTable,
    hash_seed,
    port_counts,
    ports_of_shard,
    rebalanced,
    shard_count,
    shard_of_local_port,
    shard_table,
    shards_without_ports,
)

SHARDS = st.integers(1, MAX_SHARDS)
TABLES = st.one_of(
    SHARDS.map(shard_table),
    st.builds(lambda before, after: rebalanced(shard_table(before), after), SHARDS, SHARDS),
    SHARDS.flatmap(lambda shards: st.lists(st.integers(0, shards - 1), min_size=SLOTS, max_size=SLOTS)).map(bytes),
)
"""Those a gateway starts with, those made from them, and any, however uneven."""


def fewest_moves(table: ShardTable, shards: int) -> int:
    """How many slots must move at least: those that a shard has beyond the larger share, or those missing to the smaller one."""
    owned = Counter(table)
    smaller, larger = SLOTS // shards, -(-SLOTS // shards)
    surplus = sum(count - larger * (shard < shards) for shard, count in owned.items() if shard >= shards or count > larger)
    missing = sum(max(0, smaller - owned[shard]) for shard in range(shards))
    return max(surplus, missing)


def is_balanced(table: ShardTable, shards: int) -> bool:
    owned = [Counter(table)[shard] for shard in range(shards)]
    return len(table) == sum(owned) == SLOTS and max(owned) - min(owned) <= 1


@given(SHARDS)
def test_a_table_is_balanced_and_neighbouring_slots_belong_to_different_shards(shards: int) -> None:
    table = shard_table(shards)
    assert is_balanced(table, shards)
    assert shard_count(table) == shards
    assert all(len(set(table[start : start + shards])) == shards for start in range(SLOTS - shards + 1))


@given(TABLES, SHARDS)
def test_a_rebalanced_table_is_balanced_and_moves_as_few_slots_as_possible(table: ShardTable, shards: int) -> None:
    after = rebalanced(table, shards)
    assert is_balanced(after, shards)
    assert sum(map(int.__ne__, table, after)) == fewest_moves(table, shards)


@given(SHARDS)
def test_a_balanced_table_for_the_same_number_of_shards_stays_as_it_is(shards: int) -> None:
    assert rebalanced(shard_table(shards), shards) == shard_table(shards)


@pytest.mark.parametrize("shards", [1, 2, 4, 8, 16, 32])
def test_twice_the_shards_get_the_table_that_they_would_start_with(shards: int) -> None:
    assert rebalanced(shard_table(shards), 2 * shards) == shard_table(2 * shards)


def test_three_shards_in_the_place_of_two_move_a_third_of_the_slots() -> None:
    before, after = shard_table(2), rebalanced(shard_table(2), 3)
    moved = [slot for slot in range(SLOTS) if before[slot] != after[slot]]
    assert len(moved) == SLOTS // 3
    assert {after[slot] for slot in moved} == {2}, "the two that were there take nothing from each other"
    assert max(later - earlier for earlier, later in pairwise(moved)) <= 6, "and they are spread evenly"


@pytest.mark.parametrize("shards", [0, -1, 65])
def test_a_shard_count_out_of_range_is_refused(shards: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.64"):
        shard_table(shards)
    with pytest.raises(ValueError, match=r"1\.\.64"):
        rebalanced(shard_table(2), shards)


@given(TABLES, st.integers(1025, 65535), st.integers(0, 600))
def test_every_port_has_exactly_one_owner(table: ShardTable, low: int, size: int) -> None:
    high = min(65535, low + size)
    ports = [list(ports_of_shard(table, shard, low, high)) for shard in range(shard_count(table))]
    assert sorted(port for of_shard in ports for port in of_shard) == list(range(low, high + 1))
    assert all(of_shard == sorted(of_shard) for of_shard in ports)
    assert all(shard_of_local_port(table, port) == shard for shard, of_shard in enumerate(ports) for port in of_shard)
    assert port_counts(table, low, high) == [len(of_shard) for of_shard in ports]
    assert shards_without_ports(table, low, high) == [shard for shard, of_shard in enumerate(ports) if not of_shard]


@given(SHARDS, st.integers(1025, 65535 - SLOTS))
def test_a_range_as_long_as_there_are_slots_has_ports_of_every_shard(shards: int, low: int) -> None:
    assert shards_without_ports(shard_table(shards), low, low + SLOTS - 1) == []


@pytest.mark.parametrize("shards", [1, 2, 4, 8, 16, 32, 64])
@pytest.mark.parametrize("low", [1025, 5000, 5119, 65535 - 63])
def test_a_range_as_long_as_there_are_shards_is_enough_for_a_power_of_two(shards: int, low: int) -> None:
    assert shards_without_ports(shard_table(shards), low, low + shards - 1) == []


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 5, 7, 8, 12, 64])
def test_ports_are_shared_out_fairly(shards: int) -> None:
    counts = [len(ports_of_shard(shard_table(shards), shard, 5000, 65535)) for shard in range(shards)]
    assert max(counts) <= 1.15 * min(counts) + 1


def test_each_gateway_has_a_seed_of_its_own_and_keeps_it() -> None:
    seeds = [hash_seed(f"{number:032x}") for number in range(100)]
    assert len({*seeds, HASH_SEED}) == 101
    assert all(0 < seed < 1 << 32 for seed in seeds)
    assert hash_seed("00" * 16) == seeds[0]
