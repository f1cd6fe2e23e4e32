"""Open a session for a new connection: pick the real server, take a local address and port; or say which was missing."""

from array import array
from collections.abc import Callable

from appliance.model.verdict import Verdict
from appliance.model.verdicts import LOCAL_PORTS_EXHAUSTED, NO_LOCAL_ADDRESS, NO_REAL_SERVER, NONE_HEALTHY, SERVERS_FULL
from appliance.nat.isn import STEP_BYTES, IsnSource, drawn_steps
from appliance.nat.lport import NEVER_USED, LocalPorts
from appliance.state.progress import RS_ACKED
from appliance.state.real_server import RealServer
from appliance.state.services import VirtualService
from appliance.state.session import MS_PER_S, Session
from appliance.wire.flow import flow_from

_MOST_ENDED = 8
"""How many sessions may be ended for the port of one new session. One is enough, unless the range of ports was changed."""


class Admission:
    """Opens and closes the sessions of one shard for one transport protocol, each of which has its own ports."""

    def __init__(
        self, local_ports: LocalPorts, isns: IsnSource | None, end_one: Callable[[RealServer, float], Session | None]
    ) -> None:
        """`isns` is None for a protocol without sequence numbers. `end_one` ends a session of a real server whose port is needed,
        and returns it; None when there is no such session.
        """
        self.local_ports = local_ports
        self._isns = isns
        self._end_one = end_one
        self.give_up_prepared: Callable[[RealServer], bool] = lambda _: False
        """Gives back what `prepare` took for this real server and nobody uses; whether there was anything."""

    def open(
        self, service: VirtualService[Session], client_key: bytes, client_isn: int, tries: int, now: float
    ) -> Session | Verdict:
        """A new session for a client's packet of the flow `client_key`, not yet in the table; or the reason for none.

        Every local address of the service is tried, `tries` ports on each, and then the ports of sessions that may be ended for
        it, before the ports count as exhausted.
        """
        real_server = service.pick_real_server(client_key, now)
        if real_server is None:
            if service.limits is not None and any(candidate.weight for candidate in service.candidates):
                return SERVERS_FULL
            return NONE_HEALTHY if service.drops_new else NO_REAL_SERVER
        if not service.local_addresses:
            return NO_LOCAL_ADDRESS
        taken = self._take_local_port(service, real_server, tries)
        if taken is None:
            real_server = self._picked_without_prepared(service, real_server, client_key, now)
            taken = self._take_local_port(service, real_server, tries)
        taken = taken or self._take_port_in_use(service, real_server, now)
        if taken is None:
            return LOCAL_PORTS_EXHAUSTED
        server_key, last_seq = taken
        isn = self._isn(server_key, last_seq, now)
        session = Session(service, real_server, client_key, server_key, client_isn, isn, int(now * MS_PER_S))
        session.choice = service.choice
        return session

    def _picked_without_prepared(
        self, service: VirtualService[Session], picked: RealServer, client_key: bytes, now: float
    ) -> RealServer:
        """The real server that is picked when nothing is ready any more for the one that was picked.

        What was ready was picked before, so its turn comes first. Else this one would get a port more than its share, and another
        one would be left with a free one.
        """
        if service.persistence is not None:
            self.give_up_prepared(picked)
            return picked
        service.take_back_pick(picked)
        self.give_up_prepared(picked)
        return service.pick_real_server(client_key, now) or picked

    def prepare(
        self, service: VirtualService[Session], real_server: RealServer, client_key: bytes, tries: int, now: float
    ) -> tuple[Session, int | None] | None:
        """A session as `open` makes it with this real server, which was picked for it, for a client that is not known yet, and
        the last number used on its local port; None when no port is free. No session ends for it."""
        taken = self._take_local_port(service, real_server, tries)
        if taken is None:
            return None
        server_key, last_seq = taken
        session = Session(service, real_server, client_key, server_key, 0, self._isn(server_key, last_seq, now))
        session.choice = service.choice
        return session, last_seq

    def steps(self, number: int) -> "array[int]":
        """So many steps of `ipc.admission_layout`: how far the number of a session that takes over its local port lies beyond the
        last one there, and above it two bits by which its line is chosen."""
        return drawn_steps(self.local_ports.draw(STEP_BYTES * number))

    def take_back(self, session: Session, last_seq: int | None) -> None:
        """Give back what `prepare` took, for a session that came to nothing."""
        last = NEVER_USED if last_seq is None else last_seq
        local_address, local_port = session.local_end
        self.local_ports.release(local_address, session.real_server.endpoint, local_port, last)

    def _isn(self, server_key: bytes, last_seq: int | None, now: float) -> int:
        """The initial sequence number that the real server is shown; 0 for a protocol without."""
        if self._isns is None:
            return 0
        return self._isns.first(server_key, now) if last_seq is None else self._isns.following(server_key, last_seq)

    def close(self, session: Session) -> None:
        """Give back what `open` took."""
        local_address, local_port = session.local_end
        self.local_ports.release(local_address, session.real_server.endpoint, local_port, session.words[RS_ACKED])

    def _take_local_port(
        self, service: VirtualService[Session], real_server: RealServer, tries: int
    ) -> tuple[bytes, int | None] | None:
        """The flow from a local endpoint to the real server, and the last number used on it. It starts at the local address after
        the one this real server got last."""
        addresses = service.local_addresses
        for step in range(len(addresses)):
            index = (real_server.next_local_address + step) % len(addresses)
            local = self.local_ports.acquire(addresses[index], real_server.endpoint, tries)
            if local is not None:
                real_server.next_local_address = index + 1
                return flow_from(addresses[index], local.port, real_server.endpoint), local.last_seq
        return None

    def _take_port_in_use(
        self, service: VirtualService[Session], real_server: RealServer, now: float
    ) -> tuple[bytes, int | None] | None:
        """The same with the local endpoint of a session that is ended for it."""
        for _ in range(_MOST_ENDED):
            ended = self._end_one(real_server, now)
            if ended is None:
                return None
            if ended.local_address not in service.local_addresses:  # it is from the time of another pool
                continue
            local = self.local_ports.acquire_port(ended.local_address, real_server.endpoint, ended.local_port)
            if local is not None:  # else the port is outside the range, which was changed meanwhile
                return flow_from(ended.local_address, local.port, real_server.endpoint), local.last_seq
        return None
