"""kernel_schedule.py: what the kernel can choose by, and what is too large for it. Which clients go where is in the stories."""

from array import array
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.ipc.admission_layout import LOOKUP_PLACES, SCHEDULE_PLACES
from appliance.policy.schedulers.contract import ByClient
from appliance.policy.schedulers.maglev import Maglev
from appliance.policy.schedulers.source_hash import SourceHash
from appliance.state.kernel_schedule import KernelSchedule, schedule_of
from tests.support.candidates import setup

NO_TABLE = array("B")
HASH_STATE = (1, 2, 3, 4, 5, 6, 7, 8)


def schedule(
    monkeypatch: pytest.MonkeyPatch, kind: type[Maglev | SourceHash], owners: Sequence[int], table: "array[int]" = NO_TABLE
) -> KernelSchedule:
    """That of a service whose scheduler says this of its clients. Candidates are numbers here, each ten times its index."""
    monkeypatch.setattr(kind, "by_client", lambda *_: ByClient(HASH_STATE, owners, table))
    candidates = [10 * index for index in range(max(owners) + 1)]
    service: Any = SimpleNamespace(persistence=None, scheduler=kind(setup()), candidates=candidates)
    return schedule_of(service, 0.0)


def places(found: KernelSchedule) -> list[Any]:
    return [*found.real_servers]


def test_without_a_table_the_hash_leads_to_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    found = schedule(monkeypatch, SourceHash, (1, 0, 1))
    assert (places(found), found.hash_state, len(found.table)) == ([10, 0, 10], HASH_STATE, 0)


def test_a_table_that_fits_is_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    found = schedule(monkeypatch, Maglev, (2, 0), array("B", [0, 1, 1, 0]) * (SCHEDULE_PLACES // 4))
    assert (places(found)[:5], len(found.real_servers), len(found.table)) == ([20, 0, 0, 20, 20], SCHEDULE_PLACES, 0)


def test_a_larger_one_leads_to_places(monkeypatch: pytest.MonkeyPatch) -> None:
    table = array("B", [0, 1]) * (LOOKUP_PLACES // 2)
    found = schedule(monkeypatch, Maglev, (2, 0), table)
    assert (places(found), found.table) == ([20, 0], table)


@pytest.mark.parametrize(
    ("owners", "length"),
    [
        pytest.param(range(2), LOOKUP_PLACES + 1, id="places of a table"),
        pytest.param(range(SCHEDULE_PLACES + 1), LOOKUP_PLACES, id="real servers"),
    ],
)
def test_what_is_too_large_goes_to_the_workers(monkeypatch: pytest.MonkeyPatch, owners: range, length: int) -> None:
    assert not schedule(monkeypatch, Maglev, owners, array("H", [1]) * length).real_servers
    assert schedule(monkeypatch, Maglev, owners[:-1], array("H", [0]) * (length - 1)).real_servers
