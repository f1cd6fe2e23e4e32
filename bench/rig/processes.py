"""Helper programs that run beside a measurement: start, wait until they are ready, stop."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.rig.topology import BenchError

_READY_TIMEOUT_S = 30.0
_POLL_S = 0.02
_STOP_GRACE_S = 3.0


@contextmanager
def running(command: Sequence[str], log: Path, is_ready: Callable[[], bool]) -> Iterator[None]:
    """With the program running and ready. Raises BenchError with the end of its log when it does not get there."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _wait_until_ready(process, log, is_ready)
        yield
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path, is_ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip()[-1000:]
            raise BenchError(f"{log.stem} did not start; it said: {said or '(nothing)'}")
        time.sleep(_POLL_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
