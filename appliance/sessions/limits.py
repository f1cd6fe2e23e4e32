"""Sessions beyond the limits of their service: who makes room for them, and what is counted when nobody does.

Only a session that is no connection yet ends for another one, see `room`. Forged SYNs would fill a service otherwise, and nobody
would get in before their time is over.
"""

from collections.abc import Callable

from appliance.ipc.shared_layout import SharedState
from appliance.model.verdict import Verdict
from appliance.model.verdicts import LIMITS_REACHED, SERVERS_FULL, SERVICE_FULL
from appliance.sessions.lane import Lane
from appliance.sessions.room import Room
from appliance.state.live_tunables import LiveTunables
from appliance.state.real_server import UNLISTED
from appliance.state.services import VirtualService
from appliance.state.session import Session


class LimitedSessions:
    """The new sessions of one shard, as far as the limits of services let them in."""

    def __init__(self, shared: SharedState, shard: int, room: Room, lane: Lane) -> None:
        self._shared, self._shard, self._room, self._lane = shared, shard, room, lane

    def reason_against(self, service: VirtualService[Session], tunables: LiveTunables, now: float) -> Verdict | None:
        """Why a service with limits may have no more session; None when it may, or when one has ended for it."""

        def has_room() -> bool:
            return service.limits is None or not service.limits.is_reached(service.all_real_servers)

        if has_room() or self._make_room(service, has_room, tunables, now):
            return None
        return self._refuse(service, SERVICE_FULL)

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
