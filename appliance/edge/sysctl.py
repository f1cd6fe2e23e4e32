"""Sets the sysctls of the kernel that rewritten packets need to be forwarded, and puts the old values back.

- `ip_forward`: the rewritten packet is routed to the other side.
- `accept_local`: a rewritten packet has an address of the gateway as its source, which the kernel refuses without this.
- `rp_filter`: for the same reason there must be no strict reverse-path check. Loose (2) is enough; the larger of the values of
  `all` and of the interface counts.
- `send_redirects`: with clients and servers on one network the kernel would tell them to go past the gateway. It is on when the
  value of `all` or of the interface is.
"""

import re
from pathlib import Path
from typing import NamedTuple

from appliance.edge.errors import EdgeError

_IPV4 = Path("/proc/sys/net/ipv4")

_STRICT = "1"
_LOOSE = "2"


class Change(NamedTuple):
    """One sysctl: its path below /proc/sys/net/ipv4, its value before and after."""

    path: str
    before: str
    after: str

    @property
    def name(self) -> str:
        """The name as the command `sysctl` writes it."""
        return "net.ipv4." + self.path.replace("/", ".")


def needed_changes(interfaces: list[str]) -> list[Change]:
    """The changes that traffic between these interfaces needs, without sysctls that have the right value already.

    `ip_forward` comes first, because the kernel resets other sysctls when it is written. Raises EdgeError for an interface that
    does not exist.
    """
    wanted = [("ip_forward", "1"), ("conf/all/send_redirects", "0")]
    for interface in dict.fromkeys(interfaces):
        wanted += [(f"conf/{interface}/accept_local", "1"), (f"conf/{interface}/send_redirects", "0")]
        if _STRICT in (read("conf/all/rp_filter"), read(f"conf/{interface}/rp_filter")):
            wanted.append((f"conf/{interface}/rp_filter", _LOOSE))
    return [Change(path, before, after) for path, after in wanted if (before := read(path)) != after]


_OURS = re.compile(r"ip_forward|conf/(?!\.\.?/)[^/\0]{1,15}/(?:accept_local|send_redirects|rp_filter)")


def is_ours(path: str) -> bool:
    """Whether the appliance ever writes to this path below /proc/sys/net/ipv4."""
    return _OURS.fullmatch(path) is not None


def read(path: str) -> str:
    """The value in force. Raises EdgeError when the sysctl, or the interface in its path, does not exist."""
    try:
        return (_IPV4 / path).read_text().strip()
    except OSError as error:
        raise EdgeError(f"cannot read net.ipv4.{path.replace('/', '.')}: {error.strerror}") from error


def write(path: str, value: str) -> None:
    """Set a value. Raises EdgeError when the kernel refuses it, and for any other path than those above: this may run as root."""
    if not is_ours(path):
        raise EdgeError(f"{path[:80]!r} is no sysctl of the appliance")
    try:
        (_IPV4 / path).write_text(value)
    except OSError as error:
        raise EdgeError(f"cannot set net.ipv4.{path.replace('/', '.')} to {value}: {error.strerror}") from error
