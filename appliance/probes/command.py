"""A check by a program of the operator: exit code 0 passes."""

import asyncio
import contextlib
import os
import signal

from appliance.health.answer import Answer, failed, passed, undecided
from appliance.health.check import Check, Target

MOST_OUTPUT_BYTES = 4096
"""How much of the output is read; the first line of it is shown."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


async def probe(check: Check, target: Target) -> Answer:
    """Runs the program, and kills it with all of its process group at the end, whatever that is."""
    try:
        process = await asyncio.create_subprocess_exec(
            *check.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=_environment(check, target),
            cwd="/",
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return undecided(f"cannot run {check.command[0]}: {getattr(error, 'strerror', None) or error}")
    try:
        said = await _first_line(process)
        code = await process.wait()
    finally:
        await _end(process)
    words = f"exit code {code}" + (f": {said}" if said else "")
    return passed(words) if code == 0 else failed(words)


def _environment(check: Check, target: Target) -> dict[str, str]:
    return {
        "PATH": _PATH,
        "LC_ALL": "C.UTF-8",
        "APPLIANCE_SERVICE": target.service,
        "APPLIANCE_REAL_SERVER": target.address,
        "APPLIANCE_PORT": str(check.port),
    }


async def _first_line(process: asyncio.subprocess.Process) -> str:
    """The first line of the output. The rest is read and thrown away, so that the program is not held up by it."""
    assert process.stdout is not None
    said = b""
    while piece := await process.stdout.read(MOST_OUTPUT_BYTES):
        said = (said + piece)[:MOST_OUTPUT_BYTES]
    return said.decode("utf-8", "replace").strip().partition("\n")[0]


async def _end(process: asyncio.subprocess.Process) -> None:
    # Also when the program itself has ended: it may have left something behind that goes on.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
