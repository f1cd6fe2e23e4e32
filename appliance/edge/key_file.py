"""Files that hold keys: opened without waiting, bounded in size, and refused when others could read or replace their content."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from appliance.edge.errors import EdgeError
from appliance.edge.trusted_file import reason_against


@contextmanager
def opened(path: str, most_bytes: int, *, is_secret: bool, may_be_link: bool) -> Iterator[int]:
    """A descriptor of a regular file, for the block. It is never a FIFO or a device, which could keep the reader waiting.

    The checks look at the open file, so nobody can exchange it in between. Raises EdgeError with the reason when it cannot be
    opened, is longer than `most_bytes`, is a symbolic link and may not be one, or belongs to somebody who is neither root nor
    the user of this process; when a stranger may change it; and, if `is_secret`, when a stranger may read it.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if may_be_link else os.O_NOFOLLOW)
    try:
        if not may_be_link and os.path.islink(path):
            raise EdgeError("it is a symbolic link")
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise EdgeError(f"it cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    try:
        if reason := _reason_against(os.fstat(descriptor), most_bytes, is_secret=is_secret):
            raise EdgeError(reason)
        yield descriptor
    finally:
        os.close(descriptor)


def read(path: str, most_bytes: int, *, is_secret: bool, may_be_link: bool) -> str:
    """The text of such a file. Raises EdgeError as `opened` does, and when it is not UTF-8."""
    with opened(path, most_bytes, is_secret=is_secret, may_be_link=may_be_link) as descriptor:
        try:
            return os.read(descriptor, most_bytes).decode()
        except OSError as error:
            raise EdgeError(f"it cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise EdgeError("it is not UTF-8 text") from error


def _reason_against(status: os.stat_result, most_bytes: int, *, is_secret: bool) -> str:
    """Why a file is not used; empty when it may be."""
    mode = stat.S_IMODE(status.st_mode)
    if reason := reason_against(status):
        return reason
    if status.st_size > most_bytes:
        return f"it is longer than {most_bytes} bytes"
    if is_secret and mode & stat.S_IROTH:
        return f"every user may read it (mode {mode:04o}); chmod o-rwx"
    return ""
