"""The latches of a shard's services in "auto", and who is told when such a service begins or stops to answer with SYN cookies."""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from math import inf

from appliance.ipc.lane_layout import LATCH, LATCHES
from appliance.ipc.latches import first_latches, may_have_latch
from appliance.ipc.plan import ServiceKey, ServicePlan
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import SYNCOOKIES_DISENGAGED, SYNCOOKIES_ENGAGED
from appliance.sessions.lane_maps import LaneMaps
from appliance.state.latch import Latch
from appliance.state.services import VirtualService
from appliance.state.session import Session
from appliance.wire.flow import pack_endpoint

FindService = Callable[[str, bytes], VirtualService[Session] | None]
"""The service of a protocol at an endpoint."""


class Latches:
    """Those of one shard. Without a lane there are none."""

    def __init__(self, maps: LaneMaps, shared: SharedState, shard: int, find: FindService, now: Callable[[], float]) -> None:
        """All latches of the shard are closed. `now` gives the time of the last look at timers, in seconds."""
        self._maps, self._shared, self._shard, self._find, self._now = maps, shared, shard, find, now
        self._queue_counts = shared.table(shard, "queue")
        self._earlier_cookies_until = -inf
        self._plans: dict[ServiceKey, ServicePlan] = {}
        """Of the services that can have latches."""
        self._of: dict[VirtualService[Session], tuple[int, Latch]] = {}
        """The latch of each of these services, with its number."""
        if maps.latches:
            for number in range(shard, LATCHES, shared.shards):
                self._latch(number)

    def _latch(self, number: int) -> Latch:
        return Latch(self._maps.latches[number * LATCH.size : (number + 1) * LATCH.size])

    def put_services(self, plans: Iterable[ServicePlan], gone: Iterable[ServiceKey]) -> None:
        """These services are new, or others than before, and those with the keys `gone` are none any more."""
        if not self._maps.latches:
            return
        for key in gone:
            self._plans.pop(key, None)
        for plan in plans:
            self._plans.pop(plan.key, None)
            if may_have_latch(plan):
                self._plans[plan.key] = plan
        self._allot()

    def _allot(self) -> None:
        """Give each service its latch. One that answers with cookies goes on to do so."""
        numbers = first_latches(self._plans.values(), self._shared.shards)
        found = ((self._find(protocol, _endpoint(vip, port)), plan) for (protocol, vip, port), plan in self._plans.items())
        wanted = {service: numbers[plan.name] + self._shard for service, plan in found if service and plan.name in numbers}
        moved = {service: latch for service, (number, latch) in self._of.items() if wanted.get(service) != number}
        unproven = {service: latch.unproven for service, latch in moved.items()}
        for service, latch in moved.items():
            latch.give_up()
            service.latch = None
        for service, number in wanted.items():
            if service.latch is None:
                service.latch = self._latch(number)
                self._keep(service)
                self._set(service, unproven.get(service, 0.0))
        self._of = {service: (number, service.latch) for service, number in wanted.items() if service.latch is not None}

    def expect_earlier_cookies(self, until: float) -> None:
        """Clients may have cookies of an earlier worker until this time."""
        self._earlier_cookies_until = until
        for service in self._of:
            self._keep(service)

    def _keep(self, service: VirtualService[Session]) -> None:
        """Have the latch of a service say until when its clients may have cookies."""
        if service.latch is not None:
            service.latch.keep(max(service.cookies_until, self._earlier_cookies_until))

    def _set(self, service: VirtualService[Session], unproven: float = 0.0) -> None:
        """Open or close the latch of a service, see `Latch.open`."""
        if service.latch is not None and service.is_engaged:
            service.latch.open(self._now(), unproven)
        elif service.latch is not None:
            service.latch.close()

    def tell(self, service: VirtualService[Session]) -> None:
        """A service has begun to answer with SYN cookies, or has stopped: it is counted, for itself and then in all, and the
        kernel begins or stops to do so in its place."""
        has_stopped = not service.is_engaged
        for real_server in service.all_real_servers[:1]:
            self._shared.cookie_edges(self._shard, real_server.slot)[has_stopped] += 1
        self._queue_counts[SYNCOOKIES_DISENGAGED if has_stopped else SYNCOOKIES_ENGAGED] += 1
        self._set(service)

    def close(self) -> None:
        """Have the kernel answer and judge by none of them: the shard is about to end."""
        for _, latch in self._of.values():
            latch.give_up()


def _endpoint(vip: str, port: int) -> bytes:
    return pack_endpoint(IPv4Address(vip), port)
