"""What every step of the preparation uses: lines of progress, a program that is run to its end, and the error."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LAST_LINES = 5


class SetupError(Exception):
    """The guest cannot be started; the message tells the user why and, where possible, what to do."""


def say(text: str) -> None:
    """Print one line of progress on stderr: stdout belongs to the guest's command."""
    print(f"stock-kernel: {text}", file=sys.stderr, flush=True)


def last_lines(text: str, count: int = LAST_LINES) -> str:
    """The last `count` lines of an output that are not blank."""
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-count:])


def run_tool(arguments: Sequence[str], cwd: Path | None = None) -> str:
    """Run a program to its end and return its stdout; raise SetupError with its last lines when it fails.

    It has a session of its own, and is waited for even when this process has to stop: after an interrupted installation the
    package database of the machine would need repair.
    """
    try:
        with subprocess.Popen(
            arguments,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            output, complaints = process.communicate()
    except OSError as error:
        raise SetupError(f"cannot run {arguments[0]}: {error.strerror}") from error
    if process.returncode != 0:
        raise SetupError(f"'{' '.join(arguments)}' failed:\n{last_lines(complaints or output)}")
    return output
