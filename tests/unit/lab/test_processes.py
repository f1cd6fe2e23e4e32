"""lab/processes.py and lab/signals.py, without namespaces."""

import os
import signal
import threading
from pathlib import Path

import pytest

from appliance.lab.errors import StopRequested
from appliance.lab.processes import Child, start_job, start_service
from appliance.lab.signals import HeldSignals


def to_this_thread(signum: int) -> None:
    """One that is sent to the process may be taken by another thread, which holds none: pytest-xdist then ends."""
    signal.pthread_kill(threading.get_ident(), signum)


def await_exit(child: Child) -> None:
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -2 $$", 130)])
def test_exit_code_is_the_shells_reading(script: str, code: int) -> None:
    child = start_job(("sh", "-c", script), os.environ)
    await_exit(child)
    assert [child.poll(), child.poll()] == [code, code]


def test_running_child_has_no_exit_code_and_a_stopped_one_says_so() -> None:
    child = start_job(("sh", "-c", "kill -STOP $$; exit 5"), os.environ)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    assert child.poll() is None
    assert child.stopped
    os.kill(child.pid, signal.SIGCONT)
    await_exit(child)
    assert child.poll() == 5


def test_service_runs_in_its_own_session_with_its_output_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = start_service(("sh", "-c", "echo out; echo err >&2; cat; ps -o sid= -p $$"), log)
    await_exit(child)
    assert log.read_text(encoding="ascii").split() == ["out", "err", str(child.pid)]
    child.poll()


def test_children_do_not_inherit_what_the_lab_blocks_or_ignores() -> None:
    with HeldSignals():
        child = start_job(("sh", "-c", "kill -INT $$; kill -TERM $$; exit 1"), os.environ)
        await_exit(child)
    assert child.poll() in (130, 143)


def test_stop_signal_waits_until_it_is_fetched() -> None:
    with HeldSignals() as signals:
        to_this_thread(signal.SIGTERM)
        with pytest.raises(StopRequested) as stop:
            signals.pause()
        signals.pause()
    assert stop.value.signum == signal.SIGTERM


def test_end_of_a_child_wakes_the_waiter_and_is_no_stop() -> None:
    with HeldSignals() as signals:
        child = start_job(("true",), os.environ)
        while child.poll() is None:
            assert signals.wait() is None


def test_late_signals_do_not_reach_the_caller() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with HeldSignals():
        to_this_thread(signal.SIGINT)
        to_this_thread(signal.SIGTERM)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
