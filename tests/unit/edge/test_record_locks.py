"""record_locks.py: what one process holds, another one does not get, until the first gives it back or ends."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from appliance.edge import record_locks, shared_memory
from appliance.edge.record_locks import RecordLocks

HOLD = """
import sys
from appliance.edge.record_locks import RecordLocks
locks = RecordLocks(int(sys.argv[1]))
assert locks.take(5)
print("held", flush=True)
sys.stdin.readline()
locks.give_back(5)
print("given back", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def fd() -> Iterator[int]:
    made = shared_memory.create(64)
    yield made
    os.close(made)


@contextmanager
def holder(fd: int) -> "Iterator[subprocess.Popen[str]]":
    """Another process, which has inherited the file descriptor and holds lock 5."""
    command = [sys.executable, "-c", HOLD, str(fd)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=(fd,)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_what_another_process_holds_is_not_taken_until_it_gives_it_back(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_locks, "_TRIES", 3)
    locks = RecordLocks(fd)
    with holder(fd) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert not locks.take(5)
        assert locks.take(6), "another lock"
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "given back\n"
        assert locks.take(5)
        locks.give_back(5)


def test_the_locks_of_a_process_end_with_it(fd: int) -> None:
    locks = RecordLocks(fd)
    with holder(fd) as process:
        process.kill()
        process.wait()
        assert locks.take(5)
