"""What the lane has to know of each real server: the MTU of its route, and what its packets may not do.

It changes with the health of real servers, many times a second when many of thousands go down: only what is new is written.
"""

from collections.abc import Callable, Iterable, Set

from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.lane_layout import RealServerFlags
from appliance.ipc.plan import ServicePlan
from appliance.ipc.shared_layout import USUAL_MTU

_IS_REMOVED = int(RealServerFlags.IS_REMOVED)
"""The kernel does the same for a real server whose sessions leave it as for one that was removed."""
_REMOVED = (USUAL_MTU, _IS_REMOVED)
"""What holds for a slot whose real server is not configured."""


class LaneServers:
    """MTU and flags by slot: those in the kernel, which nobody else writes, and those that are wanted there."""

    def __init__(self, kernel: LaneKernel) -> None:
        self._kernel = kernel
        self._there = {slot: kernel.real_server(slot) for slot in range(kernel.sizes.slots)}
        self._wanted: dict[int, tuple[int, int]] = {}
        self._services: object = None
        self._flags: dict[int, int] = {}
        """By slot, what `_services` say."""

    def are_of(self, kernel: LaneKernel) -> bool:
        """Whether it is this lane that has them."""
        return kernel is self._kernel and kernel.sizes.slots == len(self._there)

    def narrow(self, services: Iterable[ServicePlan], mtu: Callable[[int], int], left: Set[int]) -> None:
        """As `Lane.narrow`."""
        if services is not self._services:
            self._services, self._flags = services, _flags_by_slot(services)
        self._wanted = {slot: (mtu(slot), flags | _IS_REMOVED if slot in left else flags) for slot, flags in self._flags.items()}
        for slot, there in self._there.items():
            wanted_mtu, flags = wanted = self._wanted.get(slot, _REMOVED)
            if wanted != there:
                self._put(slot, (wanted_mtu, flags | there[1]))

    def widen(self) -> None:
        """As `Lane.widen`."""
        for slot, there in self._there.items():
            wanted = self._wanted.get(slot, _REMOVED)
            if wanted != there:
                self._put(slot, wanted)

    def _put(self, slot: int, mtu_and_flags: tuple[int, int]) -> None:
        self._kernel.put_real_server(slot, *mtu_and_flags)
        self._there[slot] = mtu_and_flags


def _flags_by_slot(services: Iterable[ServicePlan]) -> dict[int, int]:
    return {server.slot: flags for service in services for flags in (_flags_of(service),) for server in service.real_servers}


def _flags_of(service: ServicePlan) -> int:
    cookies = RealServerFlags.ASKS_FOR_COOKIES if service.synproxy != "never" else 0
    return int(cookies | (0 if service.lane else RealServerFlags.NO_LANE))
