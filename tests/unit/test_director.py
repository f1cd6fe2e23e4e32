"""director.py without a kernel: what it tells workers, and what it refuses to put in force."""

from pathlib import Path

import pytest

from appliance import config
from appliance.director import Director, service_plans
from appliance.stats import QUEUE_FULL_DROPS, SOCKET_DROPS
from appliance.tunables import TunableError

SHIPPED = config.load(Path(__file__).parents[2] / "etc/lvs.toml")


async def test_start_values_are_in_force_from_the_beginning() -> None:
    director = Director(SHIPPED)
    assert {name: director.shared.tunable(name) for name in SHIPPED.sysctl} == SHIPPED.sysctl
    assert director.shared.shards == 2
    assert [state.up for state in director.shard_states()] == [False, False]


def test_every_real_server_of_every_service_has_a_slot_of_its_own() -> None:
    two = SHIPPED.model_copy(update={"services": SHIPPED.services * 2})
    slots = [real_server.slot for service in service_plans(two) for real_server in service.real_servers]
    assert slots == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("in_force", "name", "value", "words"),
    [
        ({}, "fullnat_lport_min", 1024, "out of range 1025"),
        ({"fullnat_lport_max": 6000}, "fullnat_lport_min", 6001, "greater than fullnat_lport_max"),
        ({"fullnat_lport_min": 6000}, "fullnat_lport_max", 5999, "greater than fullnat_lport_max"),
        ({"fullnat_lport_min": 6000}, "fullnat_lport_max", 6000, "would leave shard 1 of 2 without any"),
    ],
)
async def test_a_refused_write_changes_nothing(in_force: dict[str, int], name: str, value: int, words: str) -> None:
    director = Director(SHIPPED)
    director.shared.set_tunables(in_force)
    before, generation = director.shared.tunables.tolist(), director.shared.generation[0]
    with pytest.raises(TunableError, match=words):
        director.set_tunable(name, value)
    assert director.shared.tunables.tolist() == before
    assert director.shared.generation[0] == generation


async def test_a_write_is_in_force_and_announced() -> None:
    director = Director(SHIPPED)
    generation = director.shared.generation[0]
    director.set_tunable("tcp_timeout_established", 600_000)
    assert director.shared.tunable("tcp_timeout_established") == 600_000
    assert director.shared.generation[0] == generation + 1


async def test_queue_drops_add_up_over_the_lives_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own totals start anew with each worker that binds the queue."""
    from appliance.edge.queue_stats import QueueStats

    director = Director(SHIPPED)
    looks = iter([{0: QueueStats(0, 5, 1)}, {0: QueueStats(0, 7, 1)}, {}, {0: QueueStats(0, 2, 0)}, {0: QueueStats(0, 1, 0)}])
    monkeypatch.setattr("appliance.director.queue_stats.read", lambda: next(looks))
    for _ in range(5):
        director._count_queue_drops()
    counts = director.shared.table(0, "queue")
    assert (counts[QUEUE_FULL_DROPS], counts[SOCKET_DROPS]) == (7 + 2 + 1, 1)
