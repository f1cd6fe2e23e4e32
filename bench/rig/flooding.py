"""A flood that goes on beside a measurement."""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bench.rig.topology import BenchError, module
from bench.senders.flood import BEGUN, NO_FLOOD, Flood

_GRACE_S = 30.0
"""How long after its time a sender may still go on."""

_BEFORE_OTHERS = ("nice", "-n", "-20")
"""A flood comes from elsewhere, and does not wait until the programs of this machine leave it a core."""


@contextmanager
def flooding(sender: str, *arguments: str, rate_per_s: int, seconds: float) -> Iterator[Callable[[], Flood]]:
    """With a module of bench.senders sending; at a rate of 0 nothing is sent.

    What is yielded waits for the end of the flood and returns what was sent. Raises BenchError when the flood did not begin or
    did not end well.
    """
    with _sending(module(sender, *arguments), rate_per_s, seconds) as process:
        yield lambda: _sent_by(process) if process else NO_FLOOD


@contextmanager
def flooding_meanwhile(sender: str, *arguments: str, rate_per_s: int, seconds_max: float) -> Iterator[Callable[[], bool]]:
    """The same, and the flood ends with the block, and its sender runs before all other programs. What is yielded says whether it
    goes on; one of rate 0 always does."""
    with _sending((*_BEFORE_OTHERS, *module(sender, *arguments)), rate_per_s, seconds_max) as process:
        yield lambda: process is None or process.poll() is None


@contextmanager
def _sending(sender: Sequence[str], rate_per_s: int, seconds: float) -> Iterator[subprocess.Popen[str] | None]:
    if not rate_per_s:
        yield None
        return
    command = (*sender, "--rate", str(rate_per_s), "--seconds", str(seconds))
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != f"{BEGUN}\n":
                raise BenchError("the flood did not begin")
            yield process
        finally:
            process.kill()


def _sent_by(process: subprocess.Popen[str]) -> Flood:
    try:
        said, _ = process.communicate(timeout=_GRACE_S)
    except subprocess.TimeoutExpired as error:
        raise BenchError("the flood did not end") from error
    if process.returncode:
        raise BenchError(f"the flood ended with {process.returncode}")
    return Flood(**json.loads(said))
