"""What the unit files of systemd say about the life of the service. Pure.

Only the keys are read that `faults.unit` obeys; see systemd.service(5) for what they mean.
"""

import shlex
import signal
from collections.abc import Sequence
from typing import NamedTuple, Self

_PREFIXES = "-:+!"
"""They say with which rights a command runs, what is replaced in it, and whether its failure matters. `faults.unit` is root."""


class UnitFileError(ValueError):
    """A unit file that says something `faults.unit` cannot do."""


class UnitFile(NamedTuple):
    """The unit of the processes. Times are in seconds."""

    start: tuple[str, ...]
    restart_s: float
    stop_s: float
    stop_signal: signal.Signals
    restart_signal: signal.Signals
    """What the main process gets when another one is to follow."""
    runtime_directories: tuple[str, ...]
    """Below /run, at least one; the first has the files of the service."""
    most_files: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a unit file. Raises UnitFileError for what cannot be obeyed."""
        found = _keys(text)

        def last(key: str, default: str = "") -> str:
            return found.get(key, [default])[-1]

        for key, value in _UNDERSTOOD.items():
            if last(key) != value:
                raise UnitFileError(f"only {key}={value} is understood")
        if more := _NOT_UNDERSTOOD & set(found):
            raise UnitFileError(f"{', '.join(sorted(more))}: not understood")
        (start,) = _commands(found.get("ExecStart", []))
        stop_signal = _signal(last("KillSignal", "SIGTERM"))
        return cls(
            start=start,
            restart_s=float(last("RestartSec", "0.1")),
            stop_s=float(last("TimeoutStopSec", "90")),
            stop_signal=stop_signal,
            restart_signal=_signal(last("RestartKillSignal", stop_signal.name)),
            runtime_directories=tuple(last("RuntimeDirectory").split()),
            most_files=int(last("LimitNOFILE", "1024")),
        )


_UNDERSTOOD = {"KillMode": "mixed", "Restart": "on-failure", "RuntimeDirectoryPreserve": "yes"}
_NOT_UNDERSTOOD = {"ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost", "RestartPreventExitStatus"}


class DataPlaneFile(NamedTuple):
    """The unit of what is set up in the kernel. It does something when it begins and when it ends; it has no process."""

    start: tuple[tuple[str, ...], ...]
    stop: tuple[tuple[str, ...], ...]
    stop_s: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a unit file. Raises UnitFileError for what cannot be obeyed."""
        found = _keys(text)
        if found.get("Type") != ["oneshot"] or found.get("RemainAfterExit") != ["yes"]:
            raise UnitFileError("only Type=oneshot and RemainAfterExit=yes are understood")
        return cls(
            start=_commands(found.get("ExecStart", [])),
            stop=_commands([*found.get("ExecStop", []), *found.get("ExecStopPost", [])]),
            stop_s=float(found.get("TimeoutStopSec", ["90"])[-1]),
        )


def _keys(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        key, sign, value = line.partition("=")
        if sign and not line.startswith(("#", ";")):
            found.setdefault(key.strip(), []).append(value.strip())
    return found


def _signal(name: str) -> signal.Signals:
    try:
        return signal.Signals[name]
    except KeyError:
        raise UnitFileError(f"{name}: no such signal") from None


def _commands(lines: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    commands = tuple(tuple(shlex.split(line.lstrip(_PREFIXES))) for line in lines)
    for command in commands:
        if not command or not command[0].startswith("/"):
            raise UnitFileError(f"{' '.join(command)!r}: a command begins with a path")
    return commands


_HOST_MOUNTS = ("/usr/bin/nsenter", "--mount=/proc/1/ns/mnt", "--")
"""The files of the host, which are those of `faults.unit` in the lab."""

_OWNER = "appliance:appliance"
"""The user of the service, who has no name in the lab."""


def replaced(command: Sequence[str], program: Sequence[str], config: str) -> tuple[str, ...]:
    """The command with another program in the place of the installed one, and another configuration file.

    A command on the files of the host is run on those of the caller, with root as their owner. Raises UnitFileError for another.
    """
    if tuple(command[: len(_HOST_MOUNTS)]) == _HOST_MOUNTS:
        return tuple(word.replace(_OWNER, "root:root") for word in command[len(_HOST_MOUNTS) :])
    if command[0].rpartition("/")[2] != "appliance":
        raise UnitFileError(f"{command[0]}: only the appliance itself, and commands on the files of the host, are understood")
    return (*program, *(config if word == "/etc/appliance/lvs.toml" else word for word in command[1:]))
