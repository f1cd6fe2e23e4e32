"""When SYNs to a service get cookies: always, never, or in AUTO while it has too many half-open sessions in this shard.

A service in AUTO engages at a SYN, when its backlog is full, and disengages below three quarters of it. While it is engaged, the
kernel may answer in the place of the shard, which then sees no SYN: so those that are engaged are also looked at now and then,
and clients that the kernel has answered count as if they had half-open sessions.
"""

from itertools import islice

from appliance.model.syn_offer import COOKIES_WHEN_FULL
from appliance.model.tcp_state import TcpState
from appliance.sessions.lifecycle import Sessions
from appliance.state.services import NEVER, VirtualService
from appliance.state.session import Session

_RECONCILED = 1000
"""How many sessions are looked at before a service engages: the kernel may have seen the end of their handshakes."""

LOOK_EVERY_S = 0.1
_LOOKED_AT_ONCE = 100
"""Services, of those that are engaged: less than a millisecond's work."""


class Engagement:
    """Which services of one shard answer with cookies."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._engaged: dict[VirtualService[Session], None] = {}
        """Those that are engaged, the one first that was not looked at for longest; and some that ended to be so."""
        self._look_at_s = 0.0

    def answers(self, service: VirtualService[Session]) -> bool:
        """Whether a SYN to the service is answered with a cookie; called for each SYN to it."""
        if service.synproxy == NEVER:
            return False
        if service.always_answers(self._sessions.tunables.syncookies):
            return True
        self._update(service)
        return service.is_engaged

    def answers_after_all(self, service: VirtualService[Session]) -> bool:
        """The same for a SYN for which there is no room in the backlog: the kernel may have filled it since then."""
        if service.synproxy == NEVER or self._sessions.tunables.syncookies != COOKIES_WHEN_FULL:
            return False
        self._sessions.prepared.take_over()
        self._sessions.prepared.short.look_at_fresh()
        return self.answers(service)

    def kernel_answers(self, service: VirtualService[Session]) -> bool:
        """Whether the kernel may answer SYNs to the service (`director.front_doors`)."""
        tunables = self._sessions.tunables
        if not self._sessions.lane.is_on or not tunables.in_kernel:
            return False
        return service.is_engaged or service.always_answers(tunables.syncookies)

    def look(self, now: float) -> None:
        """Find out which services are to disengage. To be called often; it looks every LOOK_EVERY_S."""
        if now < self._look_at_s:
            return
        self._look_at_s = now + LOOK_EVERY_S
        for service in list(islice(self._engaged, _LOOKED_AT_ONCE)):
            del self._engaged[service]
            if service.is_engaged:
                self._engaged[service] = None
                self._look_at(service, now)

    def _look_at(self, service: VirtualService[Session], now: float) -> None:
        tunables = self._sessions.tunables
        if service.latch is not None:
            service.latch.look(service.backlog(tunables.backlog), tunables.timeouts_s[TcpState.SYN_RECV], now)
        if not service.always_answers(tunables.syncookies):
            self._update(service)

    def _update(self, service: VirtualService[Session]) -> None:
        """Engage cookies of a service in AUTO when its backlog is full, and disengage them below three quarters of it."""
        tunables = self._sessions.tunables
        unproven = service.latch.unproven if service.latch is not None else 0.0
        most = service.backlog(tunables.backlog)
        if service.is_engaged:
            most = -(-most * 3 // 4)  # at least one: otherwise it would be engaged for ever
        is_engaged = tunables.syncookies == COOKIES_WHEN_FULL and len(service.half_open) + unproven >= most
        if is_engaged and not service.is_engaged:
            self._sessions.lane.reconcile(_RECONCILED)
            is_engaged = len(service.half_open) >= most
        if is_engaged == service.is_engaged:
            return
        service.is_engaged = is_engaged
        if is_engaged:
            self._engaged[service] = None
        self._sessions.latches.tell(service)
