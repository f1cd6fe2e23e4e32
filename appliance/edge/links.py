"""Whether interfaces can carry packets, as the kernel says it."""

from collections.abc import Iterable

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from appliance.edge.errors import EdgeError

_IFF_UP = 1 << 0  # linux/if.h
_IFF_LOWER_UP = 1 << 16

UP, DOWN, NO_CARRIER, MISSING = "up", "down", "without a carrier", "missing"
"""What an interface can be."""


def states(interfaces: Iterable[str]) -> dict[str, str]:
    """UP, DOWN (it is switched off), NO_CARRIER or MISSING, by the name of the interface. Blocks. Raises EdgeError."""
    try:
        with IPRoute() as ipr:
            flags: dict[str, int] = {link.get_attr("IFLA_IFNAME"): link["flags"] for link in ipr.get_links()}
    except (OSError, NetlinkError) as error:  # the latter also when the table changes while it is read
        raise EdgeError(f"cannot ask for interfaces: {error}") from error
    return {name: _state(flags.get(name)) for name in interfaces}


def _state(flags: int | None) -> str:
    if flags is None:
        return MISSING
    if not flags & _IFF_UP:
        return DOWN
    return UP if flags & _IFF_LOWER_UP else NO_CARRIER
