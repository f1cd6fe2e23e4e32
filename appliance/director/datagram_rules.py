"""The datagram rules: for which services of UDP the kernel drops datagrams that would open a session and get none.

A shard decides that, and says so (`sessions.datagrams`). A service that rules of netfilter guard has none: those come first.
"""

from collections.abc import Callable, Collection, Iterable
from ipaddress import IPv4Address, IPv4Network

from appliance.director.service_rules import ServiceRules, Tunable
from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.early import STRAYS
from appliance.ipc.lane_layout import DATAGRAM_RULE, datagram_place_bits, front_door_key
from appliance.ipc.plan import ServicePlan


class DatagramRules(ServiceRules[bytes]):
    """Those of a run. A service is its key."""

    MAP, JUDGED = "datagram_rules", "datagrams"

    def __init__(self, shards: int = 1, steer: Callable[[LaneKernel], None] = lambda _: None) -> None:
        """`steer` as in `ServiceRules`."""
        super().__init__(steer)
        self._shards = shards

    def narrow(self, kernel: LaneKernel, services: Iterable[ServicePlan]) -> None:
        """See `_keep`."""
        of_udp = [service for service in services if service.protocol == "udp"]
        locals_ = {address for service in of_udp for address in service.local_addresses}
        found = [service for service in of_udp if service.lane and not service.guarded and service.vip not in locals_]
        self._keep(kernel, {front_door_key(IPv4Address(service.vip).packed, service.port) for service in found})

    def _wanted(self, allowed: Collection[bytes], tunable: Tunable) -> Iterable[tuple[bytes, bytes]]:
        """All have the same rule. Clients that are answered all have to be seen by a shard."""
        if not tunable(STRAYS) or not tunable("source_conn_max") or tunable("tcp_abort_on_overflow"):
            return {}.items()
        mask = IPv4Network((0, tunable("source_conn_prefix"))).netmask.packed
        return dict.fromkeys(sorted(allowed), DATAGRAM_RULE.pack(mask, datagram_place_bits(self._shards))).items()
