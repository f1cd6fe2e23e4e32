"""The datagram rules: for which services of UDP the kernel drops datagrams that would open a session and get none.

A shard decides that, and says so (`sessions.datagrams`). A service that rules of netfilter guard has none: those come first.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from itertools import islice

from appliance.director.of_services import OfServices
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.lane_layout import DATAGRAM_RULE, FRONT_DOORS, datagram_place_bits, front_door_key
from appliance.ipc.plan import ServicePlan

log = logging.getLogger("appliance.lane")


class DatagramRules:
    """Those of a run. Without a lane there are none."""

    def __init__(self, shards: int = 1, steer: Callable[[LaneKernel], None] = lambda _: None) -> None:
        """`steer` has a kernel know which shard gets the packets of a client; it may raise EdgeError."""
        self._shards, self._steer = shards, steer
        self._services = set[bytes]()
        self._allowed = set[bytes]()
        """What may be in force: the shards have these services."""
        self._there = OfServices[bytes]()
        self._tunable: Callable[[str], int] | None = None

    def narrow(self, kernel: LaneKernel, services: Iterable[ServicePlan]) -> None:
        """Take away the rules that these services do not have. Those that they did not have before wait for `widen`."""
        of_udp = [service for service in services if service.protocol == "udp"]
        locals_ = {address for service in of_udp for address in service.local_addresses}
        found = [service for service in of_udp if service.lane and not service.guarded and service.vip not in locals_]
        self._services = {front_door_key(IPv4Address(service.vip).packed, service.port) for service in found}
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
        rule = self._rule(self._tunable)
        wanted = {} if rule is None else dict.fromkeys(islice(sorted(self._allowed), FRONT_DOORS), rule)
        try:
            if wanted:
                self._steer(kernel)
            remove, put = (partial(change, "datagram_rules") for change in (kernel.remove_of_services, kernel.put_of_services))
            self._there.bring_to(wanted, remove, put)
        except EdgeError as error:
            log.error("the kernel does not judge datagrams of no session as it should: %s", error)

    def _rule(self, tunable: Callable[[str], int]) -> bytes | None:
        """The rule of all services; None when there is none. Clients that are answered all have to be seen by a shard."""
        if not tunable("strays_in_kernel") or not tunable("source_conn_max") or tunable("tcp_abort_on_overflow"):
            return None
        mask = IPv4Network((0, tunable("source_conn_prefix"))).netmask.packed
        return DATAGRAM_RULE.pack(mask, datagram_place_bits(self._shards))
