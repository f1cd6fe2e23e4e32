"""Programs that run beside a measurement (start, wait until they are ready, stop), and those that make the load."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.rig.cpu import joining
from bench.rig.topology import BenchError, Site, inside

_READY_TIMEOUT_S = 30.0
_POLL_S = 0.02
_STOP_GRACE_S = 3.0
_START_AND_END_S = 15.0


@contextmanager
def running(command: Sequence[str], log: Path, is_ready: Callable[[], bool], *, grace_s: float = _STOP_GRACE_S) -> Iterator[None]:
    """With the program running and ready; afterwards it has so long to end by itself.

    Raises BenchError with the end of its log when it does not get there, and when it has ended before its time.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _wait_until_ready(process, log, is_ready)
        yield
        if process.poll() is not None:
            raise BenchError(f"{log.stem} ended during a measurement; it said: {_said(log)}")
    finally:
        _stop(process, grace_s)


@contextmanager
def running_in_gateway(
    site: Site, name: str, command: Sequence[str], is_ready: Callable[[], bool], *, grace_s: float = _STOP_GRACE_S
) -> Iterator[None]:
    """As `running`, in the gateway's namespace and, where CPU time is accounted, in its control group."""
    placed = joining(site.gateway_group, inside(site.gateway, *command))
    with running(placed, site.directory / f"{name}.log", is_ready, grace_s=grace_s):
        yield


def output_within(command: Sequence[str], seconds: int) -> str:
    """What a program prints that makes load for so long; its errors when it prints nothing else. Raises BenchError when it does
    not end.

    The exit code is not looked at: a failing iperf3 explains itself in its JSON, and wrk has no result then.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + _START_AND_END_S)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{command[0]} did not end within {error.timeout:.0f} s") from error
    return done.stdout or done.stderr


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path, is_ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{log.stem} did not start; it said: {_said(log)}")
        time.sleep(_POLL_S)


def _said(log: Path) -> str:
    return log.read_text(errors="replace").strip()[-1000:] or "(nothing)"


def _stop(process: subprocess.Popen[bytes], grace_s: float) -> None:
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
