"""The kernel settings without which rewritten packets would not be forwarded, set and put back.

- `ip_forward`: the rewritten packet is routed to the other side.
- `accept_local`: it then carries one of our own addresses as its source, which the kernel otherwise refuses.
- `rp_filter`: for the same reason strict reverse-path checks must not apply; loose (2) is enough, and the larger of `all` and
  the interface's own value counts.
- `send_redirects`: with clients and servers on one network the kernel would tell them to bypass the gateway; either of `all`
  and the interface's own value switches it on.
"""

from pathlib import Path
from typing import NamedTuple

from appliance.edge.errors import EdgeError

_IPV4 = Path("/proc/sys/net/ipv4")

_STRICT = "1"
_LOOSE = "2"


class Change(NamedTuple):
    """One setting: its path below /proc/sys/net/ipv4, its value before and after."""

    path: str
    before: str
    after: str

    @property
    def name(self) -> str:
        """As `sysctl` writes it."""
        return "net.ipv4." + self.path.replace("/", ".")


def needed_changes(interfaces: list[str]) -> list[Change]:
    """What must change for traffic between these interfaces; settings that are right already are not in it.

    `ip_forward` comes first, because the kernel resets other settings when it is written.
    """
    wanted = [("ip_forward", "1"), ("conf/all/send_redirects", "0")]
    for interface in dict.fromkeys(interfaces):
        wanted += [(f"conf/{interface}/accept_local", "1"), (f"conf/{interface}/send_redirects", "0")]
        if _STRICT in (read("conf/all/rp_filter"), read(f"conf/{interface}/rp_filter")):
            wanted.append((f"conf/{interface}/rp_filter", _LOOSE))
    return [Change(path, before, after) for path, after in wanted if (before := read(path)) != after]


def read(path: str) -> str:
    """The value in force. Raises EdgeError for a setting, hence an interface, that does not exist."""
    try:
        return (_IPV4 / path).read_text().strip()
    except OSError as error:
        raise EdgeError(f"cannot read net.ipv4.{path.replace('/', '.')}: {error.strerror}") from error


def write(path: str, value: str) -> None:
    """Raises EdgeError when the kernel does not take the value."""
    try:
        (_IPV4 / path).write_text(value)
    except OSError as error:
        raise EdgeError(f"cannot set net.ipv4.{path.replace('/', '.')} to {value}: {error.strerror}") from error
