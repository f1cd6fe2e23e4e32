"""The stray rules: for which services the kernel ends packets of no session that a shard would drop, and how it judges them.

A service has a rule while packets of no session are judged by what the kernel knows as well: while all its sessions are in
the lane, but for those of which the kernel is told (`ipc.lane_layout`, OUTSIDE and KNOWN_CLIENTS). So one that was once without
the lane in this run never has a rule: sessions of that time may live on. Nor has one whose clients may have cookies that the
kernel does not check, or had some in this run: it would not know of their handshakes. In "auto" that is so at most times.

As with front doors, what services forbid is in force in the kernel before the shards have it, and what they allow afterwards.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Address
from itertools import islice
from typing import NamedTuple

from appliance.director.of_services import OfServices
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.lane_layout import FRONT_DOORS, front_door_key
from appliance.ipc.plan import ServicePlan
from appliance.ipc.stray_rule import StrayRule
from appliance.model.syn_offer import modes_with_cookies
from appliance.policy.defence import TCP

log = logging.getLogger("appliance.lane")

ALLOWANCE = 128
"""Strays with an acknowledgement that go up, on each CPU in 0.13 s: a thousand a second, which is as many as a shard answers at
most after its predecessor has died, and about one per cent of its time."""


class _Service(NamedTuple):
    """What a rule depends on. A service in which that has changed is another one."""

    key: bytes
    mode: str
    defer: int | None


class StrayRules:
    """Those of a run. Without a lane there are none."""

    def __init__(self) -> None:
        self._services = set[_Service]()
        self._allowed = set[_Service]()
        """What may be in force: the shards have these services."""
        self._were_without_lane = set[bytes]()
        self._had_cookies = set[bytes]()
        self._there = OfServices[bytes]()
        self._tunable: Callable[[str], int] | None = None

    def narrow(self, kernel: LaneKernel, services: Iterable[ServicePlan]) -> None:
        """Take away the rules that these services do not have. Those that they did not have before wait for `widen`."""
        of_tcp = [service for service in services if service.protocol == "tcp"]
        self._were_without_lane |= {_service_of(service).key for service in of_tcp if not service.lane}
        locals_ = {address for service in of_tcp for address in service.local_addresses}
        found = [_service_of(service) for service in of_tcp if service.vip not in locals_]
        self._had_cookies |= {service.key for service in found if service.mode != "never"}
        self._services = {service for service in found if service.key not in self._were_without_lane}
        self._allowed &= self._services
        self._put(kernel)

    def widen(self, kernel: LaneKernel) -> None:
        """All shards have the services of the last `narrow` in force."""
        self._allowed = set(self._services)
        self._put(kernel)

    def put_tunables(self, kernel: LaneKernel, tunable: Callable[[str], int]) -> None:
        """Go by these tunables; `tunable` gives the value of each, also later."""
        self._tunable = tunable
        self._put(kernel)

    def _put(self, kernel: LaneKernel) -> None:
        """Bring the kernel's rules to what is wanted. When it refuses, the next change or look at routes tries again."""
        if self._tunable is None:
            return
        wanted = dict(islice(self._wanted(self._tunable), FRONT_DOORS))
        try:
            remove, put = partial(kernel.remove_of_services, "stray_rules"), partial(kernel.put_of_services, "stray_rules")
            self._there.bring_to(wanted, remove, put)
        except EdgeError as error:
            log.error("the kernel does not judge packets of no session as it should: %s", error)

    def _wanted(self, tunable: Callable[[str], int]) -> Iterable[tuple[bytes, bytes]]:
        modes = modes_with_cookies(tunable("tcp_syncookies"))
        checks, drops = bool(tunable("synproxy_in_kernel")), bool(tunable("strays_in_kernel") and tunable(TCP.tunable))
        for key, mode, defer in sorted(self._allowed, key=lambda service: service.key):
            cookies = checks and mode in modes
            if cookies or (drops and key not in self._had_cookies):
                defers = cookies and bool(tunable("synproxy_defer") if defer is None else defer)
                yield key, StrayRule(cookies, defers, drops, 0, ALLOWANCE).pack()


def _service_of(service: ServicePlan) -> _Service:
    return _Service(front_door_key(IPv4Address(service.vip).packed, service.port), service.synproxy, service.synproxy_defer)
