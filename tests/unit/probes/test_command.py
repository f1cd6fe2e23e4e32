"""command.py: a program decides, within its time, and leaves nothing behind."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from appliance.health.answer import Outcome
from tests.unit.probes.conftest import asked


async def test_exit_code_0_passes_and_the_first_line_is_shown() -> None:
    assert await asked("command", command=("/bin/sh", "-c", "echo fine; echo more")) == (Outcome.PASSED, "exit code 0: fine")
    assert await asked("command", command=("/bin/sh", "-c", "echo dead >&2; exit 3")) == (Outcome.FAILED, "exit code 3: dead")


async def test_a_program_that_cannot_run_decides_nothing() -> None:
    assert await asked("command", command=("/no/such",)) == (
        Outcome.UNDECIDED,
        "cannot run /no/such: No such file or directory",
    )


async def test_its_environment_says_who_is_meant_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    code = "import json,os; print(sorted(set(os.environ) - {'LC_CTYPE'}), os.environ['APPLIANCE_REAL_SERVER'], os.getcwd())"
    answer = await asked("command", 8080, command=(sys.executable, "-I", "-c", code))
    names = ["APPLIANCE_PORT", "APPLIANCE_REAL_SERVER", "APPLIANCE_SERVICE", "LC_ALL", "PATH"]
    assert answer.words == f"exit code 0: {names} 127.0.0.1 /"


async def test_arguments_go_through_no_shell() -> None:
    assert (await asked("command", command=("/bin/echo", "$(id)", "; exit 1"))).words == "exit code 0: $(id) ; exit 1"


async def test_a_program_that_hangs_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"sleep 1000 & echo $! > {child}.new; mv {child}.new {child}; wait"
    answer = await asked("command", command=("/bin/sh", "-c", script), timeout_s=2.0)
    assert answer == (Outcome.FAILED, "no answer within 2 s")
    await _ends(int(child.read_text()))


async def test_what_it_leaves_behind_is_killed_as_well(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"sleep 1000 >/dev/null 2>&1 & echo $! > {child}"
    assert (await asked("command", command=("/bin/sh", "-c", script))).outcome is Outcome.PASSED
    await _ends(int(child.read_text()))


async def test_a_program_that_never_stops_talking_takes_no_memory_and_no_longer() -> None:
    answer = await asked("command", command=("/usr/bin/yes",), timeout_s=0.2)
    assert answer == (Outcome.FAILED, "no answer within 0.2 s")


async def test_a_child_in_a_session_of_its_own_that_holds_the_output_holds_up_nothing(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"setsid sleep 1000 & echo $! > {child}; echo fine"
    try:
        assert await asked("command", command=("/bin/sh", "-c", script)) == (Outcome.PASSED, "exit code 0: fine")
    finally:
        os.kill(int(child.read_text()), signal.SIGKILL)


async def test_one_that_is_cancelled_is_killed(tmp_path: Path) -> None:
    started = tmp_path / "started"
    command = ("/bin/sh", "-c", f"echo $$ > {started}.new; mv {started}.new {started}; exec sleep 1000")
    task = asyncio.ensure_future(asked("command", command=command))
    while not started.exists():  # noqa: ASYNC110  # a file says it, and no event
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not _is_alive(int(started.read_text()))


async def _ends(pid: int) -> None:
    """Returns when a process that was killed has ended."""
    while _is_alive(pid):  # noqa: ASYNC110  # it is no child of this process
        await asyncio.sleep(0.01)


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
