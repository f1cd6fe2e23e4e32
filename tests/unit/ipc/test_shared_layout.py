"""shared_layout.py: every number has a place of its own, and nobody reads a layout that is not there."""

import pytest

from appliance.ipc import shared_layout
from appliance.ipc.shared_layout import LAYOUT_HASH, VERSION, LayoutError, SharedState, size_bytes
from appliance.model.counters import ACTIVE_CONNS, CONNS, DESTINATION_FIELDS, EXT_COUNTERS
from appliance.model.tunables import TUNABLES


def state(shards: int, destinations: int) -> SharedState:
    return SharedState.create(memoryview(bytearray(size_bytes(shards, destinations))), shards, destinations)


def test_no_two_numbers_share_a_place() -> None:
    shared = state(shards=3, destinations=2)
    shared.set_tunables({name: 1_000_000 + index for index, name in enumerate(TUNABLES)})
    cells = [
        *(shared.table(shard, name) for shard in range(3) for name in ("ext", "verdicts", "queue")),
        *(shared.destination(shard, slot) for shard in range(3) for slot in range(2)),
        *(shared.cookie_edges(shard, slot) for shard in range(3) for slot in range(2)),
        *(shared.refusals(shard, slot) for shard in range(3) for slot in range(2)),
    ]
    shared.set_mtus({0: 2_000_000, 1: 2_000_001})
    cells.append(shared.heartbeats)
    value = 0
    for view in cells:
        for place in range(len(view)):
            value += 1
            view[place] = value
    assert [number for view in cells for number in view] == list(range(1, value + 1))
    assert [shared.tunable(name) for name in TUNABLES] == [1_000_000 + index for index in range(len(TUNABLES))]
    assert shared.mtus.tolist() == [2_000_000, 2_000_001]
    assert len(shared.table(0, "ext")) == len(EXT_COUNTERS)
    assert len(shared.destination(0, 0)) == len(DESTINATION_FIELDS)


def test_all_real_servers_of_a_shard_at_once_are_those_one_by_one() -> None:
    shared = state(shards=2, destinations=3)
    for row in range(3):
        for slot in range(3):
            for place in range(len(DESTINATION_FIELDS)):
                shared.destination(row, slot)[place] = 1 + row * 100 + slot * 10 + place
    for row in range(3):
        one_by_one = [number for slot in range(3) for number in shared.destination(row, slot)]
        assert shared.all_destinations(row).tolist() == one_by_one
    places = [DESTINATION_FIELDS.index(field) for field in shared_layout.TRAFFIC_FIELDS]
    sums = [[sum(shared.destination(row, slot)[place] for slot in range(3)) for place in places] for row in range(3)]
    assert shared_layout.totals(shared) == sums


def test_counters_go_on_from_those_of_an_earlier_run_of_more_shards() -> None:
    earlier, shared = state(shards=3, destinations=2), state(shards=2, destinations=2)
    for row in range(4):
        earlier.table(row, "ext")[0] = 10**row
        earlier.destination(row, 1)[CONNS] = 10**row
        earlier.destination(row, 1)[ACTIVE_CONNS] = 9
        earlier.table(row, "states")[0] = 9
    shared.count_on_from(earlier)
    assert [shared.table(row, "ext")[0] for row in range(3)] == [1, 110, 1000], "the lane has a row of its own"
    assert [shared.destination(row, 1)[CONNS] for row in range(3)] == [1, 110, 1000]
    assert all(shared.destination(row, 1)[ACTIVE_CONNS] == shared.table(row, "states")[0] == 0 for row in range(3))


def test_each_write_of_tunables_moves_the_generation_on() -> None:
    shared = state(1, 0)
    shared.set_tunables({"synproxy_sack": 1})
    shared.set_tunables({"synproxy_sack": 0})
    assert shared.generation[0] == 2


@pytest.mark.parametrize("size", [0, 63, size_bytes(2, 2) - 1])
def test_a_buffer_that_is_too_small_is_refused(size: int) -> None:
    with pytest.raises(LayoutError, match="too small"):
        SharedState.create(memoryview(bytearray(size)), 2, 2)


def test_two_processes_read_and_write_the_same_cells() -> None:
    buffer = memoryview(bytearray(size_bytes(2, 2)))
    director, worker = SharedState.create(buffer, 2, 2), SharedState(buffer, 2, 2)
    director.set_tunables({"udp_timeout": 5})
    worker.destination(1, 1)[0] = 7
    worker.session_counts[1] = 3
    assert (worker.tunable("udp_timeout"), worker.generation[0]) == (5, 1)
    assert (director.destination(1, 1)[0], director.session_counts.tolist()) == (7, [0, 3])


def test_every_cell_is_an_aligned_word() -> None:
    buffer = memoryview(bytearray(size_bytes(1, 1)))
    shared = SharedState.create(buffer, 1, 1)
    shared.generation[0] = 1 << 32
    assert buffer[64:72].tobytes() == (1 << 32).to_bytes(8, "little"), "right behind the header"
    assert len(buffer) % 8 == 0


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0, b"another\n", "magic 616e6f746865720a and not 6c342d6170706c0a"),
        (8, (99).to_bytes(8, "little"), f"version 99 and not {VERSION}"),
        (16, bytes(8), f"layout_hash 0000000000000000 and not {LAYOUT_HASH.hex()}"),
        (24, (9).to_bytes(8, "little"), f"size_bytes 9 and not {size_bytes(2, 3)}"),
        (32, (4).to_bytes(8, "little"), "shards 4 and not 2"),
        (40, (5).to_bytes(8, "little"), "destinations 5 and not 3"),
    ],
)
def test_memory_with_another_header_is_refused_and_the_difference_named(place: int, value: bytes, words: str) -> None:
    buffer = bytearray(size_bytes(2, 3))
    SharedState.create(memoryview(buffer), 2, 3)
    buffer[place : place + 8] = value
    with pytest.raises(LayoutError) as refused:
        SharedState(memoryview(buffer), 2, 3)
    assert str(refused.value) == f"the shared memory is not laid out as this process reads it: it has {words}"


def test_memory_of_another_shape_is_refused() -> None:
    buffer = memoryview(bytearray(size_bytes(4, 4)))
    SharedState.create(buffer, 4, 4)
    with pytest.raises(LayoutError, match=r"size_bytes .* shards 4 and not 2, destinations 4 and not 2"):
        SharedState(buffer, 2, 2)


def test_memory_that_nobody_has_laid_out_is_refused() -> None:
    with pytest.raises(LayoutError, match="version 0"):
        SharedState(memoryview(bytearray(size_bytes(1, 1))), 1, 1)


def test_the_layout_does_not_change_without_its_version() -> None:
    """When this fails, the layout has changed: increase VERSION, and add its hash here."""
    hashes = {
        1: "339dff4b07b08235",
        2: "4b750be6f105642b",
        3: "6028966443ff55d2",
        4: "0959c617c4879261",
        5: "e22b3be69934a873",
        6: "e2045c9f4d37c2f7",
        7: "a80058d5a322635b",
        8: "7d462ebac5ad3972",
        9: "4eef705502c7f174",
        10: "d9ff36db3c1e43b5",
        11: "eb921549c6628be0",
        12: "55c6110f5066dc75",
        13: "40bcbea608b2d723",
        14: "1592dc3ddab70069",
        15: "3ceb93ba91561fde",
        16: "abbc58d06146b6c8",
        17: "a0ea387d86ae5fbe",
        18: "3e3ed1a54bb66764",
    }
    assert hashes[VERSION] == LAYOUT_HASH.hex()


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("queue", ("socket_drops", "queue_full_drops", *shared_layout._TABLES["queue"][2:])),
        ("queue", (*shared_layout._TABLES["queue"], "more")),
        ("states", shared_layout._TABLES["states"][:-1]),
    ],
    ids=["another order", "one more", "one less"],
)
def test_the_hash_is_another_for_any_other_table(table: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shared_layout._TABLES, table, names)
    assert shared_layout.layout_hash() != LAYOUT_HASH


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(KeyError):
        state(1, 1).table(0, "nonsense")
