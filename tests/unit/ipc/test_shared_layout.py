"""shared_state.py: every number has a place of its own."""

import pytest

from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model.counters import DESTINATION_FIELDS, EXT_COUNTERS
from appliance.model.tunables import TUNABLES


def state(shards: int, destinations: int) -> SharedState:
    return SharedState(memoryview(bytearray(size_bytes(shards, destinations))), shards, destinations)


def test_no_two_numbers_share_a_place() -> None:
    shared = state(shards=3, destinations=2)
    shared.set_tunables({name: 1_000_000 + index for index, name in enumerate(TUNABLES)})
    cells = [
        *(shared.table(shard, name) for shard in range(3) for name in ("ext", "verdicts", "queue")),
        *(shared.destination(shard, slot) for shard in range(3) for slot in range(2)),
    ]
    shared.set_mtus({0: 2_000_000, 1: 2_000_001})
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


def test_each_write_of_tunables_moves_the_generation_on() -> None:
    shared = state(1, 0)
    shared.set_tunables({"synproxy_sack": 1})
    shared.set_tunables({"synproxy_sack": 0})
    assert shared.generation[0] == 2


def test_a_buffer_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        SharedState(memoryview(bytearray(size_bytes(2, 2) - 1)), 2, 2)


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(KeyError):
        state(1, 1).table(0, "nonsense")
