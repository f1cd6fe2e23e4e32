"""Room for one more session: whether there is any, and which session ends to make some.

Sessions are ended early only when they are no connections yet: of TCP, when they are half-open; of UDP, when their client has not
sent again after an answer. And only when they had time for it. An established session never ends for a new one.
"""

from collections.abc import Callable, Collection

from appliance.ipc.shared_layout import SharedState
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import TcpState
from appliance.state.by_state import YIELDING, ByState, OldestFirst, Orders
from appliance.state.live_tunables import LiveTunables
from appliance.state.services import VirtualService
from appliance.state.session import Session

HALF_OPEN_GRACE_S = 0.5
"""How long a handshake, or the answer to a datagram, may take before its session can be dropped for a new one: longer than most
need there and back. Without it new clients would only drop each other, and a flood would leave nobody the time to answer."""


class Room:
    """The limits of one shard's sessions, apart from local ports."""

    def __init__(
        self,
        shared: SharedState,
        by_state: ByState[Session],
        services: Collection[VirtualService[Session]],
        end: Callable[[Session, EndReason], None],
        refresh: Callable[[Session], None],
    ) -> None:
        """`services` may change, see `look_at_services`. `end` ends a session. `refresh` takes over what the kernel has made of
        one, which may take it out of its order."""
        self._session_counts, self._udp_counts = shared.session_counts, shared.udp_counts
        self._by_state = by_state
        self._services = services
        self._end = end
        self._refresh = refresh
        self._has_both = False
        """Whether there are services of TCP and of UDP."""
        self.look_at_services()

    def look_at_services(self) -> None:
        """Other services are there from now on."""
        self._has_both = len({service.protocol for service in self._services}) > 1

    def in_table(self, service: VirtualService[Session], tunables: LiveTunables, now: float) -> bool:
        """Whether the table has room for one more session of the service, or gets it by dropping another one.

        TCP and UDP each have a part of the table that the other cannot take. Shards read each other's counts without a lock, so
        all of them together may exceed a limit by the number of shards less one.
        """
        self._by_state.now = now
        limit = tunables.conn_max
        if not limit:
            return True
        everybody = sum(self._session_counts)
        most = limit - limit * tunables.reserved_percent // 100 if self._has_both else limit
        if everybody < most:
            return True
        of_udp = sum(self._udp_counts)
        has_all = (of_udp if service.protocol == "udp" else everybody - of_udp) >= most
        if everybody < limit and not has_all:
            return True
        return tunables.early_drop and service.takes_new and self._make_room(service, has_all, now)

    def _make_room(self, service: VirtualService[Session], has_all: bool, now: float) -> bool:
        """Drop one session for a new one of the service; False when there is none that may be dropped.

        With `has_all`, the service's protocol has as many as it may, so one of the same protocol has to go. Otherwise the other
        protocol has more than what is kept for it, and unconfirmed UDP sessions go first. Of half-open ones, one of the same
        service is dropped first, so that the service that is flooded pays for it.
        """
        is_udp = service.protocol == "udp"
        if (is_udp or not has_all) and self._drop(self._by_state.unconfirmed, EndReason.UNCONFIRMED_DROPPED, now):
            return True
        if is_udp and has_all:
            return False
        if self._drop(service.half_open, EndReason.DROPPED_EARLY, now):
            return True
        by_state = self._by_state.counts
        if by_state[TcpState.SYN_RECV] + by_state[TcpState.SYN_SENT] == len(service.half_open):
            return False  # no other service has any
        most = max((other.half_open for other in self._services), key=len)
        return self._drop(most, EndReason.DROPPED_EARLY, now)

    def in_backlog(self, service: VirtualService[Session], tunables: LiveTunables, now: float) -> bool:
        """Whether room was made in the full backlog of the service, by dropping its oldest half-open session."""
        if not tunables.early_drop or not service.takes_new:
            return False
        return self._drop(service.half_open, EndReason.DROPPED_FROM_BACKLOG, now)

    def in_service(self, service: VirtualService[Session], tunables: LiveTunables, now: float) -> bool:
        """Whether room was made in a service that has as many sessions as it may, by dropping its oldest one that is no
        connection yet: of TCP, a half-open one; of UDP, one that is not confirmed."""
        if not tunables.early_drop or not service.takes_new:
            return False
        if service.protocol == "tcp":
            return self._drop(service.half_open, EndReason.DROPPED_FOR_LIMIT, now)
        orders = [real_server.orders[YIELDING] for real_server in service.all_real_servers]
        # Services that share local ports share these orders, so the oldest one may be of another service.
        own = [(first.since, place) for place, order in enumerate(orders) if (first := order.oldest) and first.service is service]
        return bool(own) and self._drop(orders[min(own)[1]], EndReason.DROPPED_FOR_LIMIT, now)

    def may_drop_for_port(self, session: Session, tunables: LiveTunables, now: float) -> bool:
        """Whether an unconfirmed UDP session may be dropped for a new one that needs its local port."""
        return tunables.early_drop and now - session.since >= HALF_OPEN_GRACE_S

    def _drop(self, order: OldestFirst[Session] | Orders[Session], because: EndReason, now: float) -> bool:
        """Drop the oldest session of an order; False when there is none, or its other end may just be about to answer."""
        oldest = order.oldest
        while oldest is not None and oldest.entry is not None:
            self._refresh(oldest)
            before, oldest = oldest, order.oldest
            if oldest is before:
                break
        if oldest is None or now - oldest.since < HALF_OPEN_GRACE_S:
            return False
        self._end(oldest, because)
        return True
