"""The stray rules: for which services the kernel ends packets of no session that a shard would drop, and how it judges them.

A service has a rule while packets of no session are judged by what the kernel knows as well: while all its sessions are in
the lane, but for those of which the kernel is told (`ipc.lane_layout`, OUTSIDE and KNOWN_CLIENTS). So one that was once without
the lane in this run never has a rule: sessions of that time may live on. Nor has one without SYNPROXY whose clients had
cookies in this run: the kernel would not know of their handshakes. In "auto" the latches say whether clients may have cookies,
which the kernel then checks, and it takes back right ones also while no strays end there. One beyond the number of latches has
a rule only while each SYN to it gets a cookie.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import IPv4Address
from typing import NamedTuple

from appliance.director.service_rules import ServiceRules, Tunable
from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.early import COOKIES, STRAYS
from appliance.ipc.lane_layout import NO_LATCH, front_door_key
from appliance.ipc.plan import ServicePlan
from appliance.ipc.stray_rule import StrayRule
from appliance.model.syn_offer import modes_with_cookies
from appliance.policy.defence import TCP

ALLOWANCE = 128
"""Strays with an acknowledgement that go up, on each CPU in 0.13 s: a thousand a second, which is as many as a shard answers at
most after its predecessor has died, and about one per cent of its time."""


ALWAYS, AUTO, NEVER = "always", "auto", "never"
"""What a service says of cookies: each SYN gets one; those while its backlog is full; none does."""


class _Service(NamedTuple):
    """What a rule depends on. A service in which that has changed is another one."""

    key: bytes
    mode: str
    defer: int | None
    first_latch: int

    def rule(self, *, checks: bool, drops: bool, defers: int, modes: Collection[str]) -> StrayRule | None:
        """The rule, if any. `checks` is whether the kernel judges what may return a cookie to a service that always asks for one,
        `drops` whether it judges all packets of no session; `defers` is the tunable synproxy_defer, and `modes` are those of
        services of which each SYN gets a cookie."""
        waits = bool(defers if self.defer is None else self.defer)
        if self.mode == ALWAYS or (checks and self.mode in modes):
            return StrayRule(True, waits, drops, 0, ALLOWANCE) if checks or drops else None
        if self.mode == AUTO and (checks or drops):
            return StrayRule(False, waits, drops, 0, ALLOWANCE, self.first_latch) if self.first_latch != NO_LATCH else None
        return StrayRule(False, False, True, 0, ALLOWANCE) if drops else None


class StrayRules(ServiceRules[_Service]):
    """Those of a run."""

    MAP, JUDGED = "stray_rules", "packets"

    def __init__(self, steer: Callable[[LaneKernel], None] = lambda _: None) -> None:
        """`steer` as in `ServiceRules`."""
        super().__init__(steer)
        self._were_without_lane = set[bytes]()
        self._had_cookies = set[bytes]()

    def narrow(self, kernel: LaneKernel, services: Iterable[ServicePlan], latches: Mapping[str, int]) -> None:
        """See `_keep`. `latches` has the first latch of each service that has any, by its name."""
        of_tcp = [service for service in services if service.protocol == "tcp"]
        self._were_without_lane |= {_key_of(service) for service in of_tcp if not service.lane}
        locals_ = {address for service in of_tcp for address in service.local_addresses}
        found = [_service_of(service, latches) for service in of_tcp if service.vip not in locals_]
        self._had_cookies |= {service.key for service in found if service.mode != NEVER}
        self._keep(kernel, {service for service in found if service.key not in self._were_without_lane})

    def _wanted(self, allowed: Collection[_Service], tunable: Tunable) -> Iterable[tuple[bytes, bytes]]:
        modes = modes_with_cookies(tunable("tcp_syncookies"))
        checks, drops = bool(tunable(COOKIES)), bool(tunable(STRAYS) and tunable(TCP.tunable))
        for service in sorted(allowed, key=lambda service: service.key):
            if service.mode == NEVER and service.key in self._had_cookies:
                continue
            rule = service.rule(checks=checks, drops=drops, defers=tunable("synproxy_defer"), modes=modes)
            if rule is not None:
                yield service.key, rule.pack()


def _key_of(service: ServicePlan) -> bytes:
    return front_door_key(IPv4Address(service.vip).packed, service.port)


def _service_of(service: ServicePlan, latches: Mapping[str, int]) -> _Service:
    first_latch = latches.get(service.name, NO_LATCH)
    return _Service(_key_of(service), service.synproxy, service.synproxy_defer, first_latch)
