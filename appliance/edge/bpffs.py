"""The directory on a file system of type bpf in which the lane's maps are pinned, so that they outlive every process.

Where somebody has mounted one already, as the service's unit does, that is used. Otherwise the appliance mounts one of its own,
which takes CAP_SYS_ADMIN. It is not that of the host, /sys/fs/bpf, which belongs to root alone and which `ip netns exec` hides.

What is mounted by a process in a mount namespace of its own (also that of `ip netns exec`) ends with that namespace.
"""

import ctypes
import errno
import os
import shutil
from pathlib import Path

from appliance.edge.errors import EdgeError

_BPF_FS_MAGIC = 0xCAFE4A11  # linux/magic.h
_MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
_SOURCE = b"appliance"
"""What the mount says of where it is from, by which it is known as ours."""


def prepared(root: Path, name: str) -> Path:
    """The directory `name` below `root`, which is or becomes the root of a file system of type bpf. Raises EdgeError."""
    _mount_unless_there(root)
    directory = root / name
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        raise EdgeError(f"cannot make {directory}: {error.strerror}") from error
    if status.st_uid not in (0, os.geteuid(), root.stat().st_uid) or status.st_mode & 0o022:
        raise EdgeError(f"{directory} belongs to others than root and the service")
    return directory


def is_there(root: Path, name: str) -> bool:
    """Whether the directory of `prepared` exists already. Raises EdgeError when nobody may look."""
    try:
        return is_bpffs(root) and (root / name).is_dir()
    except OSError as error:
        raise EdgeError(f"cannot look into {root}: {error.strerror}") from error


def remove(root: Path, name: str) -> None:
    """Remove the directory with all pins in it, and the mount when it is ours and nobody else has anything there.

    Raises EdgeError when something stays.
    """
    try:
        if (root / name).is_dir():
            shutil.rmtree(root / name)
        if _is_ours(root) and not any(path.is_dir() for path in root.iterdir()):  # the kernel puts files of its own there
            if _libc().umount2(bytes(root), 0):
                raise EdgeError(f"cannot unmount {root}: {os.strerror(ctypes.get_errno())}")
            root.rmdir()
    except OSError as error:
        raise EdgeError(f"cannot remove {error.filename or root}: {error.strerror}") from error


def is_bpffs(path: Path) -> bool:
    """Whether it is on a file system of type bpf."""
    buffer = ctypes.create_string_buffer(256)  # struct statfs, which begins with the type of the file system as a long
    if _libc().statfs(bytes(path), buffer):
        return False
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF == _BPF_FS_MAGIC


def _mount_unless_there(root: Path) -> None:
    if is_bpffs(root):
        return
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeError(f"cannot make {root}: {error.strerror}") from error
    if _libc().mount(_SOURCE, bytes(root), b"bpf", _MS_NOSUID_NODEV_NOEXEC, b"mode=0700"):
        number = ctypes.get_errno()
        why = "CAP_SYS_ADMIN is needed, or a mount that is made before" if number == errno.EPERM else os.strerror(number)
        raise EdgeError(f"there is no file system of type bpf at {root}, and none can be mounted: {why}")


def _is_ours(root: Path) -> bool:
    """Whether it is the root of a mount that `prepared` has made."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, more = line.partition(" - ")
        if fields.split()[4] == str(root) and more.split()[:2] == ["bpf", _SOURCE.decode()]:
            return True
    return False


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
