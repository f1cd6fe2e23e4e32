"""A memory cgroup for one process, of whichever version this machine has the memory controller in."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_PREFIX = "appliance-faults-"


class Hierarchy(NamedTuple):
    """Where the memory controller is, and the names of its files: the limit, how much is in use, the count of OOM kills."""

    root: Path
    limit: str
    used: str
    events: str


_V1 = Hierarchy(Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control")
_V2 = Hierarchy(Path("/sys/fs/cgroup"), "memory.max", "memory.current", "memory.events")


def hierarchy() -> Hierarchy | None:
    """That of this machine; None when there is none that can be used."""
    if (_V1.root / _V1.limit).exists():
        return _V1
    with suppress(OSError):
        if "memory" in (_V2.root / "cgroup.subtree_control").read_text().split():
            return _V2
    return None


class MemoryGroup:
    """A cgroup that exists."""

    def __init__(self, found: Hierarchy, directory: Path) -> None:
        self._found, self.directory = found, directory

    def take(self, pid: int) -> None:
        """Move a process in. What it uses already stays on the account of its old group."""
        (self.directory / "cgroup.procs").write_text(str(pid))

    def limit(self, more_bytes: int) -> None:
        """From now on, its processes may use so much more than now."""
        used = int((self.directory / self._found.used).read_text())
        (self.directory / self._found.limit).write_text(str(used + more_bytes))

    def kills(self) -> int:
        """How often the OOM killer came."""
        lines = (self.directory / self._found.events).read_text().splitlines()
        return sum(int(value) for key, value in map(str.split, lines) if key == "oom_kill")


@contextmanager
def memory_group(found: Hierarchy) -> Iterator[MemoryGroup]:
    """A new group; afterwards it is gone, and the processes in it are back in the root."""
    _remove_leftovers(found)
    directory = found.root / f"{_PREFIX}{os.getpid()}"
    directory.mkdir()
    try:
        yield MemoryGroup(found, directory)
    finally:
        _remove(found, directory)


def _remove(found: Hierarchy, directory: Path) -> None:
    for pid in (directory / "cgroup.procs").read_text().split():
        with suppress(OSError):  # it may have ended
            (found.root / "cgroup.procs").write_text(pid)
    directory.rmdir()


def _remove_leftovers(found: Hierarchy) -> None:
    for directory in found.root.glob(f"{_PREFIX}*"):
        if not Path("/proc", directory.name.removeprefix(_PREFIX)).exists():
            with suppress(OSError):
                _remove(found, directory)
