"""wrk as a client that opens connections at a bounded rate, each for one request, to several services at once."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.rig.topology import HTTP_PORT, BenchError
from bench.rig.wrk import parse_wrk, wrk_script

CONNECTIONS = 128
"""At once, of all threads."""

PATIENCE_S = 30
"""How long wrk waits for an answer before that is an error. It waits longer than a SYN that was lost takes to be sent again."""

_END_S = 30.0


class Load:
    """One wrk that runs. `answered` and `trouble` are there when it has ended."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.answered = 0
        self.trouble = ""

    def is_over(self, within_s: float) -> bool:
        """Whether it has ended, after waiting so long for it. Raises BenchError when it says nothing of use."""
        try:
            said, _ = self._process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            return False
        reading = parse_wrk(said)
        self.answered, self.trouble = int(reading.units), reading.trouble
        return True


@contextmanager
def opening(targets: Sequence[str], rate_per_s: int, seconds: int, directory: Path) -> Iterator[Load]:
    """With wrk at work for so long: a thread for each target, and at most so many connections a second, all together."""
    script = directory / "connections.lua"
    script.write_text(paced_script(targets, rate_per_s))
    sizes = (f"--threads={len(targets)}", f"--connections={CONNECTIONS}", f"--duration={seconds}s", f"--timeout={PATIENCE_S}s")
    command = ("wrk", *sizes, "--script", str(script), "--header", "Connection: close", f"http://{targets[0]}:{HTTP_PORT}/")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield Load(process)
            process.wait(_END_S)
        except subprocess.TimeoutExpired as error:
            raise BenchError("wrk did not end") from error
        finally:
            process.kill()


def paced_script(targets: Sequence[str], rate_per_s: int) -> str:
    """The script for wrk. Each connection waits before its request, so there are never more than that many a second."""
    return f"{wrk_script(targets)}\nfunction delay()\n   return {pause_ms(rate_per_s)}\nend\n"


def pause_ms(rate_per_s: int) -> int:
    """How long each of the connections waits, in milliseconds, rounded up."""
    return -(-1000 * CONNECTIONS // rate_per_s)
