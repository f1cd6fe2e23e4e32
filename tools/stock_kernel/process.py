"""Child processes that must not outlive this one."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


def start(arguments: Sequence[str], log: Path, keep_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start a program without input, its output in `log`; the kernel kills it when this process dies.

    It has a session of its own, so that Ctrl-C on the terminal does not end it: this process ends it.
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
    """Kill a program and return its exit status. It has no state that is worth an orderly end."""
    process.kill()
    process.wait()
