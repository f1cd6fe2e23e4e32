"""Rules of the kernel's program for services, kept in step with what the shards know and with the tunables.

What services forbid is in force in the kernel before the shards have it, and what they allow afterwards, as with front doors.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from functools import partial
from itertools import islice
from typing import ClassVar, Generic, TypeVar

from appliance.director.of_services import OfServices
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.lane_layout import FRONT_DOORS

log = logging.getLogger("appliance.lane")

ServiceT = TypeVar("ServiceT")
"""What a rule depends on. A service in which that has changed is another one."""

Tunable = Callable[[str], int]


class ServiceRules(Generic[ServiceT]):
    """Those of one kind in a run, in a map of the kernel. Without a lane there are none."""

    MAP: ClassVar[str]
    JUDGED: ClassVar[str]
    """What is judged by the rules, in words."""

    def __init__(self, steer: Callable[[LaneKernel], None]) -> None:
        """`steer` has a kernel know which shard gets the packets of a client; it may raise EdgeError."""
        self._steer = steer
        self._services = set[ServiceT]()
        self._allowed = set[ServiceT]()
        """What may be in force: the shards have these services."""
        self._there = OfServices[bytes]()
        self._tunable: Tunable | None = None

    def _wanted(self, allowed: Collection[ServiceT], tunable: Tunable) -> Iterable[tuple[bytes, bytes]]:
        """The rules of these services by their keys, first those that matter most; `tunable` gives the value of each."""
        raise NotImplementedError

    def _keep(self, kernel: LaneKernel, services: Collection[ServiceT]) -> None:
        """Take away the rules that these services do not have. Those that they did not have before wait for `widen`."""
        self._services = set(services)
        self._allowed &= self._services
        self._put(kernel)

    def widen(self, kernel: LaneKernel) -> None:
        """All shards have the services of the last `narrow` in force."""
        self._allowed = set(self._services)
        self._put(kernel)

    def put_tunables(self, kernel: LaneKernel, tunable: Tunable) -> None:
        """Go by these tunables; `tunable` gives the value of each, also later."""
        self._tunable = tunable
        self._put(kernel)

    def _put(self, kernel: LaneKernel) -> None:
        """Bring the kernel's rules to what is wanted. When it refuses, the next change or look at routes tries again."""
        if self._tunable is None:
            return
        wanted = dict(islice(self._wanted(self._allowed, self._tunable), FRONT_DOORS))
        try:
            if wanted:
                self._steer(kernel)
            remove, put = partial(kernel.remove_of_services, self.MAP), partial(kernel.put_of_services, self.MAP)
            self._there.bring_to(wanted, remove, put)
        except EdgeError as error:
            log.error("the kernel does not judge %s of no session as it should: %s", self.JUDGED, error)
