"""What a unit file of systemd says about the life of its service. Pure.

Only the keys are read that `faults.unit` obeys; see systemd.service(5) for what they mean.
"""

import shlex
from collections.abc import Sequence
from typing import NamedTuple, Self

_PREFIXES = "-:+!"
"""They say with which rights a command runs, what is replaced in it, and whether its failure matters. `faults.unit` is root."""


class UnitFileError(ValueError):
    """A unit file that says something `faults.unit` cannot do."""


class UnitFile(NamedTuple):
    """One service. Times are in seconds."""

    start: tuple[str, ...]
    start_pre: tuple[tuple[str, ...], ...]
    stop_post: tuple[tuple[str, ...], ...]
    restart_s: float
    stop_s: float
    no_restart_codes: frozenset[int]
    runtime_directories: tuple[str, ...]
    """Below /run, at least one; the first has the files of the service."""
    keeps_runtime_directories: bool
    """Whether they outlive a restart."""
    most_files: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a unit file. Raises UnitFileError for what cannot be obeyed."""
        found: dict[str, list[str]] = {}
        for line in text.replace("\\\n", " ").splitlines():
            key, sign, value = line.partition("=")
            if sign and not line.startswith(("#", ";")):
                found.setdefault(key.strip(), []).append(value.strip())

        def last(key: str, default: str = "") -> str:
            return found.get(key, [default])[-1]

        if last("KillMode") != "mixed" or last("Restart") != "on-failure":
            raise UnitFileError("only KillMode=mixed and Restart=on-failure are understood")
        (start,) = _commands(found.get("ExecStart", []))
        return cls(
            start=start,
            start_pre=_commands(found.get("ExecStartPre", [])),
            stop_post=_commands(found.get("ExecStopPost", [])),
            restart_s=float(last("RestartSec", "0.1")),
            stop_s=float(last("TimeoutStopSec", "90")),
            no_restart_codes=frozenset(int(code) for code in last("RestartPreventExitStatus").split()),
            runtime_directories=tuple(last("RuntimeDirectory").split()),
            keeps_runtime_directories=last("RuntimeDirectoryPreserve", "no") in ("restart", "yes"),
            most_files=int(last("LimitNOFILE", "1024")),
        )


def _commands(lines: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    commands = tuple(tuple(shlex.split(line.lstrip(_PREFIXES))) for line in lines)
    for command in commands:
        if not command or not command[0].startswith("/"):
            raise UnitFileError(f"{' '.join(command)!r}: a command begins with a path")
    return commands


def replaced(command: Sequence[str], program: Sequence[str], config: str) -> tuple[str, ...]:
    """The command with another program in the place of the installed one, and another configuration file."""
    name = command[0].rpartition("/")[2]
    if name != "appliance":
        raise UnitFileError(f"{command[0]}: only the appliance itself is understood")
    return (*program, *(config if word == "/etc/appliance/lvs.toml" else word for word in command[1:]))
