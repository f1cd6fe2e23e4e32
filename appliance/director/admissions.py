"""Prepared admissions of services: whether there are any, and for which services the kernel may open sessions that their shards
have decided in advance.

As with front doors, what services forbid is in force in the kernel before the shards have it, and what they allow afterwards.
"""

import logging
from collections.abc import Callable
from ipaddress import IPv4Address

from appliance.director.of_services import OfServices
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.admissions import first_rings, may_be_prepared
from appliance.ipc.early import ADMISSIONS, IN_AUTO, is_on
from appliance.ipc.lane_layout import front_door_key
from appliance.ipc.plan import ServicePlan
from appliance.model.syn_offer import ALWAYS_COOKIES
from appliance.policy.steering import HASH_SEED, shard_table

log = logging.getLogger("appliance.lane")


class Admissions:
    """Those of a run."""

    def __init__(self, shards: int = 1, hash_seed: int = HASH_SEED) -> None:
        """`hash_seed` is that of the gateway, see `policy.steering`."""
        self.shards, self._hash_seed = shards, hash_seed
        self._kernel: LaneKernel | None = None
        """The one that knows how packets are steered."""
        self._setting, self._early_rules, self._has_cookies = 0, "", False
        self._services: tuple[ServicePlan, ...] = ()
        self._are_in_force = False
        self._in_auto: set[bytes] = set()
        self._wanted: dict[bytes, int] = {}
        self._allowed: set[tuple[bytes, int]] = set()
        """What may be used: the shards have these services and rings in force."""
        self._there = OfServices[int]()

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
            self._allowed &= self._wanted.items()
        self._put(kernel)

    def widen(self, kernel: LaneKernel) -> None:
        """All shards have the services of the last `narrow` in force."""
        self._are_in_force = True
        self._allowed = set(self._wanted.items())
        self._put(kernel)

    def put_tunables(self, kernel: LaneKernel, tunable: Callable[[str], int], early_rules: str = "") -> None:
        """Go by these tunables, and by what the host has of rules that see SYNs before the appliance: the first one in words."""
        self._has_cookies = tunable("tcp_syncookies") == ALWAYS_COOKIES
        was_on, before = self._is_on, self._against
        self._setting, self._early_rules = tunable(ADMISSIONS), early_rules
        if self._is_on != was_on:
            self._look()
            self._allowed = set(self._wanted.items()) if self._are_in_force else set()
        self._put(kernel)
        if self._against != before and self._setting == IN_AUTO:
            log.warning("prepared admissions are %s", f"off: {self._against}" if self._against else "no longer kept off by rules")

    def steer(self, kernel: LaneKernel) -> None:
        """Have the kernel know how packets are steered. Raises EdgeError."""
        if kernel is not self._kernel:
            kernel.admissions.put_steering(self._hash_seed, shard_table(self.shards))
            self._kernel = kernel

    @property
    def _against(self) -> str:
        """What keeps admissions off that are to be on; else empty."""
        return self._early_rules if self._setting == IN_AUTO else ""

    def _look(self) -> None:
        """Find out which services can have admissions; while that is switched off, none."""
        rings = first_rings(self._services, self.shards) if self._is_on else {}
        plans = [plan for plan in self._services if plan.name in rings and may_be_prepared(plan)]
        keys = {plan.name: front_door_key(IPv4Address(plan.vip).packed, plan.port) for plan in plans}
        self._in_auto = {keys[plan.name] for plan in plans if plan.synproxy == "auto"}
        self._wanted = {keys[name]: ring for name, ring in rings.items()}

    def _put(self, kernel: LaneKernel) -> None:
        """Bring the kernel to what is wanted. When it refuses, the next change or look at routes tries again."""
        without = self._in_auto if self._has_cookies else set[bytes]()
        wanted = {key: ring for key, ring in self._allowed if key not in without} if self._is_on else {}
        if self._there.are(wanted):
            return
        try:
            self.steer(kernel)
            self._there.bring_to(wanted, kernel.admissions.remove, kernel.admissions.put)
        except EdgeError as error:
            log.error("the kernel does not open sessions as it should: %s", error)
