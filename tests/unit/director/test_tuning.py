"""tuning.py: which values are refused, and that kernel and shards always have the same ones."""

import asyncio

import pytest

from appliance.director.tuning import BURST, CHANGES_PER_S, Tuning
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


class Clock:
    """Time that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds


class Paced:
    """A tuning whose time the test knows, and the times at which the generation moved."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.shared = shared_state(2, 0)
        self.kernel = Kernel(self.shared)
        self.tuning = Tuning(self.shared, self.kernel.change_defence, now=lambda: self.clock.now, sleep=self.clock.sleep)
        self.moved: list[float] = []

    async def write(self, name: str, value: int) -> int:
        """One PUT, and what its answer would say."""
        before = self.shared.generation[0]
        await self.tuning.set_tunable(name, value)
        self.moved += [self.clock.now] * int(self.shared.generation[0] - before)
        return self.shared.tunable(name)


async def test_a_storm_of_writes_is_put_in_force_a_few_times_a_second() -> None:
    paced = Paced()
    generation, values = paced.shared.generation[0], iter(range(5001, 9001))

    async def writer() -> None:
        while paced.clock.now < 10.0:
            await paced.write("fullnat_lport_min", next(values, 5000))

    await asyncio.gather(*(writer() for _ in range(20)))
    changes = paced.shared.generation[0] - generation
    assert CHANGES_PER_S * 9 <= changes <= BURST + CHANGES_PER_S * 10 + 1


async def test_a_write_waits_no_longer_than_one_turn_and_the_last_one_counts() -> None:
    paced = Paced()
    for value in range(BURST):
        await paced.write("udp_timeout", 10_000 + value)
    assert paced.clock.now == 0.0, "a few writes do not wait"
    answers = await asyncio.gather(*(paced.write("udp_timeout", 20_000 + value) for value in range(100)))
    assert set(answers) == {20_099}, "an answer says what is in force"
    assert paced.clock.now <= 1 / CHANGES_PER_S + 0.001
    assert paced.shared.tunable("udp_timeout") == 20_099


async def test_writes_of_several_tunables_wait_together() -> None:
    paced = Paced()
    for value in range(BURST):
        await paced.write("udp_timeout", 10_000 + value)
    generation = paced.shared.generation[0]
    names = ("tcp_timeout_close", "tcp_timeout_established", "fullnat_lport_min", "defence_udp_drop")
    await asyncio.gather(
        *(paced.tuning.set_tunable(name, 5000 if name != "defence_udp_drop" else 0) for name in names[:2]),
        paced.tuning.set_tunable("fullnat_lport_min", 7000),
        paced.tuning.set_tunable("defence_udp_drop", 0),
    )
    assert [paced.shared.tunable(name) for name in names] == [5000, 5000, 7000, 0]
    assert paced.shared.generation[0] == generation + 1


async def test_a_value_in_force_is_no_change_and_waits_for_nothing() -> None:
    paced = Paced()
    generation = paced.shared.generation[0]
    for _ in range(100):
        await paced.write("udp_timeout", paced.shared.tunable("udp_timeout"))
    assert paced.clock.now == 0.0
    assert paced.shared.generation[0] == generation


async def test_of_waiting_writes_only_those_are_refused_that_the_kernel_refuses() -> None:
    paced = Paced()
    for value in range(BURST):
        await paced.write("udp_timeout", 10_000 + value)
    paced.kernel.refuses = True
    refused, done = await asyncio.gather(
        paced.tuning.set_tunable("defence_udp_drop", 0), paced.tuning.set_tunable("udp_timeout", 5000), return_exceptions=True
    )
    assert isinstance(refused, TunableError)
    assert done is None
    assert paced.shared.tunable("udp_timeout") == 5000
    assert paced.shared.tunable("defence_udp_drop") == 1


async def test_a_write_is_checked_together_with_those_that_wait() -> None:
    paced = Paced()
    for value in range(BURST):
        await paced.write("udp_timeout", 10_000 + value)
    done, refused = await asyncio.gather(
        paced.tuning.set_tunable("fullnat_lport_min", 7000),
        paced.tuning.set_tunable("fullnat_lport_max", 6000),
        return_exceptions=True,
    )
    assert done is None
    assert isinstance(refused, TunableError)
    assert (paced.shared.tunable("fullnat_lport_min"), paced.shared.tunable("fullnat_lport_max")) == (7000, 65535)


async def test_waiting_writes_that_a_reload_has_overtaken_are_refused() -> None:
    paced = Paced()
    for value in range(BURST):
        await paced.write("udp_timeout", 10_000 + value)
    async with paced.tuning.changing:
        writes = [
            asyncio.ensure_future(paced.tuning.set_tunable(*write))
            for write in (("fullnat_lport_min", 7000), ("udp_timeout", 5000))
        ]
        await asyncio.sleep(0)
        await paced.tuning.put_in_force({"fullnat_lport_max": 6000})
    refused, done = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(refused, TunableError)
    assert done is None
    assert (paced.shared.tunable("fullnat_lport_min"), paced.shared.tunable("fullnat_lport_max")) == (5000, 6000)


async def test_a_writer_that_is_cancelled_takes_nobody_with_it() -> None:
    paced = Paced()
    for value in range(BURST):
        await paced.write("udp_timeout", 10_000 + value)
    first = asyncio.ensure_future(paced.tuning.set_tunable("udp_timeout", 20_000))
    second = asyncio.ensure_future(paced.tuning.set_tunable("tcp_timeout_close", 5000))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert paced.shared.tunable("tcp_timeout_close") == 5000
