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
    with contextlib.closing(_Output()) as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *check.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output.fd,
                stderr=output.fd,
                env=_environment(check, target),
                cwd="/",
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return undecided(f"cannot run {check.command[0]}: {getattr(error, 'strerror', None) or error}")
        try:
            code = await process.wait()
        finally:
            await _end(process)
        said = output.first_line()
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


class _Output:
    """What a program writes: the beginning is kept, the rest is read and thrown away, so that the program is not held up by it.

    It is a pipe of our own. One that asyncio makes for a process keeps the wait for its end from ending while somebody else has
    it open, and while nobody reads what is in it.
    """

    def __init__(self) -> None:
        self._reading, self.fd = os.pipe()
        os.set_blocking(self._reading, False)
        self._said = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reading, self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._said = (self._said + os.read(self._reading, MOST_OUTPUT_BYTES))[:MOST_OUTPUT_BYTES]

    def first_line(self) -> str:
        """The first line that was written until now, cut to MOST_OUTPUT_BYTES."""
        self._read()
        return self._said.decode("utf-8", "replace").strip().partition("\n")[0]

    def close(self) -> None:
        """Read no more."""
        self._loop.remove_reader(self._reading)
        os.close(self._reading)
        os.close(self.fd)


async def _end(process: asyncio.subprocess.Process) -> None:
    # Also when the program itself has ended: it may have left something behind that goes on.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
