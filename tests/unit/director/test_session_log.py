"""session_log.py: what is written of what workers tell, what is left out or lost, and that it holds up nobody."""

import asyncio
import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from appliance.config.session_log import SessionLog
from appliance.director.session_log import MOST_WAITING, SessionLogWriter
from appliance.director.supervisor import ShardProcess
from appliance.edge.errors import EdgeError
from appliance.edge.line_output import LineOutput, Written
from appliance.ipc.messages import ChangeSessionLog, Done, Ended
from appliance.ipc.rows import SessionLogCounts
from tests.support.fake_worker import FakeWorkers
from tests.support.world import plan

ROW = [
    "web", "tcp", "198.51.100.2:40000", "203.0.113.10:80", "192.0.2.10:5000", "192.0.2.101:8080", "TIME_WAIT", "expired", "fin",
    False, 1_000_250, 1_005_375, 5, 500, 6, 60_000,
]  # fmt: skip


class Output:
    """Keeps lines; takes at most `room` of them, and says then what the test set."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.room = 1 << 30
        self.problem = "full"
        self.is_closed = False
        self.gate: threading.Event | None = None
        self.began = threading.Event()

    def write(self, lines: Sequence[bytes]) -> Written:
        assert not self.is_closed
        self.began.set()
        if self.gate is not None:
            self.gate.wait()
            assert not self.is_closed, "nobody closes what a thread writes to"
        taken = lines[: self.room]
        self.room -= len(taken)
        self.lines += map(json.loads, taken)
        return Written(len(taken), "" if len(taken) == len(lines) else self.problem)

    def close(self) -> None:
        self.is_closed = True


class Scene:
    def __init__(self, **keys: object) -> None:
        self.outputs: list[Output] = []
        self.refusal = ""
        self.now = 1000.0
        config = SessionLog.model_validate({"target": "file", **keys})
        self.writer = SessionLogWriter(config, (), self.open, lambda: self.now)

    def open(self, config: SessionLog) -> LineOutput | None:
        if self.refusal:
            raise EdgeError(self.refusal)
        if config.target == "off":
            return None
        self.outputs.append(Output())
        return self.outputs[-1]

    def hear(self, sessions: int, left_out: int = 0) -> None:
        self.writer.hear(Ended([ROW] * sessions, left_out))

    def written(self) -> list[dict[str, Any]]:
        asyncio.run(self.writer.write_some())
        return [line for output in self.outputs for line in output.lines]


def test_each_session_has_a_line_with_times_of_the_calendar() -> None:
    scene = Scene()
    scene.hear(2)
    first, second = scene.written()
    assert first == second
    assert first["client"] == "198.51.100.2:40000"
    assert first["duration_s"] == 5.125
    assert scene.writer.counts == SessionLogCounts(2, 0, 0)


def test_times_are_those_of_the_wall_clock_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.director.session_log.time.monotonic_ns", lambda: 1_010_000 * 1_000_000)
    monkeypatch.setattr("appliance.director.session_log.time.time_ns", lambda: 1_795_701_600_000 * 1_000_000)
    scene = Scene()
    scene.hear(1)
    (line,) = scene.written()
    assert (line["opened"], line["ended"]) == ("2026-11-26T13:59:50.250Z", "2026-11-26T13:59:55.375Z")


def test_beyond_the_limit_of_a_second_they_are_left_out_and_one_line_says_so() -> None:
    scene = Scene(max_per_s=10)
    scene.hear(8, left_out=5)
    scene.hear(8)
    assert [line["event"] for line in scene.written()] == ["session"] * 10 + ["left_out"]
    assert scene.outputs[0].lines[-1]["sessions"] == 11
    assert scene.writer.counts == SessionLogCounts(10, 11, 0)
    scene.hear(1)
    assert len(scene.written()) == 11, "not more than a line a second about those"
    scene.now += 1
    scene.hear(1)
    *_, session, left_out = scene.written()
    assert (session["event"], left_out["sessions"]) == ("session", 1)


def test_what_was_left_out_is_said_when_nothing_else_is() -> None:
    scene = Scene()
    scene.hear(0, left_out=3)
    assert [line["sessions"] for line in scene.written()] == [3]
    assert scene.writer.counts == SessionLogCounts(0, 3, 0)


def test_what_was_left_out_is_said_later_when_it_cannot_be_said_now() -> None:
    scene = Scene()
    scene.hear(1)
    scene.written()
    scene.outputs[0].room = 0
    scene.hear(0, left_out=3)
    scene.written()
    scene.outputs[0].room = 10
    scene.now += 1
    assert scene.written()[-1]["sessions"] == 3


def test_what_waits_is_bounded() -> None:
    scene = Scene(max_per_s=10_000)
    for _ in range(3):
        scene.hear(MOST_WAITING // 2 + 1)
        scene.now += 1
    assert len(scene.written()) == MOST_WAITING + 1
    assert scene.writer.counts == SessionLogCounts(MOST_WAITING, MOST_WAITING // 2 + 3, 0)


def test_while_it_is_off_nothing_is_kept_counted_or_opened() -> None:
    scene = Scene(target="off")
    scene.hear(5, left_out=5)
    assert scene.written() == []
    assert scene.outputs == []
    assert scene.writer.counts == SessionLogCounts(0, 0, 0)


def test_a_full_disk_costs_lines_that_are_counted_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    scene = Scene()
    scene.hear(1)
    scene.written()
    scene.outputs[0].room = 1
    for _ in range(3):
        scene.hear(2)
        scene.written()
    assert scene.writer.counts == SessionLogCounts(2, 0, 5)
    assert [record.message for record in caplog.records] == ["the session log loses lines: full"]
    scene.outputs[0].room = 10
    scene.hear(2)
    scene.written()
    assert scene.writer.counts == SessionLogCounts(4, 0, 5)
    assert caplog.records[-1].message == "the session log is written again; lines lost until now: 5"


def test_the_journal_is_not_told_that_it_does_not_read(caplog: pytest.LogCaptureFixture) -> None:
    """What is said goes the same way, and whoever said it would wait there."""
    scene = Scene(target="journal")
    scene.hear(1)
    scene.written()
    scene.outputs[0].room = 0
    scene.hear(1)
    scene.written()
    assert scene.writer.counts == SessionLogCounts(1, 0, 1)
    assert caplog.records == []


def test_a_file_that_cannot_be_opened_at_the_start_is_tried_again() -> None:
    scene = Scene()
    scene.refusal = "it is a symbolic link"
    scene.hear(2)
    assert scene.written() == []
    scene.refusal = ""
    scene.hear(1)
    assert len(scene.written()) == 1
    assert scene.writer.counts == SessionLogCounts(1, 0, 2)


def test_a_row_of_another_shape_ends_nothing() -> None:
    scene = Scene()
    scene.writer.hear(Ended([["web"]], 0))
    scene.hear(1)
    assert len(scene.written()) == 1
    assert scene.writer.counts == SessionLogCounts(1, 0, 1)


def test_a_change_goes_to_another_output_and_off() -> None:
    scene = Scene()

    async def change(**keys: object) -> None:
        async with scene.writer.changed(SessionLog.model_validate(keys)):
            pass

    scene.hear(1)
    scene.written()
    asyncio.run(change(target="file", file="/elsewhere"))
    scene.hear(1)
    scene.written()
    first, second = scene.outputs
    assert (len(first.lines), len(second.lines)) == (1, 1)
    assert (first.is_closed, second.is_closed) == (True, False)
    asyncio.run(change(target="off"))
    scene.hear(1)
    scene.written()
    assert second.is_closed
    assert len(second.lines) == 1


def test_one_that_cannot_be_opened_refuses_the_change() -> None:
    scene = Scene()
    scene.hear(1)
    scene.written()
    scene.refusal = "it is a symbolic link"

    async def change() -> None:
        async with scene.writer.changed(SessionLog(target="file", file="/elsewhere")):
            raise AssertionError("the block does not run")

    with pytest.raises(EdgeError, match="it is a symbolic link"):
        asyncio.run(change())
    scene.hear(1)
    assert len(scene.written()) == 2
    assert len(scene.outputs) == 1


def test_an_error_of_the_rest_of_a_change_takes_it_back() -> None:
    scene = Scene(file="/before")
    opened: list[str] = []
    scene.writer._open_output = lambda config: opened.append(config.file) or scene.open(config)  # type: ignore[func-returns-value]

    async def change() -> None:
        async with scene.writer.changed(SessionLog(target="file", file="/after")):
            raise EdgeError("refused")

    with pytest.raises(EdgeError, match="refused"):
        asyncio.run(change())
    scene.hear(1)
    scene.written()
    assert opened == ["/after", "/before"]
    assert scene.outputs[0].is_closed


async def test_a_disk_that_hangs_holds_up_nothing_and_its_file_is_not_closed_under_its_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("appliance.director.session_log._PATIENCE_S", 0.0)
    scene = Scene()
    scene.hear(1)
    await scene.writer.write_some()
    (output,) = scene.outputs
    output.gate = threading.Event()
    output.began.clear()
    scene.hear(1)
    stuck = asyncio.ensure_future(scene.writer.write_some())
    try:
        await asyncio.to_thread(output.began.wait)
        async with scene.writer.changed(SessionLog(target="file", file="/elsewhere")):
            pass
        scene.hear(1)
        await scene.writer.end()
        assert scene.writer.counts == SessionLogCounts(1, 0, 1), "the end does not wait for the disk"
        assert len(scene.outputs) == 2
    finally:
        output.gate.set()
    await stuck
    scene.hear(1)
    await scene.writer.write_some()
    assert output.is_closed
    assert len(scene.outputs[1].lines) == 1


@pytest.mark.parametrize("keys", [{"target": "file", "file": "/after"}, {"target": "off"}])
async def test_a_file_that_takes_long_to_open_is_not_kept_when_another_one_is_wanted_by_then(keys: dict[str, str]) -> None:
    """The first line waits for a slow disk, and the operator chooses another file, or none."""
    scene = Scene(file="/before")
    began, may_open = threading.Event(), threading.Event()

    def open_slowly(config: SessionLog) -> LineOutput | None:
        if config.file == "/before":
            began.set()
            may_open.wait()
        return scene.open(config)

    scene.writer._open_output = open_slowly
    scene.hear(1)
    first = asyncio.ensure_future(scene.writer.write_some())
    try:
        await asyncio.to_thread(began.wait)
        async with scene.writer.changed(SessionLog.model_validate(keys)):
            pass
    finally:
        may_open.set()
    await first
    scene.hear(1)
    await scene.writer.write_some()
    before = scene.outputs[-1]
    assert (before.is_closed, len(before.lines)) == (True, 1)
    assert [(output.is_closed, len(output.lines)) for output in scene.outputs[:-1]] == [(False, 1)] * (keys["target"] == "file")


async def test_the_end_writes_what_is_left_and_how_many_were_left_out() -> None:
    scene = Scene()
    scene.hear(1, left_out=1)
    await scene.writer.write_some()
    scene.hear(1, left_out=1)
    await scene.writer.end()
    assert [line["event"] for line in scene.outputs[0].lines] == ["session", "left_out", "session", "left_out"]


async def test_workers_tell_as_the_configuration_says_and_the_next_ones_begin_so(tmp_path: Path) -> None:
    fakes = FakeWorkers()
    process = ShardProcess(plan(), 0, start=fakes.start)
    running = asyncio.ensure_future(process.run())
    try:
        worker = await fakes.started.get()
        await worker.becomes_ready()
        await process.first_start
        writer = SessionLogWriter(SessionLog(), (process,))

        async def switch_on() -> None:
            config = SessionLog(target="file", file=str(tmp_path / "log"), max_per_s=7, services=("web",))
            async with writer.changed(config):
                pass

        switching = asyncio.ensure_future(switch_on())
        number, message = await worker.hears()
        assert message == ChangeSessionLog(7, ["web"])
        worker.says(Done(number))
        await switching
        heard = asyncio.Event()

        def hear(ended: Ended) -> None:
            writer.hear(ended)
            heard.set()

        process.hear = hear
        worker.says(Ended([ROW], 2))
        await heard.wait()
        await writer.write_some()
        assert (tmp_path / "log").read_bytes().count(b"\n") == 2
        worker.dies()
        worker = await fakes.started.get()
        start: Any = (await worker.becomes_ready()).message
        assert (start.plan.log_per_s, start.plan.logged_services) == (7, ("web",))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
