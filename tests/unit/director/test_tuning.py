"""tuning.py: which values are refused, and that kernel and shards always have the same ones."""

import asyncio

import pytest

from appliance.director.tuning import Tuning
from appliance.edge.errors import EdgeError
from appliance.ipc.shared_layout import SharedState
from appliance.model.tunables import TunableError
from appliance.policy.defence import Defence
from tests.support.gateway import shared_state


class Kernel:
    """Notes what is asked of the kernel, and refuses it if the test wants that."""

    def __init__(self, shared: SharedState) -> None:
        self.asked: list[Defence] = []
        self.refuses = False
        self.values_meanwhile: list[int] = []
        self._shared = shared

    def change_defence(self, defence: Defence) -> None:
        self.values_meanwhile.append(self._shared.tunable("defence_udp_drop"))
        self.asked.append(defence)
        if self.refuses:
            raise EdgeError("nft -f - failed: why")


class Tuned:
    """Two shards and a kernel."""

    def __init__(self) -> None:
        self.shared = shared_state(2, 0)
        self.kernel = Kernel(self.shared)
        self.tuning = Tuning(self.shared, self.kernel.change_defence)


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
    tuned = Tuned()
    tuned.shared.set_tunables(in_force)
    before, generation = tuned.shared.tunables.tolist(), tuned.shared.generation[0]
    with pytest.raises(TunableError, match=words):
        await tuned.tuning.set_tunable(name, value)
    assert tuned.shared.tunables.tolist() == before
    assert tuned.shared.generation[0] == generation


async def test_a_write_is_in_force_announced_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    tuned = Tuned()
    generation = tuned.shared.generation[0]
    await tuned.tuning.set_tunable("tcp_timeout_established", 600_000)
    assert tuned.shared.tunable("tcp_timeout_established") == 600_000
    assert tuned.shared.generation[0] == generation + 1
    assert [(record.name, record.message) for record in caplog.records] == [
        ("appliance.director", "tcp_timeout_established: 900000 -> 600000")
    ]


async def test_a_tunable_of_the_defence_is_in_force_in_the_kernel_before_it_is_in_shards() -> None:
    tuned = Tuned()
    await tuned.tuning.set_tunable("defence_udp_drop", 0)
    await tuned.tuning.set_tunable("defence_frag_drop", 0)
    await tuned.tuning.set_tunable("udp_timeout", 2000)
    assert tuned.kernel.asked == [Defence(True, True, False), Defence(False, True, False)]
    assert tuned.kernel.values_meanwhile == [1, 0]
    assert tuned.shared.tunable("defence_udp_drop") == 0


async def test_writes_at_once_leave_kernel_and_shards_with_the_same_values() -> None:
    tuned = Tuned()
    names = ("defence_tcp_drop", "defence_udp_drop", "defence_frag_drop")
    await asyncio.gather(*(tuned.tuning.set_tunable(name, value) for value in (0, 1, 0) for name in names))
    in_force = Defence.of({name: tuned.shared.tunable(name) for name in names})
    assert tuned.kernel.asked[-1] == in_force == Defence(False, False, False)


async def test_rules_that_the_kernel_refuses_leave_the_value_as_it_was() -> None:
    tuned = Tuned()
    tuned.kernel.refuses = True
    generation = tuned.shared.generation[0]
    with pytest.raises(TunableError, match="defence_frag_drop: the kernel refuses the rules: nft -f - failed: why"):
        await tuned.tuning.set_tunable("defence_frag_drop", 0)
    assert tuned.shared.tunable("defence_frag_drop") == 1
    assert tuned.shared.generation[0] == generation


def test_values_that_are_in_force_are_left_out() -> None:
    tuned = Tuned()
    in_force = tuned.shared.tunable("udp_timeout")
    assert tuned.tuning.without_those_in_force({"udp_timeout": in_force, "tcp_timeout_close": 5}) == {"tcp_timeout_close": 5}


def test_the_defence_is_what_is_in_force_after_the_changes() -> None:
    tuned = Tuned()
    tuned.shared.set_tunables({"defence_tcp_drop": 0})
    assert tuned.tuning.defence({}) == Defence(True, False, True)
    assert tuned.tuning.defence({"defence_udp_drop": 0}) == Defence(True, False, False)
