"""How many prepared admissions of a service are to be ready, and how long those that are ready stand (`sessions.prepared`).

By turns it makes no difference when an admission was decided. By the load it does: such a service has fewer ready, and none
without a client every other look; and they are decided anew when the load has changed much since.
"""

from appliance.sessions.ring import MOST_READY, Ring
from appliance.state.services import VirtualService
from appliance.state.session import Session

_LEAST_READY = 16
_READY_FOR_LOOKS = 4
"""So many are ready as are taken in so many looks, which are some ten milliseconds apart."""

_READY_FOR_LOOKS_BY_LOAD = 2
RENEWED_EVERY_S = 0.04
"""How often those that were decided by the load may be decided anew. It is also how old a shard's knowledge of others may be."""


def wanted(ring: Ring, service: VirtualService[Session]) -> int:
    """How many are to be ready."""
    if service.scheduler.needs_load:
        return min(MOST_READY, int(_READY_FOR_LOOKS_BY_LOAD * ring.rate))
    return min(MOST_READY, max(_LEAST_READY, int(_READY_FOR_LOOKS * ring.rate)))


def is_outdated(ring: Ring, service: VirtualService[Session], now: float) -> bool:
    """Whether those that are ready have to be decided anew, or to go."""
    if not service.scheduler.needs_load or not ring.tickets:
        return False
    if not wanted(ring, service):
        return True
    if now < ring.renew_at_s:
        return False
    ring.renew_at_s = now + RENEWED_EVERY_S
    return service.is_outdated(now)
