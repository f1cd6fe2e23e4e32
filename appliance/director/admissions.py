"""Prepared admissions: whether there are any, and for which services the kernel may open sessions that their shards have decided
in advance. Those of a service that answers all SYNs with cookies are for the clients that return theirs; so are those of one
in "auto" while it sends some.

As with front doors, what services forbid is in force in the kernel before the shards have it, and what they allow afterwards.
"""

import logging
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import NamedTuple

from appliance.director.of_services import OfServices
from appliance.director.stray_rules import AUTO
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.admissions import first_rings, may_be_prepared
from appliance.ipc.early import ADMISSIONS, COOKIES, IN_AUTO, is_on
from appliance.ipc.lane_layout import front_door_key
from appliance.ipc.plan import ServicePlan
from appliance.ipc.rows import ServiceRing
from appliance.model.syn_offer import COOKIES_WHEN_FULL, modes_with_cookies
from appliance.policy.steering import HASH_SEED, shard_table

log = logging.getLogger("appliance.lane")


class _Ring(NamedTuple):
    """A service, its first ring, and what it says of cookies. One in which that has changed is another one."""

    key: bytes
    ring: int
    mode: str


class Admissions:
    """Those of a run."""

    def __init__(self, shards: int = 1, hash_seed: int = HASH_SEED) -> None:
        """`hash_seed` is that of the gateway, see `policy.steering`."""
        self.shards, self._hash_seed = shards, hash_seed
        self._kernel: LaneKernel | None = None
        """The one that knows how packets are steered."""
        self._setting, self._early_rules = 0, ""
        self._modes_with_cookies = modes_with_cookies(0)
        self._takes_cookies = self._are_some_asked = False
        """Whether the kernel takes cookies back; and whether services in "auto" send some while their backlogs are full."""
        self._services: tuple[ServicePlan, ...] = ()
        self._are_in_force = False
        self._first_rings: dict[str, int] = {}
        """By the name of each service that can have admissions: the ring of its first shard."""
        self._wanted: set[_Ring] = set()
        self._allowed: set[_Ring] = set()
        """What may be used: the shards have these services and rings in force."""
        self._there, self._there_for_proven = OfServices[int](), OfServices[int]()

    @property
    def why_off(self) -> str:
        """Why there are none for any service, in one line; empty when there are some."""
        if self._is_on:
            return ""
        return self._against or "prepared_admissions is 0"

    @property
    def _is_on(self) -> bool:
        return is_on(self._setting, has_early_rules=bool(self._early_rules))

    def narrow(self, kernel: LaneKernel, services: tuple[ServicePlan, ...]) -> None:
        """Have no session opened that these services do not allow. Those that they allow anew wait for `widen`."""
        if services is not self._services:
            self._services, self._are_in_force = services, False
            self._look()
            self._allowed &= self._wanted
        self._put(kernel)

    def widen(self, kernel: LaneKernel) -> None:
        """All shards have the services of the last `narrow` in force."""
        self._are_in_force = True
        self._allowed = set(self._wanted)
        self._put(kernel)

    def put_tunables(self, kernel: LaneKernel, tunable: Callable[[str], int], early_rules: str = "") -> None:
        """Go by these tunables, and by what the host has of rules that see SYNs before the appliance: the first one in words."""
        self._modes_with_cookies = modes_with_cookies(tunable("tcp_syncookies"))
        self._are_some_asked = tunable("tcp_syncookies") == COOKIES_WHEN_FULL
        self._takes_cookies = is_on(tunable(COOKIES), has_early_rules=bool(early_rules))
        was_on, before = self._is_on, self._against
        self._setting, self._early_rules = tunable(ADMISSIONS), early_rules
        if self._is_on != was_on:
            self._look()
            self._allowed = set(self._wanted) if self._are_in_force else set()
        self._put(kernel)
        if self._against != before and self._setting == IN_AUTO:
            log.warning("prepared admissions are %s", f"off: {self._against}" if self._against else "no longer kept off by rules")

    def steer(self, kernel: LaneKernel) -> None:
        """Have the kernel know how packets are steered. Raises EdgeError."""
        if kernel is not self._kernel:
            kernel.admissions.put_steering(self._hash_seed, shard_table(self.shards))
            self._kernel = kernel

    def rings(self, kernel: LaneKernel) -> list[ServiceRing]:
        """What is prepared for each service in each shard, where something is."""
        places = [(name, shard, ring + shard) for name, ring in self._first_rings.items() for shard in range(self.shards)]
        figures = kernel.admissions.figures(ring for _, _, ring in places)
        found = zip(places, figures, strict=True)
        return [ServiceRing(name, shard, ring) for (name, shard, _), ring in found if not ring.is_idle]

    @property
    def _against(self) -> str:
        """What keeps admissions off that are to be on; else empty."""
        return self._early_rules if self._setting == IN_AUTO else ""

    def _look(self) -> None:
        """Find out which services can have admissions; while that is switched off, none."""
        self._first_rings = rings = first_rings(self._services, self.shards) if self._is_on else {}
        plans = [plan for plan in self._services if plan.name in rings and may_be_prepared(plan)]
        keys = {plan.name: front_door_key(IPv4Address(plan.vip).packed, plan.port) for plan in plans}
        self._wanted = {_Ring(keys[plan.name], rings[plan.name], plan.synproxy) for plan in plans}

    def _put(self, kernel: LaneKernel) -> None:
        """Bring the kernel to what is wanted. When it refuses, the next change or look at routes tries again."""
        wanted, of_proven = dict[bytes, int](), dict[bytes, int]()
        for key, ring, mode in self._allowed if self._is_on else ():
            always = mode in self._modes_with_cookies
            if not always:
                wanted[key] = ring
            if self._takes_cookies and (always or (mode == AUTO and self._are_some_asked)):
                of_proven[key] = ring
        if self._there.are(wanted) and self._there_for_proven.are(of_proven):
            return
        maps = kernel.admissions
        try:
            self.steer(kernel)
            self._there.bring_to(wanted, maps.remove, maps.put)
            self._there_for_proven.bring_to(of_proven, maps.remove_for_proven, maps.put_for_proven)
        except EdgeError as error:
            log.error("the kernel does not open sessions as it should: %s", error)
