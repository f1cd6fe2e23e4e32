"""Files with a prefix a line, for access lists: bounded, and refused when they change while they are read."""

import os
import stat
from typing import NamedTuple

from appliance.edge.errors import EdgeError
from appliance.edge.key_file import opened

LONGEST_BYTES = 32 << 20
"""A million prefixes and more have room in it."""


class ListFile(NamedTuple):
    """What was read."""

    text: str
    is_public: bool
    """Whether every user may read it: lines of one that is not are not repeated in errors, which others may see."""


def read(path: str) -> ListFile:
    """The text of a file. Raises EdgeError with the reason when it cannot be used.

    It may be a symbolic link, to a regular file that belongs to root or to the user of this process, and that no other user may
    change.
    """
    with opened(path, LONGEST_BYTES, is_secret=False, may_be_link=True) as descriptor:
        before = os.fstat(descriptor)
        try:
            data = _whole(descriptor)
        except OSError as error:
            raise EdgeError(f"it cannot be read: {error.strerror}") from error
        after = os.fstat(descriptor)
    if len(data) != after.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise EdgeError("it has changed while it was read; write another file and rename it to this one")
    try:
        return ListFile(data.decode("utf-8-sig"), bool(after.st_mode & stat.S_IROTH))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise EdgeError(f"line {line} is not UTF-8 text") from error


def _whole(descriptor: int) -> bytes:
    """All that is there, up to a byte more than is allowed."""
    data = bytearray()
    while len(data) <= LONGEST_BYTES and (piece := os.read(descriptor, LONGEST_BYTES + 1 - len(data))):
        data += piece
    return bytes(data)
