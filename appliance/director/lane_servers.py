"""What the lane has to know of real servers, from the plans of their services."""

from collections.abc import Callable, Iterable, Set

from appliance.ipc.lane_layout import RealServerFlags
from appliance.ipc.plan import ServicePlan


def real_servers(services: Iterable[ServicePlan], mtu: Callable[[int], int], left: Set[int]) -> dict[int, tuple[int, int]]:
    """MTU and flags by slot. The kernel does the same for a real server whose sessions leave it as for one that was removed."""
    return {
        real_server.slot: (mtu(real_server.slot), _flags_of(service) | RealServerFlags.IS_REMOVED * (real_server.slot in left))
        for service in services
        for real_server in service.real_servers
    }


def _flags_of(service: ServicePlan) -> int:
    cookies = RealServerFlags.ASKS_FOR_COOKIES if service.synproxy != "never" else 0
    return cookies | (0 if service.lane else RealServerFlags.NO_LANE)
