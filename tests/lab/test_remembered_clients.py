"""Clients that persistence remembers, in maps of a kernel: they stay remembered from run to run, with a lane and without."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliance.director.remembered_clients import hand_over, recall
from appliance.edge import bpffs
from appliance.edge.lane_kernel import LaneKernel, Pinned
from appliance.edge.lane_maps import KernelLaneMaps
from appliance.edge.lane_sizes import Sizes
from appliance.ipc.lane_layout import LEAST_ENTRIES
from appliance.ipc.persistence_table import WORDS, PersistenceTable
from appliance.ipc.shared_layout import SharedState
from tests.support.gateway import shared_state

pytestmark = pytest.mark.once

SIZES = Sizes(LEAST_ENTRIES, 260)
CLIENT, OTHER, SLOT, UNTIL_MS = 77, 78, 5, 9000


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "bpf"
    yield bpffs.prepared(root, "1")
    bpffs.remove(root, "1")


def remember(words: memoryview, client: int) -> None:
    table = PersistenceTable(words, b"secret")
    table.put(table.bucket(client), client, SLOT, UNTIL_MS, 0)


def slot_of(words: memoryview, client: int) -> int | None:
    table = PersistenceTable(words, b"secret")
    found = table.find(table.bucket(client), client, 0)
    return None if found is None else found[1]


def words_of_workers(kernel: LaneKernel) -> memoryview:
    """As a worker sees them."""
    return KernelLaneMaps(kernel.worker_fds()).remembered.cast("Q")


def test_who_was_remembered_without_a_lane_is_so_with_one(directory: Path) -> None:
    shared = shared_state(1, 1)
    remember(shared.persistence, CLIENT)
    with closing(LaneKernel.make(directory, SIZES)) as kernel:
        hand_over(kernel, shared)
        words = words_of_workers(kernel)
        assert slot_of(words, CLIENT) == SLOT
        remember(words, OTHER)
        assert slot_of(shared.persistence, OTHER) == SLOT, "the director sees what workers see"
    assert slot_of(shared.persistence, OTHER) == SLOT, "also when the lane is closed"


def next_run(directory: Path) -> SharedState:
    shared = shared_state(1, 1)
    recall(directory, shared)
    return shared


def test_who_was_remembered_with_a_lane_is_so_without_one_and_with_the_next_one(directory: Path) -> None:
    with closing(LaneKernel.make(directory, SIZES)) as kernel:
        hand_over(kernel, shared_state(1, 1))
        remember(words_of_workers(kernel), CLIENT)
    assert slot_of(next_run(directory).persistence, CLIENT) == SLOT
    shared = next_run(directory)
    with closing(LaneKernel.take_over(Pinned(directory))) as kernel:
        hand_over(kernel, shared)
        assert slot_of(words_of_workers(kernel), CLIENT) == SLOT
    shared = next_run(directory)
    with closing(Pinned(directory)) as pinned:
        records = pinned.copied_records()
        assert records is not None
        with closing(LaneKernel.moved(pinned, records, 300)) as kernel:
            hand_over(kernel, shared)
            assert slot_of(words_of_workers(kernel), CLIENT) == SLOT


def test_where_no_lane_was_nobody_is_forgotten(directory: Path) -> None:
    shared = shared_state(1, 1)
    remember(shared.persistence, CLIENT)
    recall(directory, shared)
    recall(directory / "nowhere", shared)
    assert slot_of(shared.persistence, CLIENT) == SLOT
    assert len(shared.persistence) == WORDS
