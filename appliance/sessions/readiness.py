"""How many prepared admissions of a service are to be ready, and how long those that are ready stand (`sessions.prepared`).

By turns it makes no difference when an admission was decided. By the load it does: such a service has fewer ready, and none
without a client every other look; and they are decided anew when the load has changed much since.

For limits they count as sessions. Nobody is to be refused, or sent elsewhere, for the sake of one that is ready: so all shards
together have no more than a quarter of what the limits leave room for, and those of a shard go when they are twice its part.
"""

from math import inf

from appliance.sessions.ring import MOST_READY, Ring
from appliance.state.live_tunables import LiveTunables
from appliance.state.services import VirtualService
from appliance.state.session import Session

_LEAST_READY = 16
_READY_FOR_LOOKS = 4
"""So many are ready as are taken in so many looks, which are some ten milliseconds apart."""

_READY_FOR_LOOKS_BY_LOAD = 2

LEAST_RATE = 4.0
"""Admissions that a service uses between two looks: below this, a few hundred a second, all are taken into the tables at once."""

_TIME_WAIT_ROOM = 1024
"""Sessions that may still be in TIME_WAIT, at least. Nearer to the limit all come into the tables, where it is kept exactly."""

RENEWED_EVERY_S = 0.04
"""How often those that were decided by the load may be decided anew. It is also how old a shard's knowledge of others may be."""


def wanted(ring: Ring, service: VirtualService[Session]) -> int:
    """How many are to be ready."""
    if service.scheduler.needs_load and not service.needs_client:
        return min(MOST_READY, int(_READY_FOR_LOOKS_BY_LOAD * ring.rate))
    return min(MOST_READY, max(_LEAST_READY, int(_READY_FOR_LOOKS * ring.rate)))


def room_for(ring: Ring, service: VirtualService[Session], tunables: LiveTunables, shards: int, fresh: int) -> int:
    """How many more may be ready in one shard of so many: by the limits of the service, and by its backlog. While its clients are
    sent cookies, they are for those that return theirs, and there are none when the kernel does not take them back. The backlog
    of a service in "auto" is full then of clients that have returned none; so those do not count. `fresh`: sessions of the shard
    that may be half-open."""
    always = service.always_answers(tunables.syncookies)
    if (always or service.is_engaged) and not tunables.in_kernel:
        return 0
    there, half_open = len(ring.tickets), 0 if service.is_engaged and not always else len(service.half_open)
    by_backlog = service.backlog(tunables.backlog) - half_open - there - fresh
    return int(min(by_backlog, _room(service) // (4 * shards) - there))


def is_beyond(ring: Ring, service: VirtualService[Session], shards: int) -> bool:
    """Whether more are ready than may be by the limits of the service."""
    return bool(ring.tickets) and len(ring.tickets) > _room(service) // (2 * shards)


def _room(service: VirtualService[Session]) -> float:
    return inf if service.limits is None else service.limits.room(service.all_real_servers, service.candidates)


def may_be_short(service: VirtualService[Session], rate: float, tunables: LiveTunables, in_time_wait: int) -> bool:
    """Whether sessions of a service, of which the kernel opens `rate` between two looks, may stay out of the tables, while so
    many are in TIME_WAIT."""
    if rate < LEAST_RATE or not tunables.reuse or tunables.time_wait_max - in_time_wait < _TIME_WAIT_ROOM:
        return False
    has_limits = service.limits is not None or service.client_limit is not None
    return not has_limits and (service.needs_client or not service.scheduler.needs_load)


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
