"""duties.py: a duty that fails is begun anew, reported once and counted, whatever its error is."""

import asyncio
from collections.abc import Iterator

import pytest

from appliance.director.duties import NEWS_AFTER_S, PAUSE_S, Duties
from appliance.edge.errors import EdgeError
from appliance.ipc.rows import DutyState


class Failing:
    """A duty that fails with each error in turn, after the time that stands with it, and is cancelled at the end."""

    def __init__(self, *failures: tuple[float, BaseException]) -> None:
        self._failures: Iterator[tuple[float, BaseException]] = iter(failures)
        self.clock = 0.0
        self.pauses: list[float] = []
        self.duties = Duties(self.pause, lambda: self.clock)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def duty(self) -> None:
        lasted_s, error = next(self._failures, (0.0, asyncio.CancelledError()))
        self.clock += lasted_s
        raise error

    async def run(self) -> list[DutyState]:
        with pytest.raises(asyncio.CancelledError):
            await self.duties.keep("look", self.duty)
        return self.duties.states()


NO_DESCRIPTOR = OSError(24, "Too many open files")


@pytest.mark.parametrize("error", [NO_DESCRIPTOR, EdgeError("why"), KeyError("x"), AssertionError()])
async def test_no_error_ends_a_duty(error: Exception) -> None:
    failing = Failing((0.0, error), (0.0, error), (0.0, error))
    [state] = await failing.run()
    assert (state.name, state.failures) == ("look", 3)
    assert state.last_error.startswith(type(error).__name__)
    assert failing.pauses == [PAUSE_S] * 3


async def test_an_error_that_repeats_itself_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    await Failing(*[(1.0, NO_DESCRIPTOR)] * 5, (1.0, EdgeError("why")), (NEWS_AFTER_S, EdgeError("why"))).run()
    words = [line.partition(" s: ")[2] for line in caplog.messages]
    assert words == ["OSError: [Errno 24] Too many open files", "EdgeError: why", "EdgeError: why"]


async def test_only_an_error_of_ours_has_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    await Failing((0.0, NO_DESCRIPTOR), (0.0, KeyError("x"))).run()
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]


async def test_a_duty_that_ends_is_begun_anew() -> None:
    turns = 0

    async def ends() -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Failing().duties.keep("look", ends)
    assert turns == 3
