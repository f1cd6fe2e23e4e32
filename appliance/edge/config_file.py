"""The configuration file as a program writes it: in one step, with its rights, and never over what somebody else has changed."""

import contextlib
import os
import secrets
import shutil
import stat
from pathlib import Path

from appliance.edge.errors import EdgeError

BYTE_ORDER_MARK = "\ufeff"


def replace(path: Path, before: str, after: str) -> None:
    """Give the file the text `after`; a reader sees either text, and never a part. Where `path` is a link, it stays, and the file
    behind it is written. Owner, mode and access list stay.

    Raises EdgeError, and changes nothing, when the file has another text than `before`, or cannot be written.
    """
    try:
        file = path.resolve(strict=True)
        was = file.stat()
        data = file.read_bytes()
        text = data.decode(errors="replace")
        if text.removeprefix(BYTE_ORDER_MARK) != before:
            raise EdgeError(f"{path} has been changed meanwhile; it is left alone")
        mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
        _replace(file, was, (mark + after).encode())
    except OSError as error:
        raise EdgeError(f"{path} cannot be written: {error.strerror}") from error


def _replace(file: Path, was: os.stat_result, data: bytes) -> None:
    new = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(data)
            os.fchown(descriptor, was.st_uid, was.st_gid)
            shutil.copystat(file, new)
            os.fchmod(descriptor, stat.S_IMODE(was.st_mode))
            os.utime(descriptor)
            stream.flush()
            os.fsync(descriptor)
        now = file.stat()
        if (now.st_ino, now.st_mtime_ns, now.st_size) != (was.st_ino, was.st_mtime_ns, was.st_size):
            raise EdgeError(f"{file} has been changed meanwhile; it is left alone")
        new.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
