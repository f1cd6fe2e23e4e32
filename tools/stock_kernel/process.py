"""Child processes that end when this process ends."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


def start(arguments: Sequence[str], log: Path, keep_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start a program without input, its output in `log`; the kernel kills it when this process dies, however it does.

    A session of its own keeps the terminal's Ctrl-C away from it: we end it ourselves, when we have let go of it.
    """
    with log.open("wb") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=tuple(keep_fds),
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and wait for it. It needs no time to clean up, because everything it serves is thrown away."""
    process.kill()
    process.wait()
