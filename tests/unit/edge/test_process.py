"""edge/process.py: a process ends with its parent, also while it is stopped."""

import os
import select
import subprocess
import sys

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
