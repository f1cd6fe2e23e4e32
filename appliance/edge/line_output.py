"""Where lines of a log go: a file that is renamed when it is long, or the standard error. Neither keeps its writer waiting for a
reader, and what cannot be written is said to whoever wrote it.

The renaming is that of Python's RotatingFileHandler. That opens files by their names alone, though, and writes through a buffer,
which keeps what a full disk did not take: so both are done here.
"""

import errno
import os
import select
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from typing import NamedTuple, Protocol

from appliance.edge.errors import EdgeError
from appliance.edge.trusted_file import reason_against

_MODE = 0o640

LONGEST_LINE_BYTES = 4096
"""A pipe that can be written to at all takes so many at once (pipe(7), PIPE_BUF)."""


class Written(NamedTuple):
    """What became of some lines."""

    lines: int
    """How many are written, the first ones."""
    problem: str
    """Why not all are; empty when they are."""


class LineOutput(Protocol):
    """Takes lines. Each is bytes of at most LONGEST_LINE_BYTES, with its end."""

    def write(self, lines: Sequence[bytes]) -> Written:
        """Write these lines, each as a whole or not at all."""

    def close(self) -> None:
        """Give up what is open."""


class StandardError:
    """The standard error of this process."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stderr.fileno() if descriptor is None else descriptor

    def write(self, lines: Sequence[bytes]) -> Written:
        """As LineOutput. Lines for which there is no room at this moment are not written: the director must not wait."""
        written = 0
        try:
            ready = select.poll()
            ready.register(self._descriptor, select.POLLOUT)
            for line in lines:
                if not ready.poll(0):
                    return Written(written, "nobody reads the standard error")
                if os.write(self._descriptor, line) < len(line):
                    return Written(written, "the standard error took a part of a line")
                written += 1
        except OSError as error:
            return Written(written, f"the standard error cannot be written: {error.strerror}")
        return Written(written, "")

    def close(self) -> None:
        """It is not ours."""


class RotatedFile:
    """A file, and the older ones behind it: `path`.1 is the newest of them."""

    def __init__(self, path: str, max_bytes: int, older: int) -> None:
        """`older` is how many older files are kept. Raises EdgeError when the file cannot be opened, or is none to write to."""
        self._path, self._max_bytes = path, max_bytes
        self._names = RotatingFileHandler(path, maxBytes=max_bytes, backupCount=older, delay=True)
        self._descriptor: int | None = None
        self._made_ready()

    def write(self, lines: Sequence[bytes]) -> Written:
        """As LineOutput."""
        written = 0
        try:
            descriptor, size = self._made_ready()
            for line in lines:
                if size and size + len(line) > self._max_bytes:
                    self.close()
                    self._names.doRollover()
                    descriptor, size = self._made_ready()
                _append(descriptor, line, size)
                size += len(line)
                written += 1
        except EdgeError as error:
            return Written(written, str(error))
        except OSError as error:
            return Written(written, f"{self._path}: {error.strerror}")
        return Written(written, "")

    def _made_ready(self) -> tuple[int, int]:
        """The descriptor of the file that has the name at this moment, and the size of that file. Somebody may have renamed it,
        removed it or made it shorter. Raises EdgeError."""
        if self._descriptor is not None:
            with suppress(OSError):
                now, named = os.fstat(self._descriptor), os.stat(self._path, follow_symlinks=False)
                if (named.st_dev, named.st_ino) == (now.st_dev, now.st_ino):
                    return self._descriptor, now.st_size
            self.close()
        self._descriptor = _opened(self._path)
        return self._descriptor, os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Close the file. The next line opens it again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


def _append(descriptor: int, line: bytes, size: int) -> None:
    """Raises OSError, and leaves the file as it was, when the disk does not take the whole line."""
    if os.write(descriptor, line) < len(line):
        os.ftruncate(descriptor, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _opened(path: str) -> int:
    """A descriptor that appends to a regular file, which is made if it is not there. Raises EdgeError.

    The checks look at the open file, so nobody can exchange it in between; and nothing is written before them.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        if os.stat(os.path.dirname(path)).st_mode & stat.S_IWOTH:
            raise EdgeError(f"{path}: everybody may write to its directory")
        descriptor = os.open(path, flags, _MODE)
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else f"it cannot be opened: {error.strerror}"
        raise EdgeError(f"{path}: {reason}") from error
    try:
        reason = _reason_against(os.fstat(descriptor))
    except OSError as error:
        reason = f"it cannot be looked at: {error.strerror}"
    if reason:
        os.close(descriptor)
        raise EdgeError(f"{path}: {reason}")
    return descriptor


def _reason_against(status: os.stat_result) -> str:
    """Why a file is not written to; empty when it may be."""
    return reason_against(status) or ("it has another name as well (a hard link)" if status.st_nlink != 1 else "")
