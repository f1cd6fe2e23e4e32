"""Virtual services and their real servers at run time, as one shard knows them."""

from array import array
from ipaddress import IPv4Address

from appliance.control import RealServerPlan, ServicePlan
from appliance.model import pack_endpoint
from appliance.schedulers import SCHEDULERS
from appliance.stats import ACTIVE_CONNS, INACTIVE_CONNS


class RealServer:
    """One real server of one service, with its counters, laid out by `stats.DESTINATION_FIELDS`.

    They are counted in a list, which costs half of what shared memory does, and published from there.
    """

    __slots__ = ("_published", "counts", "endpoint", "next_local_address", "slot", "weight")

    def __init__(self, plan: RealServerPlan, published: memoryview) -> None:
        self.endpoint = pack_endpoint(IPv4Address(plan.address), plan.port)
        self.weight = plan.weight
        self.slot = plan.slot
        self._published = published
        self.counts: list[int] = published.tolist()
        self.next_local_address = 0
        """Local addresses go round per real server: one cursor for all would move in lock step with the scheduler, and each
        real server would only ever meet some of the local addresses."""
        # Counters go on where an earlier worker left them; sessions do not outlive the worker that held them.
        self.counts[ACTIVE_CONNS] = self.counts[INACTIVE_CONNS] = 0

    def publish(self) -> None:
        """Make the counters visible to the director."""
        self._published[:] = array("Q", self.counts)


class VirtualService:
    """A VIP and port, the real servers behind it and the local addresses used towards them."""

    __slots__ = ("endpoint", "local_addresses", "name", "real_servers", "scheduler")

    def __init__(self, plan: ServicePlan, real_servers: list[RealServer]) -> None:
        self.name = plan.name
        self.endpoint = pack_endpoint(IPv4Address(plan.vip), plan.port)
        self.local_addresses = tuple(IPv4Address(address).packed for address in plan.local_addresses)
        self.real_servers = real_servers
        self.scheduler = SCHEDULERS[plan.scheduler]()

    def pick_real_server(self) -> RealServer | None:
        """The scheduler's choice; None when no real server takes new connections."""
        index = self.scheduler.pick([real_server.weight for real_server in self.real_servers])
        return None if index is None else self.real_servers[index]
