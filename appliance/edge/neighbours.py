"""Hosts of the attached networks that do not say where they are (ARP)."""

import socket

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from appliance.edge.errors import EdgeError

_NUD_FAILED = 0x20  # linux/neighbour.h


def failed() -> set[str]:
    """The IPv4 addresses that the kernel has asked for in vain and has not found since. Blocks. Raises EdgeError."""
    try:
        with IPRoute() as ipr:
            entries = list(ipr.get_neighbours(family=socket.AF_INET))
    except (OSError, NetlinkError) as error:  # the latter also when the table changes while it is read
        raise EdgeError(f"cannot ask for neighbours: {error}") from error
    return {entry.get_attr("NDA_DST") for entry in entries if entry["state"] & _NUD_FAILED}
