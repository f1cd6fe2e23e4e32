"""watchdog.py: who counts as silent, since when, and who is killed. A look is half a second."""

import asyncio

import pytest

from appliance.director import watchdog as watchdog_module
from appliance.director.watchdog import LOOK_INTERVAL_S, NOTICED_LOOKS, RESTART_LOOKS, START_LOOKS, Watchdog, watch_workers


class FakeWatched:
    """A worker that is up. When it is killed, the next one is there at once and starts."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.pid: int | None = 100 + shard
        self.up = True
        self.is_silent = False
        self.kills = 0

    def kill(self) -> None:
        self.kills += 1
        self.pid, self.up = 200 + self.shard, False


class Scene:
    """Two workers: the one of shard 0 always makes turns, the other as the test says."""

    def __init__(self) -> None:
        self.heartbeats = [0, 7]
        self.healthy, self.worker = FakeWatched(0), FakeWatched(1)
        self.watchdog = Watchdog(self.heartbeats, (self.healthy, self.worker))

    def looks(self, count: int, turns: int = 0) -> None:
        for _ in range(count):
            self.heartbeats[0] += 3
            self.heartbeats[1] += turns
            self.watchdog.look()


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.looks(1)
    return scene


def test_a_worker_that_makes_turns_is_never_silent(scene: Scene) -> None:
    scene.looks(3 * START_LOOKS, turns=1)
    assert (scene.worker.is_silent, scene.worker.kills, scene.watchdog.silent_s(1)) == (False, 0, 0.0)


def test_silence_is_noticed_after_two_seconds_and_grows(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    assert NOTICED_LOOKS * LOOK_INTERVAL_S == 2.0
    scene.looks(NOTICED_LOOKS - 1)
    assert (scene.worker.is_silent, scene.watchdog.silent_s(1)) == (False, 0.0)
    scene.looks(1)
    assert (scene.worker.is_silent, scene.watchdog.silent_s(1)) == (True, 2.0)
    scene.looks(2)
    assert scene.watchdog.silent_s(1) == 3.0
    assert (scene.healthy.is_silent, scene.watchdog.silent_s(0)) == (False, 0.0)
    assert caplog.messages == ["shard 1: worker (pid 101) does nothing, its packets wait"], "once"


def test_a_worker_that_goes_on_keeps_its_sessions(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.looks(RESTART_LOOKS - 1)
    scene.looks(1, turns=1)
    assert (scene.worker.is_silent, scene.worker.kills, scene.watchdog.silent_s(1)) == (False, 0, 0.0)
    assert caplog.messages[1:] == ["shard 1: worker (pid 101) goes on"]
    scene.looks(RESTART_LOOKS - 1)
    assert scene.worker.kills == 0, "its silence begins anew"


def test_a_worker_that_stays_silent_is_killed_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.looks(RESTART_LOOKS)
    assert (scene.worker.kills, scene.healthy.kills) == (1, 0)
    assert caplog.messages[-1] == "shard 1: worker (pid 101) did nothing for 10 s and is killed"
    scene.looks(RESTART_LOOKS)
    assert (scene.worker.kills, scene.worker.is_silent) == (1, False), "the next one is starting, and has more time"
    assert "goes on" not in caplog.text, "it is another process"


def test_the_next_worker_is_watched_from_its_own_beginning(scene: Scene) -> None:
    scene.looks(RESTART_LOOKS)
    scene.worker.up = True
    scene.looks(RESTART_LOOKS)
    assert scene.worker.kills == 1
    scene.looks(1)
    assert scene.worker.kills == 2


def test_a_worker_that_does_not_become_ready_is_killed_after_a_minute(scene: Scene) -> None:
    assert START_LOOKS * LOOK_INTERVAL_S == 60.0
    scene.worker.up = False
    scene.looks(START_LOOKS)
    assert (scene.worker.kills, scene.worker.is_silent) == (0, False)
    scene.looks(1)
    assert scene.worker.kills == 1


def test_a_worker_that_is_away_is_not_killed(scene: Scene) -> None:
    scene.looks(NOTICED_LOOKS)
    scene.worker.pid, scene.worker.up = None, False
    scene.looks(2 * START_LOOKS)
    assert (scene.worker.kills, scene.worker.is_silent) == (0, False)


async def test_the_looks_go_on_until_they_are_cancelled(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog_module, "LOOK_INTERVAL_S", 0.0)
    killed = asyncio.Event()
    monkeypatch.setattr(scene.worker, "kill", killed.set)
    watching = asyncio.ensure_future(watch_workers(scene.watchdog))
    await killed.wait()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
