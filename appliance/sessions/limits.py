"""Sessions beyond the limits of their service: who makes room for them, and what is counted when nobody does.

Only a session that is no connection yet ends for another one, see `room`. Forged SYNs would fill a service otherwise, and nobody
would get in before their time is over.
"""

from collections.abc import Callable

from appliance.ipc.shared_layout import SharedState
from appliance.model.end_reasons import EndReason
from appliance.model.verdict import Verdict
from appliance.model.verdicts import CLIENT_FULL, LIMITS_REACHED, SERVERS_FULL, SERVICE_FULL
from appliance.sessions.lane import Lane
from appliance.sessions.room import Room
from appliance.state.client_limit import ClientCounts
from appliance.state.live_tunables import LiveTunables
from appliance.state.real_server import UNLISTED
from appliance.state.services import VirtualService
from appliance.state.session import Session
from appliance.wire.flow import source_address_of


class LimitedSessions:
    """The new sessions of one shard, as far as the limits of services let them in."""

    def __init__(
        self,
        shared: SharedState,
        shard: int,
        room: Room,
        lane: Lane,
        clients: ClientCounts[Session],
        end: Callable[[Session, EndReason], None],
    ) -> None:
        self._shared, self._shard, self._room, self._lane = shared, shard, room, lane
        self._clients, self._end = clients, end

    def reason_against(
        self, service: VirtualService[Session], client_key: bytes, tunables: LiveTunables, now: float
    ) -> Verdict | None:
        """Why a service with limits may have no more session of the client with this flow key; None when it may, or when one has
        ended for it."""
        if self._is_client_full(service, client_key, now):
            return self._refuse(service, CLIENT_FULL)

        def has_room() -> bool:
            return service.limits is None or not service.limits.is_reached(service.all_real_servers)

        if has_room() or self._make_room(service, has_room, tunables, now):
            return None
        return self._refuse(service, SERVICE_FULL)

    def _is_client_full(self, service: VirtualService[Session], client_key: bytes, now: float) -> bool:
        limit = service.client_limit
        if limit is None or not limit.is_reached(address := source_address_of(client_key)):
            return False
        self._lane.look_for_room(now)
        return limit.is_reached(address)

    def end_beyond(self, at_most: int) -> bool:
        """End up to `at_most` of the sessions that became established when their client had as many as it may, the last ones
        first; True when there may be more. One stays when there is room by now, because another one of its client has ended, in
        whatever shard."""
        beyond = self._clients.beyond
        while beyond and at_most:
            session = beyond.pop()
            limit, client = session.service.client_limit, session.counted_as
            if limit is not None and client is not None and limit.is_passed(client):
                self._refuse(session.service, CLIENT_FULL)
                self._end(session, EndReason.CLIENT_FULL)
                at_most -= 1
        return bool(beyond)

    def make_server_room(self, service: VirtualService[Session], tunables: LiveTunables, now: float) -> bool:
        """Whether a real server of a service has room, all of which had none, because a session has ended for a new one."""

        def has_room() -> bool:
            return service.limits is None or service.limits.have_room(service.candidates)

        if self._make_room(service, has_room, tunables, now):
            return True
        self._refuse(service, SERVERS_FULL)
        return False

    def _make_room(
        self, service: VirtualService[Session], has_room: Callable[[], bool], tunables: LiveTunables, now: float
    ) -> bool:
        self._lane.look_for_room(now)  # the kernel may have seen the end of some
        return has_room() or (self._room.in_service(service, tunables, now) and has_room())

    def _refuse(self, service: VirtualService[Session], reason: Verdict) -> Verdict:
        for real_server in service.all_real_servers:
            if real_server.slot != UNLISTED:
                self._shared.refusals(self._shard, real_server.slot)[LIMITS_REACHED.index(reason)] += 1
                break
        return reason
