"""The job of the guest: a command, its variables and its directory, as small scripts for the shell of the guest."""

import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CANNOT_START = 126


@dataclass(frozen=True, slots=True)
class Job:
    """One command. `token` marks the end of its output, so nobody must be able to guess it."""

    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    writable: tuple[Path, ...] = ()
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    def script(self) -> str:
        """The command as a script for the guest's own /bin/sh (not busybox, which prefers its applets to programs)."""
        lines = [f"export {name}={shlex.quote(value)}" for name, value in self.environment.items()]
        lines.append(f"cd -- {shlex.quote(str(self.directory))} || exit {CANNOT_START}")
        lines.append(f"exec {shlex.join(self.command)}")
        return "\n".join(lines) + "\n"
