"""What a crashed run left on the host, as the file in the runtime directory says it.

`appliance cleanup` may run as root, and the file belongs to the service's user. So it is opened as if an enemy had written it,
and only what the appliance itself can have written is taken: sysctls of a short list with small numbers, and IPv4 addresses.
"""

import json
import os
import re
import stat
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple

from appliance.config.values import INTERFACE_NAME
from appliance.edge import sysctl
from appliance.edge.errors import EdgeError

_LONGEST_BYTES = 1 << 20
_VALUE = re.compile(r"-?[0-9]{1,20}(?: -?[0-9]{1,20}){0,2}")
_NEEDED_BELOW = "ipv4/"
"""Sysctls that the gateway needs are written as paths below this, as earlier versions did. All others have a list of their own,
which those versions pass over."""


class Leftovers(NamedTuple):
    """What has to be undone."""

    sysctls: list[tuple[str, str]]
    """Path below /proc/sys/net, and the value before."""
    addresses: list[tuple[str, str]]
    """Interface and address."""
    steering: bool
    """Whether a ruleset was loaded."""


def read_leftovers(file: Path) -> Leftovers | None:
    """What the file says; None when there is none. Raises EdgeError when it is damaged, or is not what the appliance writes."""
    try:
        text = read_own(file, _LONGEST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EdgeError(f"{file}: cannot be read: {error.strerror}; undo by hand and remove it") from error
    try:
        left = json.loads(text)
        return Leftovers(
            [
                *(_sysctl(path, value, _NEEDED_BELOW) for path, value in left["sysctls"]),
                *(_sysctl(path, value) for path, value in left.get("parameters", [])),
            ],
            [_address(*pair) for pair in left["addresses"]],
            bool(left["ruleset"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EdgeError(f"{file}: damaged ({str(error)[:200]!r}); undo by hand and remove it") from error


def as_text(left: Leftovers) -> str:
    """What `read_leftovers` reads."""
    needed = [(path.removeprefix(_NEEDED_BELOW), value) for path, value in left.sysctls if sysctl.is_needed(path)]
    parameters = [(path, value) for path, value in left.sysctls if not sysctl.is_needed(path)]
    return json.dumps({"sysctls": needed, "parameters": parameters, "addresses": left.addresses, "ruleset": left.steering})


def read_own(file: Path, longest_bytes: int) -> str:
    """The text of a file of ours. Raises OSError when it is a link, not a regular file, or belongs to somebody else."""
    fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as stream:
        check_own(os.fstat(fd), file)
        data = stream.read(longest_bytes + 1)
    if len(data) > longest_bytes:
        raise OSError(0, f"it is longer than {longest_bytes} bytes")
    return data.decode(errors="replace")


def check_own(status: os.stat_result, file: Path) -> None:
    """Raises OSError for a file that is not regular, has a second name, or belongs to others than root, this user, and the owner
    of its directory."""
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise OSError(0, "it is not a regular file with one name")
    owners = {0, os.geteuid(), file.parent.stat().st_uid}
    if status.st_uid not in owners or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OSError(0, "others than root and the service can write to it")


def _sysctl(path: Any, value: Any, below: str = "") -> tuple[str, str]:
    if not isinstance(path, str) or not sysctl.is_ours(below + path):
        raise ValueError(f"{path!r} is no sysctl of the appliance")
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise ValueError(f"{value!r} is no value of a sysctl")
    return below + path, value


def _address(interface: Any, address: Any) -> tuple[str, str]:
    if not isinstance(interface, str) or not INTERFACE_NAME.fullmatch(interface):
        raise ValueError(f"{interface!r} is no interface")
    if not isinstance(address, str):
        raise ValueError(f"{address!r} is no address")
    return interface, str(IPv4Address(address))
