"""The route to each real server, as the kernel has it at this moment: its MTU, and who is next on the way.

The kernel answers as it would for a packet, so the MTU that it has learnt for a path counts. It does not announce when it learns
or forgets an MTU, so a subscription to changes of routes and links is not enough: the kernel has to be asked again and again.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from appliance.edge.errors import EdgeError


class Route(NamedTuple):
    """The way to one address."""

    mtu: int
    """In bytes; 0 where there is no route."""
    next_hop: str
    """The address of the neighbour that gets the packets: a router's, or the address itself. Empty where there is no route."""


NO_ROUTE = Route(0, "")


def look(addresses: Iterable[str]) -> dict[str, Route]:
    """The route to each IPv4 address.

    Blocks, for about a third of a millisecond per address. Raises EdgeError when the kernel cannot be asked at all.
    """
    interface_mtus: dict[int, int] = {}
    try:
        with IPRoute() as ipr:
            return {address: _route(ipr, address, interface_mtus) for address in addresses}
    except OSError as error:
        raise EdgeError(f"cannot ask for routes: {error.strerror}") from error


def _route(ipr: IPRoute, address: str, interface_mtus: dict[int, int]) -> Route:
    try:
        route = ipr.route("get", dst=address)[0]
        next_hop: str = route.get_attr("RTA_GATEWAY") or address
        # The MTU of the route itself, or the one learnt for its path, comes before that of the interface, as in forwarding.
        of_route: int | None = route.get_nested("RTA_METRICS", "RTAX_MTU")
        if of_route is not None:
            return Route(of_route, next_hop)
        index: int = route.get_attr("RTA_OIF")
        if index not in interface_mtus:
            interface_mtus[index] = ipr.link("get", index=index)[0].get_attr("IFLA_MTU")
    except NetlinkError:  # unreachable, prohibited, a black hole, or the interface went away in between
        return NO_ROUTE
    return Route(interface_mtus[index], next_hop)
