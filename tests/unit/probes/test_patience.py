"""patience.py: a check whose deadline the loop has noticed late is looked at once more, and no other one is."""

import asyncio

import pytest

from appliance.probes.patience import LATE_S, MOST_AGAIN_S, patience

TIMEOUT_S = 0.001


class Clock:
    """What it says first, and what it says when the deadline is noticed."""

    def __init__(self, late_s: float) -> None:
        self._says = [100.0, 100.0 + TIMEOUT_S + late_s]
        self.noticed = asyncio.Event()

    def __call__(self) -> float:
        if len(self._says) == 1:
            self.noticed.set()
            return self._says[0]
        return self._says.pop(0)


async def test_an_answer_that_waited_while_the_loop_was_held_up_counts() -> None:
    clock = Clock(late_s=LATE_S * 1.5)
    async with patience(10 * TIMEOUT_S, clock):
        await clock.noticed.wait()


async def test_without_an_answer_then_either_it_fails() -> None:
    clock = Clock(late_s=5.0)
    with pytest.raises(TimeoutError):
        async with patience(TIMEOUT_S, clock):
            await asyncio.Event().wait()
    assert clock.noticed.is_set()


async def answer(clock: Clock, *, comes_behind: bool) -> None:
    """Comes when the deadline is noticed, or never."""
    async with patience(TIMEOUT_S, clock):
        await clock.noticed.wait()
        if comes_behind:
            await asyncio.Event().wait()


async def test_one_whose_deadline_is_noticed_in_time_fails_at_once() -> None:
    with pytest.raises(TimeoutError):
        await answer(Clock(late_s=LATE_S / 2), comes_behind=True)


@pytest.mark.parametrize("timeout_s", [0.25, 30.0])
async def test_it_gets_as_much_time_again_as_it_had_and_a_second_at_most(
    timeout_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: asyncio.Queue[float] = asyncio.Queue()
    monkeypatch.setattr(asyncio.Timeout, "reschedule", lambda _, when: moved.put_nowait(when))
    loop, times = asyncio.get_running_loop(), iter((0.0, timeout_s + 1))
    monkeypatch.setattr(loop, "call_later", lambda _, look: loop.call_soon(look))
    async with patience(timeout_s, lambda: next(times)):
        assert await moved.get() is None, "no limit but ours"
        began = loop.time()
        assert began <= await moved.get() - min(timeout_s, MOST_AGAIN_S) <= loop.time()


async def test_what_ends_in_time_leaves_nothing_behind() -> None:
    async with patience(TIMEOUT_S):
        pass
    clock = Clock(late_s=0.0)
    with pytest.raises(ValueError, match="mine"):
        async with patience(TIMEOUT_S, clock):
            raise ValueError("mine")
    await asyncio.sleep(0)
    assert not clock.noticed.is_set()
