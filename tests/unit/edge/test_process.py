"""edge/process.py: a process ends with its parent, also while it is stopped; the CPU time of a process."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.edge.process import cpu_s

_CHILD = """
import os, signal, sys
from appliance.edge.process import end_with_parent
print(end_with_parent(), os.getpid(), flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""
_PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_CHILD!r}])"


def test_a_stopped_process_ends_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        said, pid = parent.stdout.readline().split()
        assert said == "True"
        child = os.pidfd_open(int(pid))
        parent.kill()
        parent.stdout.read()  # this ends when nobody has the other end of the pipe any more, which the child has, too
    assert select.select([child], [], [])[0], "a pidfd is readable when its process has ended"
    os.close(child)


def test_the_cpu_time_of_a_process_is_what_the_kernel_counts_for_it() -> None:
    before = os.times()
    seen = cpu_s(os.getpid())
    after = os.times()
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert seen is not None
    assert before.user + before.system - 2 * tick_s <= seen <= after.user + after.system + 2 * tick_s


def test_a_name_with_parentheses_and_spaces_is_no_field(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    stat = f"7 (a) 1 (b 9) S 1 7 7 0 -1 4194560 1 2 3 4 {3 * ticks} {4 * ticks} 8 9 20 0 1 0 5 6 7"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: stat)
    assert cpu_s(7) == 7.0


def test_a_process_that_is_gone_has_no_cpu_time() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert cpu_s(gone.pid) is None
