"""Which services have prepared admissions, and in which rings. Pure: director and shards find out the same from the same plans.

A prepared admission is a session that its shard has decided before its client came: real server, local endpoint and numbers. The
kernel hands it out when a SYN comes (`ipc.admission_layout`). That can be done only where nothing of the decision depends
on the client but its address, as the key of a table, and where no rule of netfilter judges the SYN as it came. With persistence,
that is so for the clients that are remembered, whatever the scheduler; the others go up.
"""

from collections.abc import Iterable

from appliance.ipc.admission_layout import LOOKUP_PLACES, RINGS
from appliance.ipc.plan import ServicePlan

SCHEDULERS = ("rr", "wrr", "lc", "wlc")
"""Those that do not ask for the client. Those of them that ask for the load are asked again when it has changed."""

BY_CLIENT = ("sh", "mh")
"""Those that ask for the client alone: the kernel looks it up in a schedule or a table, when that has places enough."""


def may_be_prepared(service: ServicePlan) -> bool:
    """Whether a service can have prepared admissions at all. While it answers SYNs with cookies, they are for clients that return
    theirs, and else for SYNs."""
    is_plain = service.protocol == "tcp" and service.lane and not service.guarded
    is_known = service.scheduler in SCHEDULERS or (service.scheduler in BY_CLIENT and places_of(service) <= LOOKUP_PLACES)
    return is_plain and (is_known or service.persistence_s > 0) and not service.max_conn_per_client


def places_of(service: ServicePlan) -> int:
    """How many places the table of a service has; 0 when it has none."""
    return service.maglev_table if service.scheduler == "mh" else 0


def first_rings(services: Iterable[ServicePlan], shards: int) -> dict[str, int]:
    """By the name of a service: the ring of its admissions in shard 0; see `first_places`."""
    return first_places((service.name for service in services if may_be_prepared(service)), RINGS, shards)


def first_places(names: Iterable[str], places: int, shards: int) -> dict[str, int]:
    """By the name of a service: its place for shard 0; those for the other shards are behind it. It does not depend on the order
    of names. When there are not enough places, the services whose names come last have none."""
    return {name: number * shards for number, name in enumerate(sorted(names)[: places // shards])}
