"""What a lab is called: the owner's pid and start time, so that anybody can tell whether its owner still lives.

A pid alone would do until the kernel gives it to somebody else, which a lab that is kept for a day will live to see.
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
        """The name of the one lab this process may own."""
        pid = os.getpid()
        return cls(pid, int(_stat_fields(pid)[_START]))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a name back; None when it is not the name of a lab."""
        match = _NAME.fullmatch(text)
        return cls(int(match[1]), int(match[2])) if match else None

    def namespace(self, role: str) -> str:
        """The network namespace of one of ROLES, as `ip netns` knows it."""
        return f"{self}-{role}"

    @property
    def directory(self) -> Path:
        """Where the lab keeps its logs, its copy of the configuration and its marks."""
        return Path(tempfile.gettempdir()) / f"{_DIRECTORY_PREFIX}{self}"

    @property
    def kept_mark(self) -> Path:
        """The file that says: this lab is to outlive its owner."""
        return self.directory / "kept"

    def owner_is_alive(self) -> bool:
        """Whether the process that made the lab still runs; a zombie does not."""
        try:
            fields = _stat_fields(self.owner_pid)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return fields[_STATE] not in "ZX" and int(fields[_START]) == self.owner_start


def labs_on_disk() -> list[LabName]:
    """Every lab that has a directory here, made by this user, whatever its state."""
    root = Path(tempfile.gettempdir())
    found = []
    for directory in root.glob(f"{_DIRECTORY_PREFIX}lab-*"):
        name = LabName.parse(directory.name.removeprefix(_DIRECTORY_PREFIX))
        # Anybody may write into the temp directory: what another user put there, a link above all, is not a lab.
        if name and not directory.is_symlink() and directory.is_dir() and directory.stat().st_uid == os.geteuid():
            found.append(name)
    return found


_STATE, _START = 0, 19  # positions after the command name in /proc/PID/stat; proc(5) counts them as 3 and 22


def _stat_fields(pid: int) -> list[str]:
    # The command name may hold blanks and brackets; the last bracket ends it.
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
