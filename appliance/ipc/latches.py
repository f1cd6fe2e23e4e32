"""Which services have latches at their front doors, and which. Pure: director and shards find out the same from the same plans.

A service in "auto" answers with cookies while it has too many half-open sessions in a shard, and each shard decides for its own
clients. So its front door has a latch for each shard, which that shard opens and closes (`ipc.lane_layout`, LATCH_FIELDS).
Packets of no session are judged by it as well; so a service has one that has no front door because rules of netfilter guard it.
"""

from collections.abc import Iterable

from appliance.ipc.admissions import first_places
from appliance.ipc.lane_layout import LATCHES
from appliance.ipc.plan import ServicePlan


def may_have_latch(service: ServicePlan) -> bool:
    """Whether a service can have latches at all."""
    return service.protocol == "tcp" and service.lane and service.synproxy == "auto"


def first_latches(services: Iterable[ServicePlan], shards: int) -> dict[str, int]:
    """By the name of a service: its latch for the clients of shard 0; see `first_places`."""
    return first_places((service.name for service in services if may_have_latch(service)), LATCHES, shards)
