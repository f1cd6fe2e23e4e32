"""Reads and writes the parameters of the kernel (sysctls), and knows which of them rewritten packets need to be forwarded:

- `ip_forward`: the rewritten packet is routed to the other side.
- `accept_local`: a rewritten packet has an address of the gateway as its source, which the kernel refuses without this.
- `rp_filter`: for the same reason there must be no strict reverse-path check. Loose (2) is enough; the larger of the values of
  `all` and of the interface counts.
- `send_redirects`: with clients and servers on one network the kernel would tell them to go past the gateway. It is on when the
  value of `all` or of the interface is.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from appliance.edge.errors import EdgeError
from appliance.model.host_parameter import HostParameter, sysctl_name
from appliance.model.host_parameters import HOST_PARAMETERS

NET = Path("/proc/sys/net")

_STRICT = "1"
_LOOSE = "2"


class Change(NamedTuple):
    """One sysctl: its path below /proc/sys/net, its value before and after."""

    path: str
    before: str
    after: str

    @property
    def name(self) -> str:
        """The name as the command `sysctl` writes it."""
        return sysctl_name(self.path)


def needed_changes(interfaces: list[str]) -> list[Change]:
    """The changes that traffic between these interfaces needs, without sysctls that have the right value already.

    `ip_forward` comes first, because the kernel resets other sysctls when it is written. Raises EdgeError for an interface that
    does not exist.
    """
    wanted = [("ipv4/ip_forward", "1"), ("ipv4/conf/all/send_redirects", "0")]
    for interface in dict.fromkeys(interfaces):
        of_interface = f"ipv4/conf/{interface}"
        wanted += [(f"{of_interface}/accept_local", "1"), (f"{of_interface}/send_redirects", "0")]
        if _STRICT in (read("ipv4/conf/all/rp_filter"), read(f"{of_interface}/rp_filter")):
            wanted.append((f"{of_interface}/rp_filter", _LOOSE))
    return [Change(path, before, after) for path, after in wanted if (before := read(path)) != after]


_INTERFACE = r"(?!\.\.?/)[^/\0]{1,15}"


def _paths_of(parameters: Iterable[HostParameter]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(parameter.path).replace(r"\*", _INTERFACE) for parameter in parameters))


_OURS = _paths_of(parameter for parameter in HOST_PARAMETERS.values() if not parameter.refused)
_NEEDED = _paths_of(parameter for parameter in HOST_PARAMETERS.values() if parameter.needed)


def is_ours(path: str) -> bool:
    """Whether the appliance ever writes to this path below /proc/sys/net."""
    return _OURS.fullmatch(path) is not None


def is_needed(path: str) -> bool:
    """Whether the gateway needs a value of its own there."""
    return _NEEDED.fullmatch(path) is not None


def read(path: str) -> str:
    """The value in force. Raises EdgeError when the sysctl, or the interface in its path, does not exist."""
    try:
        return (NET / path).read_text().strip()
    except OSError as error:
        raise EdgeError(f"cannot read {sysctl_name(path)}: {error.strerror}") from error


def write(path: str, value: str) -> None:
    """Set a value, all its numbers in one step. Raises EdgeError when the kernel refuses it, and for any other path than those of
    `model.host_parameters`: this may run as root."""
    if not is_ours(path):
        raise EdgeError(f"{path[:80]!r} is no sysctl of the appliance")
    try:
        (NET / path).write_text(value)
    except OSError as error:
        raise EdgeError(f"cannot set {sysctl_name(path)} to {value}: {error.strerror}") from error
