"""The name of a lab: the pid and the start time of its owner, so that every process can tell whether the owner is alive.

A pid alone would not do: the kernel may give it to another process while the lab is kept.
"""

import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple, Self

REAL_SERVERS = ("rs1", "rs2")
ROLES = ("client", "gateway", *REAL_SERVERS)

_NAME = re.compile(r"lab-(\d+)-(\d+)")
_DIRECTORY_PREFIX = "appliance-"


class LabName(NamedTuple):
    """The name of one lab. `owner_start` is in clock ticks since the machine booted."""

    owner_pid: int
    owner_start: int

    def __str__(self) -> str:
        return f"lab-{self.owner_pid}-{self.owner_start}"

    @classmethod
    def of_this_process(cls) -> Self:
        """The name of the lab of this process; a process has at most one."""
        pid = os.getpid()
        return cls(pid, int(_stat_fields(pid)[_START]))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The name that `text` spells; None when it is not the name of a lab."""
        match = _NAME.fullmatch(text)
        return cls(int(match[1]), int(match[2])) if match else None

    def namespace(self, role: str) -> str:
        """The name of the network namespace of one of ROLES, for `ip netns`."""
        return f"{self}-{role}"

    @property
    def directory(self) -> Path:
        """The directory for the lab's logs, its copy of the configuration and its marks."""
        return Path(tempfile.gettempdir()) / f"{_DIRECTORY_PREFIX}{self}"

    @property
    def kept_mark(self) -> Path:
        """The file whose existence says that the lab stays after its owner has ended."""
        return self.directory / "kept"

    def owner_is_alive(self) -> bool:
        """Whether the process that created the lab still runs; a zombie does not run."""
        try:
            fields = _stat_fields(self.owner_pid)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return fields[_STATE] not in "ZX" and int(fields[_START]) == self.owner_start


def labs_on_disk() -> list[LabName]:
    """Every lab of this user that has a directory on this machine, in any state."""
    root = Path(tempfile.gettempdir())
    found = []
    for directory in root.glob(f"{_DIRECTORY_PREFIX}lab-*"):
        name = LabName.parse(directory.name.removeprefix(_DIRECTORY_PREFIX))
        # Every user may write into the temporary directory: a symbolic link, or a directory of another user, is not a lab.
        if name and not directory.is_symlink() and directory.is_dir() and directory.stat().st_uid == os.geteuid():
            found.append(name)
    return found


_STATE, _START = 0, 19  # positions after the command name in /proc/PID/stat; proc(5) counts them as 3 and 22


def _stat_fields(pid: int) -> list[str]:
    # The command name may contain blanks and brackets; the last bracket ends it.
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
