"""Holds the guard table (see `policy.guard`) for as long as the director lives.

The kernel gives an owned table to a netlink socket, and removes it with that socket. `nft -i` is a process that keeps its socket
and takes commands one after the other; it ends when the director's end of its pipe is closed, also by a crash, and the table goes
with it. It was chosen over libnftables in the director's own process, where an error of the library would end the appliance.
"""

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from appliance.edge import nft
from appliance.edge.errors import EdgeError
from appliance.policy.guard import GUARD_TABLE

_QUESTION = "describe ip daddr\n"
_ANSWER = "payload expression"
"""What `nft` prints for _QUESTION: it has then done all that was asked before."""

_ANSWER_S = 60.0
"""How long `nft` may take for a command; then it is killed. All that changes the rules waits for it."""

_END_GRACE_S = 2.0

_END_LOOKS = 30
_LOOK_PAUSE_S = 0.1
"""How often it is looked, and the pause between two looks, whether the guard of another director has ended: that of one that was
killed ends a moment after it."""


def wait_until_free() -> None:
    """Raises EdgeError when a process goes on holding the guard table."""
    for _ in range(_END_LOOKS):
        if not nft.is_owned(GUARD_TABLE):
            return
        time.sleep(_LOOK_PAUSE_S)
    raise EdgeError(f"another appliance already runs in this network namespace: it holds the table {GUARD_TABLE}")


class Guard:
    """The table, while it is held."""

    def __init__(self) -> None:
        self._nft: subprocess.Popen[str] | None = None

    def hold(self, text: str) -> None:
        """Make the table, or replace it, by nft commands. Raises EdgeError when that is not possible.

        A kernel before 5.12 refuses the flag `owner`.
        """
        with tempfile.NamedTemporaryFile(
            "w", suffix=".nft"
        ) as file:  # the length of a line may be limited, that of a file is not
            file.write(text)
            file.flush()
            said = self._command(f'include "{file.name}"')
        if said:
            raise EdgeError(f"the guard table was refused: {said}")

    def is_held(self) -> bool:
        """Whether the process that owns the table runs."""
        return self._nft is not None and self._nft.poll() is None

    def release(self) -> None:
        """Remove the table, if it is held."""
        if self._nft is None:
            return
        assert self._nft.stdin is not None
        with contextlib.suppress(OSError):
            self._nft.stdin.close()
        try:
            self._nft.wait(_END_GRACE_S)
        except subprocess.TimeoutExpired:
            self._nft.kill()
            self._nft.wait()
        assert self._nft.stdout is not None
        self._nft.stdout.close()
        self._nft = None

    def _command(self, command: str) -> str:
        """Give one command and return what `nft` said to it."""
        if not self.is_held():
            self.release()
            self._nft = _started()
        assert self._nft is not None
        assert self._nft.stdin is not None
        assert self._nft.stdout is not None
        try:
            self._nft.stdin.write(f"{command}\n{_QUESTION}")
            self._nft.stdin.flush()
        except OSError as error:
            raise EdgeError(f"nft -i ended: {error.strerror}") from error
        said: list[str] = []
        deadline = threading.Timer(_ANSWER_S, self._nft.kill)
        deadline.start()
        try:
            for line in self._nft.stdout:
                if line.startswith(_ANSWER):
                    return " ".join(said)
                said.append(line.strip())
        finally:
            deadline.cancel()
        raise EdgeError(f"nft -i ended: {' '.join(said)}")


def _started() -> subprocess.Popen[str]:
    environment = os.environ | {"HOME": str(Path(os.devnull))}  # nft keeps a history of commands in the home directory
    try:
        return subprocess.Popen(
            ["nft", "-i"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,  # a Ctrl-C on the terminal of the director must not end it
        )
    except FileNotFoundError as error:
        raise EdgeError("nft is not installed") from error
